"""What numbers come from: hashes of the network, versions, machine."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

import torch

from rmnet.segmenter import RMNetSegmenter

_PACKAGES = ("rmnet", "torch", "torchvision", "numpy", "pillow")


def describe_network(segmenter: RMNetSegmenter) -> dict[str, Any]:
    """What of a segmenter decides its numbers.

    Returns:
        JSON: version of rmnet, device, dtype, and sha256 of weights and configuration.
    """
    return {
        "rmnet": _version("rmnet"),
        **segmenter.fingerprint._asdict(),
        "device": str(segmenter.device),
        "dtype": str(segmenter.dtype).removeprefix("torch."),
    }


def describe_run(segmenter: RMNetSegmenter | None = None) -> dict[str, Any]:
    """What else is worth recording: JSON of versions, machine, and the configuration."""
    facts: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in _PACKAGES}},
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads()},
    }
    if segmenter is not None:
        facts["config"] = json.loads(segmenter.config.to_json())
        if segmenter.device.type == "cuda":
            facts["machine"]["gpu"] = torch.cuda.get_device_name(segmenter.device)
    return facts


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
