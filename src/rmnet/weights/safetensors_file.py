"""A safetensors file: its tensors, mapped into memory, and its metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load
from torch import Tensor


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file by name, and its metadata. Damaged bytes raise any exception."""
    if not _is_utf8(path):  # safetensors opens no such paths
        content = path.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        tensors = load(content)  # checks the header first
        return tensors, json.loads(content[8:start]).get("__metadata__", {})
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
            return tensors, file.metadata() or {}
    except Exception as error:  # raised again, or as the interrupt that it hides
        if "KeyboardInterrupt" in str(error):  # Ctrl-C inside of safetensors, which hides it
            raise KeyboardInterrupt from error
        raise


def _is_utf8(path: Path) -> bool:
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True
