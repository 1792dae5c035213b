"""What the masks of `rmnet track` depend on, so that a run is gone on with by the same one only."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from rmnet.io import FrameSource, ObjectMasks
    from rmnet.segmenter import RMNetSegmenter


def describe_track(
    args: argparse.Namespace,
    source: FrameSource,
    masks: Mapping[int, ObjectMasks],
    segmenter: RMNetSegmenter,
) -> dict[str, Any]:
    """By the names that a user would look for: JSON.

    Images are told apart one by one, as they are tracked, and not here: of a folder that grew, or
    whose damaged image was mended, the earlier frames still hold.
    """
    video = Path(args.video).expanduser()
    described: dict[str, Any] = {"VIDEO": str(video.resolve())}
    if source.paths is None:
        stat = video.stat()
        described |= {"VIDEO's bytes": stat.st_size, "VIDEO's time": stat.st_mtime_ns}
    for frame, given in sorted(masks.items()):
        described[f"mask of frame {frame}"] = _mask_sha256(given)
    for name in ("size", "every", "max_frames", "flow", "regional"):
        described[f"--{name.replace('_', '-')}"] = getattr(args, name)
    return {
        **described,
        **segmenter.fingerprint._asdict(),
        "device": str(segmenter.device),
        "dtype": str(segmenter.dtype),
        "rmnet": version("rmnet"),
        "torch": torch.__version__,
    }


def _mask_sha256(given: ObjectMasks) -> str:
    total = hashlib.sha256(f"{given.object_ids} {given.is_binary} {given.size}".encode())
    for part in (given.masks, given.void):
        total.update(part.contiguous().numpy().data)
    return total.hexdigest()
