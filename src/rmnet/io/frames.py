"""Frames at the door: any form that a caller has becomes RGB uint8 (H, W, 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rmnet.errors import FrameError, VideoError
from rmnet.io.image_files import FileLike, file_name, is_file_like, open_image
from rmnet.io.video_reader import is_video_frame, upright

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# One frame; see `as_frame`.
FrameLike: TypeAlias = Union[NDArray[np.uint8], torch.Tensor, Image.Image, FileLike, "VideoFrame"]

_ACCEPTED = (
    "uint8 RGB arrays (H, W, 3), uint8 RGB tensors (3, H, W), PIL images, PyAV frames, image files "
    "as paths, bytes or file objects"
)
_SLACK = 1e-3  # by which floats may leave [0, 1], as resizing makes them


def as_frame(
    frame: object, *, index: int | None = None, unit_range: bool = False
) -> NDArray[np.uint8]:
    """Turn one frame into the form that the library works on.

    Arrays are always read as (H, W, 3) and tensors as (3, H, W), even where both would fit. What
    is read from an image file is turned by its EXIF orientation; a PIL image is taken as it is.

    Args:
        frame: uint8 RGB array (H, W, 3); uint8 RGB tensor (3, H, W) on any device; PIL image of
            any mode of at most 8 bits a channel, converted to RGB, alpha dropped; PyAV
            `VideoFrame`, turned as players show it; an image file as its path, its content (bytes)
            or a binary file object, read from its beginning; or `torchvision.tv_tensors.Image` of
            floats in [0, 1].
        index: Number of the frame in its video, named in errors.
        unit_range: Whether arrays and tensors of floats hold [0, 1], and are accepted.

    Returns:
        RGB uint8 (H, W, 3). It may be `frame` itself, share its memory, or be read-only.

    Raises:
        FrameError: another type, dtype, layout or number of channels, or no pixels.
        VideoError: an image file that cannot be read, or holds several pictures.
    """
    name = "the frame" if index is None else f"frame {index}"
    if is_file_like(frame):
        file_text = f"{name}, {file_name(frame)},"
        frame = open_image(frame, name=file_text, error=VideoError, turn_upright=True)
    if isinstance(frame, Image.Image):
        return _from_pil(frame, name)
    if is_video_frame(frame):
        try:
            return upright(frame)
        except Exception as error:  # FFmpeg's own, and ValueError for formats of hardware
            raise FrameError(f"{name} cannot be decoded: {error}; accepted: {_ACCEPTED}") from error
    if not isinstance(frame, np.ndarray | torch.Tensor):
        raise FrameError(
            f"{name} is a {type(frame).__name__}; accepted: {_ACCEPTED}{_remedy(frame)}"
        )
    is_tensor = isinstance(frame, torch.Tensor)
    kind, shape = "a tensor" if is_tensor else "an array", tuple(frame.shape)
    is_float = frame.is_floating_point() if is_tensor else frame.dtype.kind == "f"
    is_unit_range = is_float and (unit_range or says_unit_range(frame))
    if frame.dtype not in (torch.uint8, np.uint8) and not is_unit_range:
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
    try:
        pixels = frame.detach().permute(1, 2, 0) if isinstance(frame, torch.Tensor) else frame
        if is_unit_range:
            pixels = _to_bytes(pixels, name)
        return pixels.cpu().numpy() if isinstance(pixels, torch.Tensor) else np.asarray(pixels)
    except (RuntimeError, TypeError) as error:  # sparse, quantised, on the device "meta"
        raise FrameError(f"{name} has no pixels to read: {error}; accepted: {_ACCEPTED}") from error


def says_unit_range(frames: object) -> bool:
    """Say whether a type promises floats in [0, 1], as `Image` and `Video` of torchvision do."""
    return any(
        kind.__name__ in ("Image", "Video") and kind.__module__.startswith("torchvision.tv_tensors")
        for kind in type(frames).__mro__
    )


def _to_bytes(pixels: Any, name: str) -> Any:  # noqa: ANN401 an array or a tensor
    """Scale floats in [0, 1] to uint8, rounded."""
    pixels = pixels.float() if isinstance(pixels, torch.Tensor) else pixels.astype(np.float32)
    lowest, highest = float(pixels.min()), float(pixels.max())
    if not (lowest >= -_SLACK and highest <= 1 + _SLACK):  # NaN too
        raise FrameError(
            f"{name} holds floats from {lowest:.4g} to {highest:.4g}; accepted: [0, 1]. "
            "Write (frame - frame.min()) / (frame.max() - frame.min()), if its brightness may change"
        )
    scaled = (255 * pixels).round().clip(0, 255)
    return scaled.to(torch.uint8) if isinstance(scaled, torch.Tensor) else scaled.astype(np.uint8)


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


def _remedy(frame: object) -> str:
    """Return the line to write for an object that is no frame; empty if none is sure to work."""
    if hasattr(frame, "__array__"):
        return ". Write np.asarray(frame), if it is the image of another library"
    if isinstance(frame, list | tuple):
        return ". Write np.array(frame, np.uint8), if it is rows of pixels"
    return ""


def _layout_remedy(shape: tuple[int, ...], *, is_tensor: bool) -> str:
    """Return the line to write for a shape that no frame has; empty if none is obvious."""
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
