"""The binaries of the native operators: those that are loaded, and why others are not.

`rmnet._C` declares `torch.ops.rmnet.regional_read`, `conv3x3` and `inverted_residual` and
implements them for the CPU, `rmnet._C_cuda` the first for CUDA. setup.py builds them where it can;
PyTorch does the work of a missing one. A broken file is a warning, never an error.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import torch  # first: it loads the libraries that the binaries use

from rmnet.ops.sources import source_hash

PACKAGE = Path(__file__).resolve().parents[1]
HASH_MARKER = b"RMNET_SOURCE_HASH="  # stands before the hash: csrc/python/module.h


@dataclass(frozen=True)
class Binary:
    """One of the two binaries."""

    name: str  # of the module
    path: Path | None  # None if it was not built
    problem: str | None  # why it is not loaded, a sentence without its subject
    facts: dict[str, str] = field(default_factory=dict)  # how it was built and what it uses here


def problem(device_type: str) -> str | None:
    """Return why there is no native code for "cpu" or "cuda"; None if there is."""
    for binary in BINARIES if device_type == "cuda" else BINARIES[:1]:
        if binary.problem is not None:
            return f"{binary.name} {binary.problem}"
    return None


def instruction_set() -> str | None:
    """Return the instructions that `rmnet._C` uses: "avx512", "avx2", "portable"; None without it."""
    return BINARIES[0].facts.get("instruction set")


def architectures() -> list[str]:
    """Return the targets of `rmnet._C_cuda`, such as "8.0" and "9.0+PTX"; empty without it."""
    return BINARIES[1].facts.get("architectures", "").split()


def load_binaries(package: Path) -> tuple[Binary, Binary]:
    """Load the binaries in a package's folder, the one for CPUs first; warn of unusable files."""
    cpu = _load_or_say_why_not("_C", package)
    useless = None
    if cpu.problem is not None:
        useless = "of no use without rmnet._C"
    elif torch.version.cuda is None:
        useless = f"of no use to torch {torch.__version__}, which is one without CUDA"
    return cpu, _load_or_say_why_not("_C_cuda", package, useless)


def _load_or_say_why_not(binary: str, package: Path, useless: str | None = None) -> Binary:
    name = f"rmnet.{binary}"
    files = (package / f"{binary}{suffix}" for suffix in EXTENSION_SUFFIXES)
    path = next((file for file in files if file.exists()), None)
    if path is None:
        note = package / f"{binary}.missing.txt"  # left by the build
        why = "nothing says why; `RMNET_REQUIRE_EXT=1 pip install -v .` builds it or tells"
        if note.is_file():
            why = note.read_text(encoding="utf-8").strip()
        return Binary(name, None, f"is not built: {why}")
    if useless is not None:
        return Binary(name, path, f"is not loaded: {useless}")
    try:
        problem = _staleness(binary, path)
        if problem is None:
            return Binary(name, path, None, _load(name, path))
    except Exception as error:  # a broken file can break in many ways
        problem = f"does not load: {error}"
    warnings.warn(f"{name} {problem}; PyTorch does its work", RuntimeWarning, stacklevel=2)
    return Binary(name, path, problem)


def _load(name: str, path: Path) -> dict[str, str]:
    """Import a module, which registers its operators, and return its facts."""
    loader = ExtensionFileLoader(name, str(path))
    module = module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    loader.exec_module(module)
    return module.FACTS


def _staleness(binary: str, path: Path) -> str | None:
    """Say so if csrc/ of a checkout installed with `pip install -e` has changed since the build."""
    csrc = path.parents[2] / "csrc"
    # The file is read, not loaded: that could not be undone.
    if not csrc.is_dir() or HASH_MARKER + source_hash(csrc, binary).encode() in path.read_bytes():
        return None
    return f"is older than {csrc}; `pip install --no-deps -e .` builds it again"


BINARIES = load_binaries(PACKAGE)
