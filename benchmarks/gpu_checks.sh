#!/usr/bin/env bash
# Everything that needs a CUDA GPU: build, tests, sanitizers and a benchmark.
#
#     benchmarks/gpu_checks.sh REPORTS
#
# Reports go to the folder REPORTS. Needs nvcc and compute-sanitizer on the PATH, and an environment
# with torch, rmnet's other dependencies and pytest.
set -euo pipefail
report=$(mkdir -p "$1" && realpath "$1")
cd "$(dirname "$0")/.."
export RMNET_REQUIRE_EXT=1 RMNET_REQUIRE_CUDA=1

nvidia-smi | tee "$report/device.txt"
python -m pip install --no-build-isolation --no-deps -e . 2>&1 | tee "$report/build.txt"
rmnet info | tee "$report/info.txt"
python -m pytest -m cuda 2>&1 | tee "$report/tests.txt"
for tool in memcheck racecheck; do
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
    python -m benchmarks.sanitised_read 2>&1 | tee "$report/$tool.txt"
done
python -m benchmarks.bench_regional_read --device cuda --dtype float16 \
  --json benchmarks/results/regional_read_cuda.json 2>&1 | tee "$report/benchmark.txt"
