"""The binaries of the native ops: which are loaded and, if one is not, why.

`rmnet._C` declares `torch.ops.rmnet.regional_read`, `conv3x3` and `inverted_residual` and
implements them for the CPU, `rmnet._C_cuda` the first for CUDA. They are built where that is
possible (setup.py); PyTorch does the work of one that is missing. Whatever is wrong with a file,
rmnet can be imported; it warns once.
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
HASH_MARKER = b"RMNET_SOURCE_HASH="  # what the hash stands behind: csrc/python/module.h


@dataclass(frozen=True)
class Binary:
    """One of the two, or the lack of it.

    Attributes:
        name: The module's.
        path: The file; None if it was not built.
        problem: Why it is not loaded, a sentence without its subject; None if it is loaded.
        facts: How it was built, what of this machine it uses; empty if it is not loaded.
    """

    name: str
    path: Path | None
    problem: str | None
    facts: dict[str, str] = field(default_factory=dict)


def problem(device_type: str) -> str | None:
    """Why there is no native op on "cpu" or on "cuda"; None if there is."""
    for binary in BINARIES if device_type == "cuda" else BINARIES[:1]:
        if binary.problem is not None:
            return f"{binary.name} {binary.problem}"
    return None


def instruction_set() -> str | None:
    """What `rmnet._C` uses of this processor: "avx512", "avx2", "portable"; None without it."""
    return BINARIES[0].facts.get("instruction set")


def architectures() -> list[str]:
    """What `rmnet._C_cuda` was compiled for, such as "8.0" and "9.0+PTX"; empty without it."""
    return BINARIES[1].facts.get("architectures", "").split()


def load_binaries(package: Path) -> tuple[Binary, Binary]:
    """Load what was built into a package's folder, the CPU's binary first.

    Warns:
        RuntimeWarning: a file is there and cannot be used.
    """
    cpu = _load_or_say_why_not("_C", package, needs=None)
    if cpu.problem is not None:
        needs = "of no use without rmnet._C"
    elif torch.version.cuda is None:
        needs = f"of no use to torch {torch.__version__}, which is one without CUDA"
    else:
        needs = None
    return cpu, _load_or_say_why_not("_C_cuda", package, needs=needs)


def _load_or_say_why_not(binary: str, package: Path, *, needs: str | None) -> Binary:
    name = f"rmnet.{binary}"
    files = (package / f"{binary}{suffix}" for suffix in EXTENSION_SUFFIXES)
    path = next((file for file in files if file.exists()), None)
    if path is None:
        return Binary(name, None, f"is not built: {_note(binary, package)}")
    if needs is not None:
        return Binary(name, path, f"is not loaded: {needs}")
    try:
        problem = _staleness(binary, path)
        if problem is None:
            return Binary(name, path, None, _load(name, path))
    except Exception as error:  # a broken file can break in many ways
        problem = f"does not load: {error}"
    warnings.warn(f"{name} {problem}; PyTorch does its work", RuntimeWarning, stacklevel=2)
    return Binary(name, path, problem)


def _load(name: str, path: Path) -> dict[str, str]:
    """Import the module, by which it registers operators; its facts."""
    loader = ExtensionFileLoader(name, str(path))
    module = module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    loader.exec_module(module)
    return module.FACTS


def _note(binary: str, package: Path) -> str:
    """What the build left in place of the file."""
    try:
        return (package / f"{binary}.missing.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return "nothing says why; `RMNET_REQUIRE_EXT=1 pip install -v .` builds it or tells"


def _staleness(binary: str, path: Path) -> str | None:
    """In a checkout that was installed with `pip install -e`: whether csrc/ has changed since.

    Looks into the file instead of loading it, which could not be undone.
    """
    csrc = path.parents[2] / "csrc"
    if not csrc.is_dir():
        return None
    _, marker, rest = path.read_bytes().partition(HASH_MARKER)
    current = source_hash(csrc, binary)
    if marker and rest[: len(current)] == current.encode():
        return None
    return f"is older than {csrc}; `pip install --no-deps -e .` builds it again"


BINARIES = load_binaries(PACKAGE)
