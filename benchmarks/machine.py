"""Describes the origin of the numbers in the JSON of a benchmark."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch


def describe_machine(device: str = "cpu") -> dict[str, object]:
    """Return versions, processor, device and commit."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    described: dict[str, object] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "commit": commit.stdout.strip() or "unknown",
    }
    if device.startswith("cuda"):
        described["device"] = torch.cuda.get_device_name(device)
    return described


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    if "model name" not in named:
        return platform.processor() or platform.machine()
    family, model = named.get("cpu family", "?"), named.get("model", "?")
    return f"{named['model name']} (family {family}, model {model})"
