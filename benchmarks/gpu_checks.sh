#!/usr/bin/env bash
# All that needs a CUDA GPU: build, tests, sanitizers, benchmark. Reports go to a folder.
#
#     benchmarks/gpu_checks.sh gpu-reports
#
# In an environment that has torch, rmnet's other dependencies and pytest; with nvcc on the PATH.
set -euo pipefail
report=$(mkdir -p "$1" && realpath "$1")
cd "$(dirname "$0")/.."
export RMNET_REQUIRE_EXT=1 RMNET_REQUIRE_CUDA=1

nvidia-smi | tee "$report/device.txt"
python -m pip install --no-build-isolation --no-deps -e . 2>&1 | tee "$report/build.txt"
rmnet info | tee "$report/info.txt"
python -m pytest -m cuda 2>&1 | tee "$report/tests.txt"

cat > "$report/short_run.py" <<'PYTHON'
import itertools
import torch
import rmnet.ops  # loads the op
h, w, objects, frames = 17, 23, 3, 4
corners = torch.tensor((w, h)) * torch.rand((objects, frames + 1, 2, 2)).sort(dim=2).values
boxes = corners.flatten(2).round().int().cuda()
present = torch.rand((objects, frames)).cuda() < 0.8
for widths, dtype, zeroed in itertools.product(
    ((128, 512), (64, 192)), (torch.float32, torch.float16, torch.bfloat16), (True, False)
):
    key, value = (torch.randn((objects, frames, h, w, c)).to("cuda", dtype) for c in widths)
    query = torch.randn((1, h, w, widths[0])).to("cuda", dtype).expand(objects, -1, -1, -1)
    torch.ops.rmnet.regional_read(query, key, value, boxes[:, 0], boxes[:, 1:], present, zeroed, 0.1)
PYTHON
for tool in memcheck racecheck; do
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
    python "$report/short_run.py" 2>&1 | tee "$report/$tool.txt"
done

python benchmarks/bench_regional_read.py --device cuda --dtype float16 \
  --json benchmarks/results/regional_read_cuda.json 2>&1 | tee "$report/benchmark.txt"
