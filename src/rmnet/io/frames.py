"""Frames at the door: any form that a caller has becomes RGB uint8 (H, W, 3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import FrameError

_ACCEPTED = "uint8 RGB arrays (H, W, 3), PIL images, uint8 RGB tensors (3, H, W)"


def as_frame(frame: object, *, index: int | None = None) -> NDArray[np.uint8]:
    """Turn one frame into the form that the library works on.

    Arrays are always read as (H, W, 3) and tensors as (3, H, W), even where both would fit. The
    EXIF orientation of a PIL image is ignored; readers of files apply it.

    Args:
        frame: uint8 RGB array (H, W, 3); PIL image of any mode of at most 8 bits a channel,
            converted to RGB, alpha dropped; or uint8 RGB tensor (3, H, W) on any device.
        index: Number of the frame in its video, named in errors.

    Returns:
        RGB uint8 (H, W, 3). It may be `frame` itself, share its memory, or be read-only.

    Raises:
        FrameError: another type, dtype, layout or number of channels, or no pixels.
    """
    name = "the frame" if index is None else f"frame {index}"
    if isinstance(frame, Image.Image):
        return _from_pil(frame, name)
    if not isinstance(frame, np.ndarray | torch.Tensor):
        raise FrameError(
            f"{name} is a {type(frame).__name__}; accepted: {_ACCEPTED}. "
            "Write np.asarray(frame), if it is the image of another library"
        )
    is_tensor = isinstance(frame, torch.Tensor)
    kind, shape = "a tensor" if is_tensor else "an array", tuple(frame.shape)
    if frame.dtype not in (torch.uint8, np.uint8):
        convert = "to(torch.uint8)" if is_tensor else "astype(np.uint8)"
        raise FrameError(
            f"{name} is {kind} of {frame.dtype}; accepted: {_ACCEPTED}. "
            f"Write (255 * frame).round().{convert}, if it lies in [0, 1]"
        )
    if len(shape) != 3 or shape[0 if is_tensor else 2] != 3:
        remedy = _layout_remedy(shape, is_tensor=is_tensor)
        raise FrameError(f"{name} is {kind} of shape {shape}; accepted: {_ACCEPTED}{remedy}")
    if 0 in shape:
        raise FrameError(f"{name} has no pixels: shape {shape}; accepted: {_ACCEPTED}")
    if not isinstance(frame, torch.Tensor):
        return np.asarray(frame)
    try:
        return frame.detach().permute(1, 2, 0).cpu().numpy()
    except (RuntimeError, TypeError) as error:  # sparse, quantised, on the device "meta"
        raise FrameError(f"{name} has no pixels to read: {error}; accepted: {_ACCEPTED}") from error


def _from_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):  # convert() would silently clip these at 255
        raise FrameError(
            f"{name} is a PIL image of mode {image.mode!r}; accepted: 8 bits a channel. "
            "Write np.dstack([np.asarray(image) // 256] * 3).astype(np.uint8), if it has 16 bits"
        )
    if 0 in image.size:
        raise FrameError(f"{name} has no pixels: size {image.size}; accepted: {_ACCEPTED}")
    try:  # an image that the caller opened may be damaged, and is decoded only here
        if image.mode in ("La", "RGBa"):  # premultiplied alpha has no direct conversion to RGB
            image = image.convert("LA" if image.mode == "La" else "RGBA")
        if "transparency" in image.info:  # convert("RGB") would warn about a palette with alpha
            image = image.convert("RGBA")
        return np.array(image.convert("RGB"))  # a copy: asarray of a PIL image is read-only
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, ...
        raise FrameError(f"{name} cannot be decoded: {error}; accepted: {_ACCEPTED}") from error


def _layout_remedy(shape: tuple[int, ...], *, is_tensor: bool) -> str:
    """Return the line to write for a uint8 shape that no frame has; empty if none is obvious."""
    match shape[::-1] if is_tensor else shape:  # channels last
        case (3, _, _):
            codes = "frame.transpose(1, 2, 0)", "frame.permute(2, 0, 1)"
        case (_, _) | (_, _, 1):
            codes = "np.dstack([gray] * 3)", "gray.expand(3, -1, -1)"
        case (_, _, 4):
            codes = "frame[..., :3], to drop alpha", "frame[:3], to drop alpha"
        case (_, _, _, _):
            codes = ("frames[0], one frame at a time",) * 2
        case _:
            return ""
    return f". Write {codes[is_tensor]}"
