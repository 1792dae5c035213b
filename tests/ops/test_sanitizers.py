"""No native CPU op touches memory that is not its own: hundreds of shapes under sanitizers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parents[1]
CSRC = TESTS.parent / "csrc"
CPU = CSRC / "cpu"
COMPILER = os.environ.get("CXX", "g++")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
CASES = 200
READ, CONVOLVE, BLOCK = (
    "fuzz_regional_read.py",
    "fuzz_conv3x3.py",
    "fuzz_inverted_residual.py",
)
# What of csrc/cpu an op is made of, but for what all are.
SOURCES = {
    READ: ("attention_*.cpp", "plan.cpp", "regional_*.cpp"),
    CONVOLVE: ("*conv*.cpp", "win*.cpp"),
    BLOCK: ("inverted_*.cpp",),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CSRC.is_dir(), reason="the C++ sources are not here"),
    pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"there is no {COMPILER}"),
]


def runtime(name):
    """A sanitizer's library, which has to be loaded before Python; None without it."""
    found = subprocess.run(
        [COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    path = Path(found.stdout.strip())
    return path if path.is_absolute() and path.exists() else None


@pytest.fixture(scope="module")
def preload():
    libraries = [runtime("libasan.so"), runtime("libubsan.so")]
    if None in libraries:
        pytest.skip(f"{COMPILER} comes without the sanitizers' libraries")
    return " ".join(map(str, libraries))


def build(csrc, library, *sources):
    torch_folder = Path(torch.__file__).parent
    subprocess.run(
        [
            COMPILER, "-std=c++17", "-O1", "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-w",
            *SANITIZERS, "-DTORCH_TARGET_VERSION=0x020b000000000000",
            "-isystem", torch_folder / "include",
            csrc / "schema.cpp", csrc / "cpu" / "instruction_set.cpp",
            *sorted(file for names in sources for file in (csrc / "cpu").glob(names)),
            "-o", library, f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10",
        ],
        check=True,
    )  # fmt: skip


def fuzz(script, library, preload, cases):
    # LeakSanitizer would report Python's own.
    environment = {
        **os.environ,
        "LD_PRELOAD": preload,
        "ASAN_OPTIONS": "detect_leaks=0:handle_segv=0",
    }
    return subprocess.run(
        [sys.executable, TESTS / script, library, str(cases)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("script", SOURCES)
def test_hundreds_of_random_calls_stay_inside_their_tensors(preload, tmp_path, script):
    library = tmp_path / "op.so"
    build(CSRC, library, *SOURCES[script])
    run = fuzz(script, library, preload, CASES)
    assert run.returncode == 0, run.stderr[-4000:]
    assert f"'best': {CASES}" in run.stdout
    assert f"'portable': {CASES}" in run.stdout


def test_every_source_is_built_for_some_fuzzer():
    built = {file for names in SOURCES.values() for name in names for file in CPU.glob(name)}
    assert built | {CPU / "instruction_set.cpp"} == set(CPU.glob("*.cpp"))


@pytest.mark.parametrize(
    ("script", "file", "right", "wrong"),
    [
        # the last values of a row read in whole vectors, past the end of the tensor
        (READ, "attention_kernels.h", "if (count >= kLanes) return Simd::load(p);", "return Simd::load(p);"),
        (CONVOLVE, "winograd_kernels.h", "if (count >= kLanes) return Simd::load(p);", "return Simd::load(p);"),
        # too little room for the sums, inside the one allocation that all threads share
        (READ, "regional_read_cpu.cpp", "arena.take(rows * width)", "arena.take(rows * width - 64)"),
        # too little room for what is outside the image
        (CONVOLVE, "winograd_kernels.h", "tiles * row + line(convolution.channels)", "tiles * row"),
        # a tile at the border written whole
        (CONVOLVE, "winograd_kernels.h", "columns_left < kTile ? columns_left : kTile", "kTile"),
        # output channels that end before the last vector does, written in whole vectors
        (BLOCK, "inverted_residual_strip.h", "if (left >= kWidth) {", "if (true) {"),
        # a column of the ring too few for wide filters
        (BLOCK, "inverted_residual.h", "block.kernel + 1) * kPanelChannels", "3) * kPanelChannels"),
    ],
    ids=["read beyond a tensor", "convolve beyond a tensor", "no room for sums", "no room for zeros",
         "a whole tile at the border", "whole vectors at the end", "no room for wide filters"],
)  # fmt: skip
def test_the_check_itself_finds_a_planted_error(preload, tmp_path, script, file, right, wrong):
    csrc = tmp_path / "csrc"
    shutil.copytree(CSRC, csrc)
    source = csrc / "cpu" / file
    text = source.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    library = tmp_path / "op.so"
    build(csrc, library, *SOURCES[script])
    run = fuzz(script, library, preload, CASES)
    assert run.returncode != 0
    assert "AddressSanitizer" in run.stderr
