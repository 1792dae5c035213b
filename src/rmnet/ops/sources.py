"""Which files of csrc/ make which binary.

setup.py builds by this list and bakes the hash into the binary; `rmnet.ops.extension` compares
it with that of the checkout. setup.py runs this file alone: it imports nothing of the package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

HEADER_SUFFIXES = {".h", ".cuh"}

# Binary, as a module of the package: what is compiled, within csrc/.
SOURCES = {
    "_C": (
        "schema.cpp",
        "cpu/attention_avx2.cpp",
        "cpu/attention_avx512.cpp",
        "cpu/attention_portable.cpp",
        "cpu/conv3x3_cpu.cpp",
        "cpu/instruction_set.cpp",
        "cpu/inverted_residual_avx2.cpp",
        "cpu/inverted_residual_avx512.cpp",
        "cpu/inverted_residual_cpu.cpp",
        "cpu/inverted_residual_pack.cpp",
        "cpu/inverted_residual_portable.cpp",
        "cpu/plan.cpp",
        "cpu/regional_read_cpu.cpp",
        "cpu/winograd_avx2.cpp",
        "cpu/winograd_avx512.cpp",
        "cpu/winograd_portable.cpp",
        "python/module.cpp",
    ),
    "_C_cuda": (
        "cuda/regional_read_cuda.cu",
        "python/module_cuda.cpp",
    ),
}


def headers(csrc: Path) -> list[str]:
    """All headers, within csrc/; each counts as part of every binary."""
    files = (path for path in csrc.rglob("*") if path.suffix in HEADER_SUFFIXES)
    return sorted(path.relative_to(csrc).as_posix() for path in files)


def source_hash(csrc: Path, binary: str) -> str:
    """SHA-256 over names and contents of what `binary` is made of.

    Raises:
        FileNotFoundError: a listed source is missing.
    """
    digest = hashlib.sha256()
    for name in sorted([*SOURCES[binary], *headers(csrc)]):
        content = (csrc / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
