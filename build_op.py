"""Compile the binaries of the native op; setup.py decides when, and handles failures.

Both binaries use only the stable ABIs of torch and Python: built once, they run with torch 2.11,
Python 3.10 and all later versions.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import os
import re
import runpy
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OLDEST_TORCH = (2, 11)
ABI_FLAGS = ("-DTORCH_TARGET_VERSION=0x020b000000000000", "-DPy_LIMITED_API=0x030A0000")
HOST_FLAGS = ("-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
ARCHITECTURES = "8.0;9.0+PTX"
OLDEST_ARCHITECTURE = 8  # for asynchronous copies and bfloat16 products
SEE_ALL = "`RMNET_REQUIRE_EXT=1 pip install -v .` shows its whole output"

_sources = runpy.run_path("src/rmnet/ops/sources.py")  # alone: importing the package needs torch
SOURCES: dict[str, tuple[str, ...]] = _sources["SOURCES"]
source_hash: Callable[[Path, str], str] = _sources["source_hash"]

log = logging.getLogger("rmnet.build")


class NotBuiltError(Exception):
    """Why a binary is missing: not wanted (INFO), a tool is missing (WARNING), or ERROR."""

    def __init__(self, reason: str, severity: int = logging.ERROR) -> None:
        super().__init__(reason)
        self.severity = severity


@dataclass(frozen=True)
class Torch:
    """The installed torch: its folder, version, and CUDA version if it has one."""

    folder: Path
    version: str
    cuda: str | None


def build(binary: str, output: Path) -> None:
    """Compile and link one of SOURCES; run in the root of the checkout.

    Raises:
        NotBuiltError: The binary should not or cannot be built.
    """
    if os.environ.get("RMNET_NO_EXT") == "1":
        raise NotBuiltError("RMNET_NO_EXT=1 was set when rmnet was installed", logging.INFO)
    if sys.platform == "win32" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotBuiltError(
            "Windows and free-threaded Python are not supported yet", logging.WARNING
        )
    torch = find_torch()
    output.parent.mkdir(parents=True, exist_ok=True)
    compile_and_link = _build_cuda if binary == "_C_cuda" else _build_cpu
    compile_and_link(
        torch,
        *("-std=c++17", "-O3", "-DNDEBUG", *ABI_FLAGS),
        f"-DRMNET_SOURCE_HASH={source_hash(Path('csrc'), binary)}",
        *("-isystem", f"{torch.folder}/include", "-isystem", sysconfig.get_path("include")),
        *(f"csrc/{name}" for name in SOURCES[binary]),
        *("-o", str(output), f"-L{torch.folder}/lib", "-ltorch_cpu"),
    )


def _build_cpu(torch: Torch, *arguments: str) -> None:
    compiler = os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++"
    shared = ["-shared"]
    if sys.platform == "darwin":
        shared = ["-bundle", "-undefined", "dynamic_lookup"]  # Python provides its symbols
    flags = [os.environ.get(name, "") for name in ("CXXFLAGS", "LDFLAGS")]
    _run(*shlex.split(compiler), *shared, *HOST_FLAGS, *arguments, *shlex.split(" ".join(flags)))


def _build_cuda(torch: Torch, *arguments: str) -> None:
    """Link with nvcc too: it knows where its libraries are."""
    if os.environ.get("RMNET_CUDA") == "0":
        raise NotBuiltError("RMNET_CUDA=0 was set when rmnet was installed", logging.INFO)
    if torch.cuda is None:
        raise NotBuiltError(f"torch {torch.version} has no CUDA", logging.INFO)
    nvcc = find_nvcc(torch.cuda)
    names = read_architectures(os.environ.get("TORCH_CUDA_ARCH_LIST") or ARCHITECTURES)
    _run(
        *(
            nvcc,
            "-shared",
            "--cudart=shared",
            "--threads=2",
            f"--compiler-options={','.join(HOST_FLAGS)}",
        ),
        *(_gencode(name) for name in names),
        *("-DUSE_CUDA", f"-DRMNET_ARCHITECTURES={' '.join(names)}", *arguments, "-ltorch_cuda"),
    )


def _run(*command: str) -> None:
    log.info("%s", shlex.join(command))
    try:
        done = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise NotBuiltError(f"{command[0]} does not run: {error.strerror}") from error
    sys.stderr.write(done.stderr)
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
        summary = next((line for line in lines if "error" in line), lines[-1])
        raise NotBuiltError(f"{Path(command[0]).name} failed: {summary.strip()}; {SEE_ALL}")


def find_torch() -> Torch:
    """Find the torch of the target environment, even from within pip's build isolation.

    pip builds in an environment that holds `build-system.requires` only. Listing torch there would
    make every install download gigabytes for a second torch, perhaps with another CUDA. Python
    still knows its own site-packages, so search there as well. Nothing is imported or added to
    sys.path: a build needs torch's headers, libraries and version only.

    Raises:
        NotBuiltError: torch is missing or too old.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None:
        places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        places += site.getsitepackages()
        if sys.prefix == sys.base_prefix:  # not in a venv
            places.append(site.getusersitepackages())
        spec = importlib.machinery.PathFinder.find_spec("torch", places)
    if spec is None or spec.origin is None:
        raise NotBuiltError(
            "torch was not installed when rmnet was; once it is, run "
            "`pip install --force-reinstall --no-deps .` (uv: with --no-build-isolation)"
        )
    folder = Path(spec.origin).parent
    facts = runpy.run_path(str(folder / "version.py"))
    version = facts["__version__"]
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST_TORCH:
        raise NotBuiltError(f"torch {version} is older than {'.'.join(map(str, OLDEST_TORCH))}")
    return Torch(folder, version, facts["cuda"])


def find_nvcc(cuda: str) -> str:
    """Find an nvcc with the major version of `cuda`.

    Raises:
        NotBuiltError: There is none.
    """
    home = os.environ.get("CUDA_HOME")
    places = [f"{home}/bin"] if home else [os.environ.get("PATH", ""), "/usr/local/cuda/bin"]
    nvcc = shutil.which("nvcc", path=os.pathsep.join(places))
    if nvcc is None:
        raise NotBuiltError(f"there is no nvcc in {os.pathsep.join(places)}", logging.WARNING)
    version = subprocess.run([nvcc, "--version"], stdout=subprocess.PIPE, text=True, check=False)
    release = re.search(r"release (\d+)\.\d+", version.stdout)
    if release is None or release[1] != cuda.partition(".")[0]:
        found = release[0] if release else "an unknown release"
        raise NotBuiltError(f"torch has CUDA {cuda}, but {nvcc} is {found}", logging.WARNING)
    return nvcc


def read_architectures(text: str) -> list[str]:
    """Return the names in a TORCH_CUDA_ARCH_LIST, without those too old for the kernels.

    Raises:
        NotBuiltError: A name is malformed, or none is left.
    """
    names = re.split(r"[;, ]+", text.strip())
    for name in names:
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", name):
            raise NotBuiltError(f"TORCH_CUDA_ARCH_LIST has {name!r}; accepted: {ARCHITECTURES!r}")
    names = [name for name in names if int(name.partition(".")[0]) >= OLDEST_ARCHITECTURE]
    if not names:
        raise NotBuiltError(f"TORCH_CUDA_ARCH_LIST is {text!r}; the kernels need 8.0 or later")
    return names


def _gencode(name: str) -> str:
    number, _, ptx = name.replace(".", "").partition("+")
    code = f"[sm_{number},compute_{number}]" if ptx else f"sm_{number}"
    return f"-gencode=arch=compute_{number},code={code}"
