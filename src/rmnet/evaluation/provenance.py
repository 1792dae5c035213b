"""What numbers come from: hashes of the network, versions, machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rmnet.segmenter import RMNetSegmenter
from rmnet.weight_files import CONFIG_FILE, TENSORS_FILE

_PACKAGES = ("rmnet", "torch", "torchvision", "numpy", "pillow")


def describe_network(segmenter: RMNetSegmenter) -> dict[str, Any]:
    """What of a segmenter decides its numbers.

    Returns:
        JSON: version of rmnet, device, dtype, and sha256 of weights and configuration as
        `save_pretrained` writes them, so that a released .pth and its conversion agree. That of
        the weights goes over name, dtype, shape and bytes of every tensor, by name: not over the
        file, whose metadata holds the version too.
    """
    with tempfile.TemporaryDirectory(prefix="rmnet-") as name:
        folder = segmenter.save_pretrained(Path(name))
        config = hashlib.sha256((folder / CONFIG_FILE).read_bytes())
        weights = hashlib.sha256()
        for key, tensor in sorted(load_file(folder / TENSORS_FILE).items()):
            weights.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            weights.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return {
        "rmnet": _version("rmnet"),
        "weights_sha256": weights.hexdigest(),
        "config_sha256": config.hexdigest(),
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
