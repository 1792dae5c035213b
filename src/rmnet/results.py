"""What tracking gives back: values, in numpy arrays and the user's own ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from rmnet.errors import ConfigError, FrameError, UnknownObjectError, VideoError, shown
from rmnet.export import encode_rle
from rmnet.io import (
    FrameSource,
    VideoWriter,
    as_frame,
    label_image,
    make_folder,
    open_frames,
    overlay,
    read_label_png,
    write_label_png,
)
from rmnet.metrics import mean_jaccard

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Status = Literal["tracked", "lost", "skipped"]
DEFAULT_RATE = 24.0  # frames a second of an overlay whose source has no rate: folders, arrays


@dataclass(frozen=True, slots=True, eq=False)
class FrameSegmentation:
    """The objects of one frame.

    Attributes:
        index: Number of the frame in its video, from 0.
        labels: (H, W) int32, the user's ids, 0 background; of the video's own size.
        object_ids: N ids that are being tracked, in the order of what follows.
        scores: (N,) float32, mean probability over the object's pixels, in [0, 1]; 0 without any.
        status: "lost" where the object has too few sure pixels (`min_object_pixels` of
            `mask_threshold`, at the network's size), else "tracked". Such an object's next search
            is mostly of the whole frame. "tracked" does not say that the mask is right. "skipped"
            where the frame could not be read: nobody looked.
        boxes: (N, 4) int32 px, x0 y0 x1 y1 half-open around the object's pixels; zeros without any.
        regions: (N, 4) int32 px, where the object was looked for; zeros where it was not, because
            its mask was given.
        probabilities: (N+1, H, W) float32 on the CPU, background first, summing to 1; None unless
            asked for with `keep_probabilities`.
        seconds: Time of the frame in its video, if the source knows.
        skipped: Why the frame could not be read, under `on_bad_frame="skip"`; None of one that was.
            Its labels are all 0: masks are not made up.
        frame: (H, W, 3) uint8 RGB, the frame itself; only in results of `stream`, and not where
            the frame was skipped.
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
        """Mask (H, W) of one object.

        Raises:
            UnknownObjectError: it is not tracked in this frame.
        """
        self._row(object_id)
        return self.labels == object_id

    def region(self, object_id: int) -> tuple[int, int, int, int]:
        """Where one object was looked for, (x0, y0, x1, y1) px; see `regions`."""
        x0, y0, x1, y1 = self.regions[self._row(object_id)].tolist()
        return x0, y0, x1, y1

    def overlay(
        self, frame: Any = None, *, alpha: float = 0.5, show_regions: bool = False
    ) -> NDArray[np.uint8]:
        """The frame with its objects in colour.

        Args:
            frame: The frame itself, in any form that `track` takes; None for `self.frame`.
            alpha: Opacity of the colours, in [0, 1].
            show_regions: Whether to draw where each object was looked for.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            FrameError: another size than the labels', or there is no frame.
        """
        if frame is None and self.frame is None:
            raise FrameError(
                f"the result of frame {self.index} does not hold the frame; accepted: the frame "
                "itself. Write overlay(frame), or draw the results of stream(), which hold theirs"
            )
        picture = as_frame(self.frame if frame is None else frame, index=self.index)
        if picture.shape[:2] != self.labels.shape:
            raise FrameError(
                f"frame {self.index} is {picture.shape[:2]}, its labels {self.labels.shape} "
                "(height, width); accepted: the frame that was tracked, at its own size"
            )
        boxes = {i: self.region(i) for i in self.object_ids} if show_regions else None
        return overlay(picture, self.labels, alpha=alpha, boxes=boxes)

    def to_pil(self) -> Image:
        """The labels as a palette image, as DAVIS stores them (ids up to 255)."""
        return label_image(self.labels)

    def to_rle(self) -> dict[int, dict[str, Any]]:
        """COCO run lengths of every object; needs pycocotools."""
        return {i: encode_rle(self.labels == i) for i in self.object_ids}

    def _row(self, object_id: int) -> int:
        if object_id not in self.object_ids:
            raise UnknownObjectError(
                f"object {shown(object_id)} is not tracked in frame {self.index}; "
                f"accepted: {list(self.object_ids)}"
            )
        return self.object_ids.index(object_id)


class VideoSegmentation(Sequence[FrameSegmentation]):
    """The objects of a whole video, frame by frame."""

    def __init__(
        self,
        frames: Iterable[FrameSegmentation],
        *,
        source: FrameSource | None = None,
        is_whole: bool = True,
    ) -> None:
        """Take results.

        Args:
            frames: Of the video, from the first on.
            source: Where its frames come from, if they may be read again.
            is_whole: Whether the results are those of all frames; else more may come from there.
        """
        self._frames = tuple(frames)
        self._is_whole = is_whole
        self._source = source

    def __len__(self) -> int:
        return len(self._frames)

    @overload
    def __getitem__(self, index: int) -> FrameSegmentation: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[FrameSegmentation, ...]: ...
    def __getitem__(self, index: int | slice) -> FrameSegmentation | tuple[FrameSegmentation, ...]:
        """One frame, or a tuple of frames."""
        return self._frames[index]

    def __iter__(self) -> Iterator[FrameSegmentation]:
        return iter(self._frames)

    def __repr__(self) -> str:
        height, width = self._frames[0].labels.shape if self._frames else (0, 0)
        objects = list(self.object_ids)
        return f"VideoSegmentation({len(self)} frames of {height}x{width}, objects {objects})"

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Every id tracked in some frame, ascending."""
        return tuple(sorted({i for frame in self._frames for i in frame.object_ids}))

    @property
    def labels(self) -> NDArray[np.int32]:
        """(T, H, W) int32, the user's ids, 0 background; a copy."""
        return np.stack([frame.labels for frame in self._frames])

    def save_masks(self, directory: str | Path) -> list[Path]:
        """Write a label PNG for every frame, as DAVIS does.

        Files are named like the source's images, or 00000.png and on.

        Returns:
            The files, in order.

        Raises:
            ConfigError: the video's own images would be overwritten.
            MaskError: ids that a PNG does not hold: 255, and from 65536 on.
            OutputError: a file cannot be written; those before it are there.
        """
        directory = Path(directory)
        make_folder(directory)
        paths = [directory / f"{name}.png" for name in self._names()]
        sources = [] if self._source is None else self._source.paths or []
        if {path.resolve() for path in paths} & {path.resolve() for path in sources}:
            raise ConfigError(
                f"{str(directory)!r} holds the video's own images, which would be overwritten; "
                "accepted: another folder"
            )
        for path, frame in zip(paths, self._frames, strict=True):
            write_label_png(path, frame.labels, object_ids=self.object_ids)
        return paths

    def save_video(
        self,
        path: str | Path,
        frames: Any = None,
        *,
        alpha: float = 0.5,
        show_regions: bool = False,
    ) -> Path:
        """Write the video with its objects in colour; needs PyAV.

        Args:
            path: A file of a kind that holds H.264, such as `out.mp4`.
            frames: The frames again, in any form that `track` takes; None reads them from where
                `track` did, unless that was a generator, which runs only once.
            alpha: Opacity of the colours, in [0, 1].
            show_regions: Whether to draw where each object was looked for.

        Raises:
            ConfigError: the frames were a generator, or are not as many as were tracked.
        """
        source = self._source if frames is None else open_frames(frames)
        if source is None or not source.reiterable:
            raise ConfigError(
                "the frames came from a generator and are gone; write save_video(path, frames) "
                "with the frames once more, or draw while tracking with stream() and overlay()"
            )
        path = Path(path)
        rate = source.frames_per_second or DEFAULT_RATE
        with (
            VideoWriter(path, frames_per_second=rate) as writer,
            closing(source.attempted()) as frames,
        ):
            for result, pair in zip_longest(self._frames, frames):
                if result is None and not self._is_whole:
                    break
                if result is None or pair is None:
                    came = "more" if result is None else "fewer"
                    raise ConfigError(
                        f"{came} frames came than the {len(self)} that were tracked; accepted: "
                        "the same frames"
                    )
                frame, seconds = pair
                if isinstance(frame, VideoError):
                    if result.skipped is None:
                        raise frame
                    continue  # the frame before it is shown longer
                picture = result.overlay(frame, alpha=alpha, show_regions=show_regions)
                writer.write(picture, seconds)
        return path

    def to_rle(self) -> list[dict[int, dict[str, Any]]]:
        """COCO run lengths, of each frame and object; needs pycocotools."""
        return [frame.to_rle() for frame in self._frames]

    def evaluate(
        self,
        truth: str | Path | Mapping[int, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any],
    ) -> dict[int, float]:
        """Mean J of every object; see `rmnet.metrics.measures.mean_jaccard` for what is scored.

        Args:
            truth: Folder of label PNGs, named like the frames (as `save_masks` names them), not
                every frame needing one, or else as many as frames, in natural order; or label
                maps (H, W), 0 background and 255 void: {number of the frame: map}, or all in
                order, such as an array (T, H, W).

        Returns:
            Id -> J in [0, 1].

        Raises:
            ConfigError: there is no such folder, or the truth is not of the tracked frames.
            VideoError: the folder holds no images.
            MaskError: a true label map cannot be read, or has another size.
        """
        if isinstance(truth, str | Path):
            truth = self._read_truth(Path(truth))
        labels = {frame.index: frame.labels for frame in self._frames}
        return mean_jaccard(labels, truth, object_ids=self.object_ids)

    def _names(self) -> list[str]:
        """File names without suffix, a frame each."""
        names = self._source.names if self._source is not None else None
        numbers = [frame.index for frame in self._frames]
        return [f"{i:05d}" if names is None else names[i] for i in numbers]

    def _read_truth(self, directory: Path) -> dict[int, NDArray[np.integer]]:
        """Label PNGs of a folder by number of the frame."""
        if not directory.is_dir():
            raise ConfigError(f"there is no folder {str(directory)!r}; accepted: one of label PNGs")
        stems = open_frames(directory).names or []  # in natural order
        indices = dict(zip(self._names(), (frame.index for frame in self._frames), strict=True))
        strangers = [stem for stem in stems if stem not in indices]
        if strangers and len(stems) != len(self):
            raise ConfigError(
                f"{str(directory)!r} holds {len(stems)} label maps for {len(self)} frames, and "
                f"{strangers[0]!r} is not the name of a frame; accepted: names of frames, such as "
                f"{next(iter(indices), '00000')!r}, or as many maps as frames"
            )
        numbers = indices.values() if strangers else [indices[stem] for stem in stems]
        maps = (read_label_png(directory / f"{stem}.png") for stem in stems)
        return dict(zip(numbers, maps, strict=True))
