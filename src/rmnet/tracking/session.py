"""A tracking session: the state of one video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rmnet.errors import SessionError, UnknownObjectError, shown
from rmnet.io import FrameLike, MaskLike, Overlap, as_frame
from rmnet.options import TrackingOptions
from rmnet.prompting import BoxLike, PointsLike, Prompter
from rmnet.results import FrameSegmentation
from rmnet.runtime import Executor
from rmnet.tracking.annotation import (
    Annotation,
    annotate,
    of_new_objects,
    parse_annotation,
    required,
)
from rmnet.tracking.full_memory import explains_full_memory
from rmnet.tracking.last_frame import LastFrame
from rmnet.tracking.memory import MemoryStats
from rmnet.tracking.rewind import rewound
from rmnet.tracking.segmentation import blank, segment
from rmnet.tracking.session_file import write_session
from rmnet.tracking.state import SessionState
from rmnet.tracking.step import checked_size, next_frame
from rmnet.weights import Fingerprint


class TrackingSession:
    """Tracks objects through one video, frame by frame.

    Made by `RMNetSegmenter.start`. Sessions are cheap: any number may share a segmenter, also in
    threads, each session in one thread at a time. A call that raises leaves the session as it was
    and may be repeated.

    A frame enters the memory only when the next one arrives. Until then `correct`, `add_objects`
    and `remove_objects` change what is known of it, without another pass of the network.
    """

    def __init__(
        self,
        executor: Executor,
        state: SessionState,
        fingerprint: Callable[[], Fingerprint],
        prompter: Prompter,
    ) -> None:
        self._executor = executor
        self._state = state
        self._prompter = prompter
        self._fingerprint = fingerprint  # called when saving: hashing weights takes time

    @property
    def options(self) -> TrackingOptions:
        """The options of the session, with `size` as a number or "native"."""
        return self._state.options

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects being tracked, in the order they were given."""
        return self._state.object_ids

    @property
    def frame_index(self) -> int | None:
        """Number of the last frame, from 0, skipped frames included; None before the first."""
        return None if self._state.last is None else self._state.next_index - 1

    def memory_stats(self) -> MemoryStats:
        """Return what is in memory now; the last frame joins when the next one arrives."""
        return self._state.bank.stats()

    def save(self, path: str | Path, *, history: bool = True) -> Path:
        """Write the session to a file from which `load_session` resumes it, and return the path.

        A resumed session gives the same results as this one, byte for byte on the same machine,
        also in another process. This session is unchanged.

        Args:
            path: File to write; it appears whole or not at all. It holds the memory
                (`memory_stats().num_bytes`), the last frame and the history, not the weights.
            history: Whether the resumed session can `rewind` to frames of today; False for a
                smaller file.

        Raises:
            OutputError: the file cannot be written.
        """
        path = Path(path).expanduser()
        state = self._state if history else self._state.without_history()
        write_session(path, state, self._fingerprint(), self._executor.dtype)
        return path

    @explains_full_memory
    @torch.inference_mode()
    def step(
        self,
        frame: FrameLike,
        mask: MaskLike | Annotation | None = None,
        *,
        object_ids: Sequence[int] | None = None,
        boxes: Mapping[int, BoxLike] | None = None,
        points: Mapping[int, PointsLike] | None = None,
        overlap: Overlap = "error",
        seconds: float | None = None,
    ) -> FrameSegmentation:
        """Segment the next frame.

        Args:
            frame: uint8 RGB array (H, W, 3), uint8 tensor (3, H, W), PIL image, PyAV frame, or an
                image file: its path, its bytes, or a binary file object. Files are turned by their
                EXIF orientation. All frames of a video have one size.
            mask: Objects to add or correct on this frame; see `correct`. The first frame needs a
                mask, a box or a click.
            object_ids: Ids for the layers of a stack (N, H, W), or the ids to take from a label
                map.
            boxes: {id: (x0, y0, x1, y1)} px, half-open, of objects without a mask.
            points: {id: [(x, y, inside), ...]} px, clicks on and beside objects without a mask.
            overlap: Which object gets pixels that several masks claim: the "first" or the "last"
                one; "error" to refuse them.
            seconds: Time of the frame, passed on to the result.

        Raises:
            FrameError: the frame is not accepted, or differs in size from those before.
            VideoError: the frame is an image file that cannot be read.
            MaskError: the mask is not accepted.
            SessionError: nothing has been given to track yet.
            DeviceMemoryError: memory ran out; the message says what helps.
        """
        pixels = as_frame(frame, index=self._state.next_index)
        size = checked_size(pixels, self._state)
        annotation = parse_annotation(mask, object_ids, boxes, points, overlap, size=size)
        if annotation is not None or self._state.last is None:
            annotation = required(annotation).fitted(size, self.objects)
        found = next_frame(self._executor, self._state, pixels, seconds)
        if annotation is not None:
            found = annotate(found, annotation, pixels, self._prompter)
        return self._settle(found)

    def skip(
        self, reason: str = "it was skipped", *, seconds: float | None = None
    ) -> FrameSegmentation:
        """Count a frame that cannot be read; the next one is searched from the last readable one.

        The memory is unchanged, and `correct`, `add_objects` and `remove_objects` still refer to
        the last readable frame.

        Args:
            reason: Text for the result's `skipped`.
            seconds: Time of the frame, passed on to the result.

        Returns:
            All background, with the status "skipped" for every object.

        Raises:
            SessionError: there is no frame yet.
        """
        last = self._require_frame("skip")
        result = blank(
            last.video_size,
            index=self._state.next_index,
            seconds=seconds,
            keep_probabilities=self.options.keep_probabilities,
            object_ids=self.objects,
            skipped=reason,
        )
        self._state = replace(self._state, next_index=self._state.next_index + 1)
        return result

    @explains_full_memory
    @torch.inference_mode()
    def correct(
        self,
        mask: MaskLike | Annotation | None = None,
        *,
        object_ids: Sequence[int] | None = None,
        boxes: Mapping[int, BoxLike] | None = None,
        points: Mapping[int, PointsLike] | None = None,
        overlap: Overlap = "error",
    ) -> FrameSegmentation:
        """Replace what is known of objects in the frame just returned; new ids are added.

        An object in the mask gets exactly its pixels; no pixels mean that it is not in this frame.
        Void pixels (255) keep what was known, and so do objects that the mask does not name, where
        it does not take their pixels. Clicks mend the object's present mask. Clicks and boxes look
        at the frame as the network sees it, not larger than `options.size`.

        Args:
            mask: Label map (H, W), PNG, {id: bool (H, W)}, or bool (N, H, W) with `object_ids`.
                A binary mask stands for object 1, if that is tracked.
            object_ids: See `step`, as for the next three.
            boxes: Boxes of objects.
            points: Clicks on and beside objects.
            overlap: Which object gets pixels that several masks claim.

        Returns:
            The corrected result of the frame.

        Raises:
            MaskError: the mask, a box or a click is not accepted, or nothing was given.
            SessionError: there is no frame yet.
        """
        last = self._require_frame("correct")
        size = last.video_size
        annotation = parse_annotation(mask, object_ids, boxes, points, overlap, size=size)
        return self._annotate(last, required(annotation))

    @explains_full_memory
    @torch.inference_mode()
    def add_objects(
        self,
        mask: MaskLike | Annotation | None = None,
        *,
        object_ids: Sequence[int] | None = None,
        boxes: Mapping[int, BoxLike] | None = None,
        points: Mapping[int, PointsLike] | None = None,
        overlap: Overlap = "error",
    ) -> FrameSegmentation:
        """Track more objects from the frame just returned on.

        Like `correct`, but for new ids only.

        Raises:
            MaskError: the mask, a box or a click is not accepted, or nothing was given.
            SessionError: there is no frame yet, or one of the objects is already tracked.
        """
        last = self._require_frame("add_objects")
        size = last.video_size
        annotation = parse_annotation(mask, object_ids, boxes, points, overlap, size=size)
        return self._annotate(last, of_new_objects(required(annotation), self.objects))

    @explains_full_memory
    @torch.inference_mode()
    def remove_objects(self, ids: int | Iterable[int]) -> FrameSegmentation:
        """Stop tracking objects, from the frame just returned on.

        Raises:
            UnknownObjectError: one of them is not tracked; then none is removed.
            SessionError: there is no frame yet.
        """
        last = self._require_frame("remove_objects")
        listed = list(ids) if isinstance(ids, Iterable) else [ids]
        unknown = [i for i in listed if isinstance(i, bool) or i not in self.objects]
        if unknown:
            raise UnknownObjectError(
                f"objects {shown(unknown)} are not tracked; accepted: {list(self.objects)}"
            )
        return self._settle(replace(last, estimate=last.estimate.remove(listed)))

    @explains_full_memory
    @torch.inference_mode()
    def rewind(self, frame_index: int) -> FrameSegmentation:
        """Go back to a frame of the past, to correct it and to go on from there.

        All that came after it is forgotten; `step` takes the frame after it next. Frames stepped
        again without a change have the same results, byte for byte, unless the memory was full and
        has dropped a frame since (`MemoryPolicy.max_frames`). Objects removed since stay removed,
        as if they had never existed.

        Args:
            frame_index: Number of the last frame, or of one of the `history` frames before it.

        Returns:
            The result of that frame, corrections of that time included.

        Raises:
            SessionError: the frame was skipped, is no longer kept, or is still to come.
            ConfigError: `frame_index` is not an integer of at least 0.
        """
        last = self._require_frame("rewind")
        state = rewound(self._state, last, frame_index, self._executor.device)
        result = segment(state.last or last, self._executor.config, self.options)
        self._state = state
        return result

    def _settle(self, frame: LastFrame) -> FrameSegmentation:
        """Make `frame` the last one, and its objects those of the memory."""
        result = segment(frame, self._executor.config, self.options)
        history = self._state.history_for(frame)
        if history.failure and not self._state.history.failure:
            # Before the warning, which may be an error: then the call can be repeated.
            self._state = replace(self._state, history=history)
            history.warn()
        self._state = self._state.with_last(frame, history)
        return result

    def _annotate(self, frame: LastFrame, annotation: Annotation) -> FrameSegmentation:
        """Change what is known of the last frame."""
        annotation = annotation.fitted(frame.video_size, self.objects)
        pixels = frame.pixels.permute(1, 2, 0).cpu().numpy()
        return self._settle(annotate(frame, annotation, pixels, self._prompter))

    def _require_frame(self, call: str) -> LastFrame:
        if self._state.last is None:
            raise SessionError(f"{call} needs a frame; write step(frame, mask) first")
        return self._state.last
