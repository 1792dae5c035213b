"""The files of csrc/ that make each binary.

setup.py builds by this list and bakes the hash into the binary; `rmnet.ops.extension` compares it
with the hash of the checkout. setup.py runs this file alone: it imports nothing of the package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

HEADER_SUFFIXES = {".h", ".cuh"}

# Compiled files within csrc/, by module of the package.
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


def source_hash(csrc: Path, binary: str) -> str:
    """Return the SHA-256 of the names and contents of the files that make `binary`."""
    names = [*SOURCES[binary]]
    for path in csrc.rglob("*"):
        if path.suffix in HEADER_SUFFIXES:  # a header counts as part of every binary
            names.append(path.relative_to(csrc).as_posix())
    digest = hashlib.sha256()
    for name in sorted(names):
        content = (csrc / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
