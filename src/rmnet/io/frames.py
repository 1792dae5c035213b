"""Frames at the door: whatever a caller has becomes RGB uint8 (H, W, 3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import FrameError

_ACCEPTED = "uint8 RGB arrays (H, W, 3), PIL images, uint8 RGB tensors (3, H, W)"


def as_frame(frame: object, *, index: int | None = None) -> NDArray[np.uint8]:
    """Bring one frame into the form the library works on.

    Arrays are always read as (H, W, 3) and tensors as (3, H, W), also where both would fit.
    The pixels of a PIL image are taken as they lie; EXIF orientation is the reader's business.

    Args:
        frame: uint8 RGB array (H, W, 3); PIL image of any mode of at most 8 bits a channel,
            converted to RGB, alpha dropped; or uint8 RGB tensor (3, H, W) on any device.
        index: Number of the frame in its video, named in the errors.

    Returns:
        RGB uint8 (H, W, 3). It may be `frame` itself, share its memory, and be read-only.

    Raises:
        FrameError: another type, dtype, layout or number of channels, or no pixels.
    """
    name = "the frame" if index is None else f"frame {index}"
    if isinstance(frame, Image.Image):
        try:  # an image that was opened and not yet decoded may turn out to be damaged
            return _from_pil(frame, name)
        except FrameError:
            raise
        except Exception as error:  # decoders raise what they meet: OSError, SyntaxError, ...
            raise FrameError(f"{name} cannot be decoded: {error}; accepted: {_ACCEPTED}") from error
    if not isinstance(frame, np.ndarray | torch.Tensor):
        raise FrameError(
            f"{name} is a {type(frame).__name__}; accepted: {_ACCEPTED}. "
            "Write np.asarray(frame), if it is the image of another library"
        )
    is_tensor = isinstance(frame, torch.Tensor)
    shape = tuple(frame.shape)
    kind = "a tensor" if is_tensor else "an array"
    if frame.dtype not in (torch.uint8, np.uint8):
        remedy = "(255 * frame).round().to(torch.uint8), if it lies in [0, 1]"
        if not is_tensor:
            remedy = "(255 * frame).round().astype(np.uint8), if it lies in [0, 1]"
        raise FrameError(
            f"{name} is {kind} of {frame.dtype}; accepted: {_ACCEPTED}. Write {remedy}"
        )
    channel_axis = 0 if is_tensor else 2
    if len(shape) != 3 or shape[channel_axis] != 3:
        remedy = _layout_remedy(shape, is_tensor=is_tensor)
        raise FrameError(f"{name} is {kind} of shape {shape}; accepted: {_ACCEPTED}{remedy}")
    if 0 in shape:
        raise FrameError(f"{name} has no pixels: shape {shape}; accepted: {_ACCEPTED}")
    if isinstance(frame, torch.Tensor):
        try:
            return frame.detach().permute(1, 2, 0).cpu().numpy()
        except (RuntimeError, TypeError) as error:  # NotImplementedError is a RuntimeError
            raise FrameError(
                f"{name} is a {frame.layout} tensor on {frame.device}, which has no pixels to "
                f"read ({error}); accepted: {_ACCEPTED}"
            ) from error
    return np.asarray(frame)


def _from_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):  # convert() would clip these at 255, without a word
        raise FrameError(
            f"{name} is a PIL image of mode {image.mode!r}; accepted: 8 bits a channel. Write "
            "np.stack([np.asarray(image) // 256] * 3, axis=-1).astype(np.uint8), if it has 16 bits"
        )
    if 0 in image.size:
        raise FrameError(f"{name} has no pixels: size {image.size}; accepted: {_ACCEPTED}")
    if image.mode in ("La", "RGBa"):  # premultiplied alpha has no direct way to RGB
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if "transparency" in image.info:  # convert("RGB") would warn about a palette with alpha
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))  # a copy: asarray of a PIL image is read-only


def _layout_remedy(shape: tuple[int, ...], *, is_tensor: bool) -> str:
    """The line to write for a uint8 shape that is not a frame's; empty where none is obvious."""
    if len(shape) == 2:
        code = "gray.expand(3, -1, -1)" if is_tensor else "np.stack([gray] * 3, axis=-1)"
    elif len(shape) == 4:
        code = "one frame at a time, frames[0]"
    elif len(shape) != 3:
        return ""
    elif shape[2 if is_tensor else 0] == 3:
        code = "frame.permute(2, 0, 1)" if is_tensor else "frame.transpose(1, 2, 0)"
    elif shape[0 if is_tensor else 2] == 4:
        code = "frame[:3], to drop alpha" if is_tensor else "frame[..., :3], to drop alpha"
    elif shape[0 if is_tensor else 2] == 1:
        code = "gray.expand(3, -1, -1)" if is_tensor else "np.repeat(gray, 3, axis=-1)"
    else:
        return ""
    return f". Write {code}"
