"""The results of tracking: values in NumPy arrays, with the user's own ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import FrameError, UnknownObjectError, shown
from rmnet.export import encode_rle
from rmnet.io import (
    FrameLike,
    FramesLike,
    FrameSource,
    frame_name,
    label_image,
    overlay,
    read_label_folder,
    write_label_folder,
    write_overlay_video,
)
from rmnet.metrics import mean_jaccard

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Status = Literal["tracked", "lost", "skipped"]


@dataclass(frozen=True, slots=True, eq=False)
class FrameSegmentation:
    """The objects of one frame.

    Attributes:
        index: Number of the frame in its video, from 0.
        labels: (H, W) int32 of the user's ids, 0 for background, at the video's size.
        object_ids: Ids of the N objects being tracked, in the order of the arrays below.
        scores: (N,) float32 in [0, 1], mean probability over the object's pixels; 0 without any.
        status: One of these for each object. "lost": it has fewer than `min_object_pixels` pixels
            of at least `mask_threshold`, at the network's size; it is searched for in the whole
            next frame, as a rule. "tracked": it has more, which does not mean that the mask is
            right. "skipped": the frame could not be read.
        boxes: (N, 4) int32 in pixels, (x0, y0, x1, y1) half-open around the object's pixels; zeros
            without any.
        regions: (N, 4) int32 in pixels, where the object was searched for; zeros if it was not,
            because its mask was given.
        probabilities: (N+1, H, W) float32 on the CPU, background first, summing to 1; None without
            `keep_probabilities`.
        seconds: Time of the frame in its video; None if the source does not say.
        skipped: Why the frame could not be read, with `on_bad_frame="skip"`; its labels are all 0.
            None for a frame that could.
        frame: (H, W, 3) uint8 RGB, the frame itself, in results of `stream`; else None. It may
            share memory with what the source gave.
    """

    index: int
    labels: NDArray[np.int32]
    object_ids: tuple[int, ...]
    scores: NDArray[np.float32]
    status: tuple[Status, ...]
    boxes: NDArray[np.int32]
    regions: NDArray[np.int32]
    probabilities: Tensor | None = None
    seconds: float | None = None
    skipped: str | None = None
    frame: NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        height, width = self.labels.shape
        objects = ", ".join(
            f"{i}: {status} {score:.2f}"
            for i, status, score in zip(self.object_ids, self.status, self.scores, strict=True)
        )
        return f"FrameSegmentation(index={self.index}, {height}x{width}, {{{objects}}})"

    def binary(self, object_id: int) -> NDArray[np.bool_]:
        """Return the mask (H, W) of one object.

        Raises:
            UnknownObjectError: the object is not tracked in this frame.
        """
        self._row(object_id)
        return self.labels == object_id

    def region(self, object_id: int) -> tuple[int, int, int, int]:
        """Return the box (x0, y0, x1, y1) in which one object was searched for; see `regions`.

        Raises:
            UnknownObjectError: the object is not tracked in this frame.
        """
        x0, y0, x1, y1 = self.regions[self._row(object_id)].tolist()
        return x0, y0, x1, y1

    def overlay(
        self,
        frame: FrameLike | None = None,
        *,
        alpha: float = 0.5,
        show_regions: bool = False,
    ) -> NDArray[np.uint8]:
        """Draw the objects in colour on the frame.

        Args:
            frame: The frame, in any form that `step` takes; None for the result's own.
            alpha: Opacity of the colours, in [0, 1].
            show_regions: Whether to draw the box in which each object was searched for.

        Returns:
            (H, W, 3) uint8 RGB; a new array.

        Raises:
            FrameError: no frame is given and the result holds none, or the size differs.
            VideoError: an image file that cannot be read.
        """
        picture = self.frame if frame is None else frame
        if picture is None:
            raise FrameError(
                f"the result of frame {self.index} does not hold the frame; accepted: the frame "
                "itself. Write overlay(frame), or draw results of stream(), which hold theirs"
            )
        return overlay(
            picture,
            self.labels,
            alpha=alpha,
            boxes={i: self.region(i) for i in self.object_ids} if show_regions else None,
            index=self.index,
        )

    def to_pil(self) -> Image:
        """Return the labels as a palette image in the colours of DAVIS (ids up to 255)."""
        return label_image(self.labels)

    def to_rle(self) -> dict[int, dict[str, Any]]:
        """Return the COCO run lengths of each object; needs pycocotools."""
        return {i: encode_rle(self.labels == i) for i in self.object_ids}

    def _row(self, object_id: int) -> int:
        if object_id not in self.object_ids:
            raise UnknownObjectError(
                f"object {shown(object_id)} is not tracked in frame {self.index}; "
                f"accepted: {list(self.object_ids)}"
            )
        return self.object_ids.index(object_id)


class VideoSegmentation(Sequence[FrameSegmentation]):
    """The objects of a video, frame by frame: an immutable sequence; a slice is another one."""

    def __init__(
        self,
        frames: Iterable[FrameSegmentation],
        *,
        source: FrameSource | None = None,
        is_whole: bool = True,
    ) -> None:
        """Hold results.

        Args:
            frames: Results, in the order of the video.
            source: Frames of the video. Used for their names, and for `save_video` if they can be
                read again.
            is_whole: Whether these are the results of all frames.
        """
        self._frames = tuple(frames)
        # An iterator has neither names nor more frames.
        self._source = source if source is not None and source.reiterable else None
        self._is_whole = is_whole

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> FrameSegmentation: ...
    @overload
    def __getitem__(self, index: slice) -> VideoSegmentation: ...
    def __getitem__(self, index: int | slice) -> FrameSegmentation | VideoSegmentation:
        """Return one frame, or a part of the video."""
        if isinstance(index, slice):
            part = self._frames[index]
            is_whole = self._is_whole and len(part) == len(self)
            return VideoSegmentation(part, source=self._source, is_whole=is_whole)
        return self._frames[index]

    def __iter__(self) -> Iterator[FrameSegmentation]:
        return iter(self._frames)

    def __repr__(self) -> str:
        height, width = self._frames[0].labels.shape if self._frames else (0, 0)
        objects = list(self.object_ids)
        return f"VideoSegmentation({len(self)} frames of {height}x{width}, objects {objects})"

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids tracked in any frame, ascending."""
        return tuple(sorted({i for frame in self._frames for i in frame.object_ids}))

    @property
    def labels(self) -> NDArray[np.int32]:
        """(T, H, W) int32 of the user's ids, 0 for background; a copy."""
        return np.stack([frame.labels for frame in self._frames])

    def save_masks(self, directory: str | Path) -> list[Path]:
        """Write a label PNG for each frame, as DAVIS does.

        Files are named like the source's images, or else 00000.png, 00001.png, ...

        Args:
            directory: Folder to write into; created if missing.

        Returns:
            Paths of the files, in order.

        Raises:
            ConfigError: the video's own images would be overwritten.
            MaskError: an id that a PNG cannot hold: 255, or above 65535.
            OutputError: a file cannot be written; the files before it are in place.
        """
        return write_label_folder(
            directory,
            self._names(),
            (frame.labels for frame in self._frames),
            object_ids=self.object_ids,
            protected=() if self._source is None else self._source.paths or (),
        )

    def save_video(
        self,
        path: str | Path,
        frames: FramesLike | None = None,
        *,
        fps: float | None = None,
        alpha: float = 0.5,
        show_regions: bool = False,
    ) -> Path:
        """Write the video with its objects in colour; needs PyAV.

        Args:
            path: A .mp4, .mkv or .mov file.
            frames: The frames of the video, in any form that `track` takes; None to read them
                again from where `track` did, unless that can be read only once.
            fps: Frames per second, also where the video has its own times; None for those, or 24.
            alpha: Opacity of the colours, in [0, 1].
            show_regions: Whether to draw the box in which each object was searched for.

        Returns:
            `path`.

        Raises:
            ConfigError: the frames cannot be read again, their number differs, or a bad `fps`.
            VideoError: a frame cannot be decoded, or the video cannot be written.
        """
        given = self._source if frames is None else frames
        drawings = {
            frame.index: None
            if frame.skipped is not None
            else partial(frame.overlay, alpha=alpha, show_regions=show_regions)
            for frame in self._frames
        }
        return write_overlay_video(path, given, drawings, fps=fps, is_whole=self._is_whole)

    def to_rle(self) -> list[dict[int, dict[str, Any]]]:
        """Return the COCO run lengths of each frame and object; needs pycocotools."""
        return [frame.to_rle() for frame in self._frames]

    def evaluate(
        self,
        truth: str | Path | Mapping[int, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any],
    ) -> dict[int, float]:
        """Compute the mean J of each object. See `rmnet.metrics.mean_jaccard` for what is scored.

        Args:
            truth: Folder of label PNGs, named like the frames (some may be missing) or one for
                each frame in natural order; or label maps (H, W), 0 background and 255 void, as
                {frame number: map} or one for each frame, such as an array (T, H, W).

        Returns:
            Object id -> J in [0, 1].

        Raises:
            ConfigError: there is no such folder, or it does not match the tracked frames.
            VideoError: the folder holds no images.
            MaskError: a true label map cannot be read, or differs in size.
        """
        if isinstance(truth, str | Path):
            indices = {name: x.index for name, x in zip(self._names(), self._frames, strict=True)}
            folder = read_label_folder(truth, indices)
            truth = {indices[name]: labels for name, labels in folder.items()}
        labels = {frame.index: frame.labels for frame in self._frames}
        return mean_jaccard(labels, truth, object_ids=self.object_ids)

    def _names(self) -> list[str]:
        names = None if self._source is None else self._source.names
        return [frame_name(frame.index, names) for frame in self._frames]
