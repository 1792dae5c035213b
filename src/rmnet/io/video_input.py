"""What FFmpeg opens, and how: files, cameras and streams from the network."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO

from rmnet.errors import MissingDependencyError, VideoError, shown
from rmnet.io.image_files import FileLike, file_name, is_open_file

# Formats whose files can make FFmpeg read other files, or the network.
_FOLLOWS_LINKS = frozenset({
    "applehttp", "concat", "dash", "fifo", "hls", "image2", "image2pipe", "imf", "lavfi", "rtp",
    "rtsp", "sap", "sdp", "tee", "webm_dash_manifest",
})  # fmt: skip
# Streams come in these, which then read the network only.
_NETWORK_FORMATS = frozenset({"applehttp", "dash", "hls", "rtp", "rtsp", "sap", "sdp"})
_SCHEMES = (
    "http", "https", "mms", "mmsh", "rtmp", "rtmps", "rtmpt", "rtp", "rtsp", "rtsps", "srt", "srtp",
    "tcp", "udp",
)  # fmt: skip
_PROTOCOLS = ",".join((*_SCHEMES, "crypto", "data", "httpproxy", "rtmpts", "tls"))  # never "file"
_PATIENCE = (30.0, 10.0)  # s that a camera or a stream may take to open, and between its frames
_DEVICE_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True, slots=True)
class VideoInput:
    """Something that FFmpeg opens."""

    file: str | bytes | IO[bytes]  # bytes are the content
    name: str  # in messages
    format: str | None = None  # None for what the content shows
    is_live: bool = False  # whether it runs once, and may stop at any time
    patience: tuple[float, float] | None = None  # s to open it, and between frames
    protocols: str = "file"
    links: frozenset[str] = frozenset()  # those of `_FOLLOWS_LINKS` that are allowed
    options: Mapping[str, str] = field(default_factory=dict)

    def forbidden_formats(self) -> frozenset[str]:
        """Return the formats that are not read, whatever the content claims to be."""
        return _FOLLOWS_LINKS - self.links


def file_input(file: FileLike) -> VideoInput:
    """Open a video file by its path, its content, or a file object in binary mode."""
    if isinstance(file, str | os.PathLike):
        path = Path(file)
        # absolute: never taken for "protocol:..."
        return VideoInput(str(path.absolute()), file_name(file), is_live=not path.is_file())
    if is_open_file(file):
        seekable = getattr(file, "seekable", None)
        is_live = seekable is None or not seekable()
        return VideoInput(file, file_name(file), is_live=is_live)
    return VideoInput(bytes(file), file_name(file))


def is_stream_url(source: str) -> bool:
    """Say whether a text is the address of a stream rather than a path."""
    scheme, mark, _ = source.partition("://")
    return bool(mark) and scheme.lower() in _SCHEMES


def stream_input(url: str) -> VideoInput:
    """Open a stream by its address."""
    name = shown(re.sub(r"(?<=://)[^/@]*@", "", url))  # without a password
    return VideoInput(
        url,
        name,
        is_live=True,
        patience=_PATIENCE,
        protocols=_PROTOCOLS,
        links=_NETWORK_FORMATS,
    )


def camera_input(number: int) -> VideoInput:
    """Open a camera of this machine by its number, from 0.

    Raises:
        MissingDependencyError: PyAV is not installed.
        VideoError: there is no such camera, or no way to cameras on this system.
    """
    require_pyav(name := f"camera {number}")
    device = _DEVICE_FORMATS.get(sys.platform)
    options = {}
    if device == "v4l2":
        file = f"/dev/video{number}"
    elif device == "avfoundation":
        file, options = str(number), {"framerate": "30"}  # its default, 29.97, is mostly refused
    elif device == "dshow":
        file = f"video={_dshow_name(number)}"
    else:
        raise VideoError(
            f"{name} cannot be opened on {sys.platform}; accepted: cameras on Linux, macOS and "
            "Windows"
        )
    return VideoInput(file, name, format=device, is_live=True, patience=_PATIENCE, options=options)


def require_pyav(name: str) -> None:
    """Raise a MissingDependencyError unless PyAV can be imported."""
    try:
        import_module("av")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"reading the video {name} needs PyAV, which is not installed. "
            "Write pip install 'rmnet[video]', or give a folder of images"
        ) from error


def _dshow_name(number: int) -> str:
    try:
        from av.device import enumerate_input_devices
    except ImportError as error:
        raise MissingDependencyError(
            "cameras by number need a newer PyAV. Write pip install --upgrade av"
        ) from error
    cameras = [d.name for d in enumerate_input_devices("dshow") if "video" in d.media_types]
    if number >= len(cameras):
        raise VideoError(f"there is no camera {number}; accepted: below {len(cameras)}")
    return cameras[number]
