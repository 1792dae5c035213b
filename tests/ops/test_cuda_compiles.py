"""The CUDA sources compile without a warning for every architecture, on machines without a GPU."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
CSRC = REPOSITORY / "csrc"
SOURCE = CSRC / "cuda" / "regional_read_cuda.cu"
NVCC = shutil.which("nvcc", path=os.pathsep.join((os.environ["PATH"], "/usr/local/cuda/bin")))
ARCHITECTURES = ("8.0", "9.0+PTX")  # the default of build_op.py

pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="no checkout: csrc/ is not here")


def test_these_are_the_architectures_of_a_build():
    text = (REPOSITORY / "build_op.py").read_text(encoding="utf-8")
    (default,) = re.findall(r'^ARCHITECTURES = "(.*)"', text, flags=re.MULTILINE)
    assert tuple(default.split(";")) == ARCHITECTURES


@pytest.mark.slow
@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_cuda_sources_compile_without_a_warning(name, tmp_path):
    number = name.replace(".", "").removesuffix("+PTX")
    include = Path(torch.__file__).parent / "include"
    command = [
        *(NVCC, "-std=c++17", "-O3", "-DNDEBUG", "-DUSE_CUDA"),
        *("-DTORCH_TARGET_VERSION=0x020b000000000000", "-DRMNET_SOURCE_HASH=0"),
        f"-gencode=arch=compute_{number},code=[sm_{number},compute_{number}]",
        *("-Werror=all-warnings", "--compiler-options=-Wall,-Wextra,-Werror"),
        *("-isystem", include, "-isystem", sysconfig.get_path("include")),
        *("-c", SOURCE, "-o", tmp_path / "regional_read.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
