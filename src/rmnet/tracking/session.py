"""A tracking session: the state of one video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rmnet.errors import FrameError, MaskError, SessionError, UnknownObjectError, shown
from rmnet.io import MaskLike, ObjectMasks, as_frame, parse_mask
from rmnet.options import TrackingOptions
from rmnet.results import FrameSegmentation
from rmnet.runtime import Executor
from rmnet.tracking.estimate import Estimate
from rmnet.tracking.full_memory import explains_full_memory
from rmnet.tracking.memory import MemoryStats
from rmnet.tracking.segmentation import blank, segment
from rmnet.tracking.session_file import write_session
from rmnet.tracking.state import LastFrame, SessionState
from rmnet.tracking.step import propagate, to_network_size
from rmnet.weights import Fingerprint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


class TrackingSession:
    """Tracks objects through one video, frame by frame.

    Made by `RMNetSegmenter.start`. Sessions are cheap: any number may share a segmenter, also in
    threads, each session in one thread at a time. A call that raises leaves the session as it was
    and may be repeated.

    A frame enters the memory only when the next one arrives. Until then `correct`, `add_objects`
    and `remove_objects` change what is known of it, without another pass of the network.
    """

    def __init__(
        self, executor: Executor, state: SessionState, fingerprint: Callable[[], Fingerprint]
    ) -> None:
        self._executor = executor
        self._state = state
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

    def save(self, path: str | Path) -> Path:
        """Write the session to a file from which `RMNetSegmenter.load_session` resumes it.

        A resumed session gives the same results as this one, byte for byte on the same machine,
        also in another process. This session is unchanged.

        Args:
            path: File to write; it appears whole or not at all. It holds the memory
                (`memory_stats().num_bytes`) and the last frame, not the weights.

        Returns:
            The file.

        Raises:
            OutputError: the file cannot be written.
        """
        path = Path(path).expanduser()
        write_session(path, self._state, self._fingerprint(), self._executor.dtype)
        return path

    @explains_full_memory
    @torch.inference_mode()
    def step(
        self,
        frame: NDArray[np.uint8] | torch.Tensor | Image,
        mask: MaskLike | None = None,
        *,
        object_ids: Sequence[int] | None = None,
        seconds: float | None = None,
    ) -> FrameSegmentation:
        """Segment the next frame.

        Args:
            frame: uint8 RGB array (H, W, 3), PIL image, or uint8 tensor (3, H, W). All frames of
                a video have one size.
            mask: Objects to add or correct on this frame; see `correct`. Required for the first
                frame.
            object_ids: Ids for the layers of a stack (N, H, W), or the ids to take from a label
                map.
            seconds: Time of the frame, passed on to the result.

        Raises:
            FrameError: the frame is not accepted, or differs in size from those before.
            MaskError: the mask is not accepted.
            SessionError: no mask has been given yet.
            DeviceMemoryError: memory ran out; the message says what helps.
        """
        index, last = self._state.next_index, self._state.last
        pixels = as_frame(frame, index=index)
        video_size = (pixels.shape[0], pixels.shape[1])
        if last is not None and video_size != last.video_size:
            raise FrameError(
                f"frame {index} is {video_size} (height, width) after frames of "
                f"{last.video_size}; accepted: one size a video. Resize the frame, or start() "
                "another session"
            )
        if mask is None and object_ids is not None:
            raise MaskError("object_ids came without a mask; accepted: step(frame, mask, ...)")
        given = None if mask is None else self._parse_mask(mask, video_size, object_ids)
        if last is None and given is None:
            raise SessionError(
                "there is nothing to track yet; accepted for the first frame: step(frame, mask), "
                "with a label map (H, W), a PNG path or {id: bool (H, W)} as the mask"
            )
        small = to_network_size(pixels, self.options.shorter_side, self._executor.device)
        estimate = Estimate.empty((small.shape[1], small.shape[2]), small.device)
        regions = {}
        if last is not None and self.objects:
            predicted, boxes = propagate(
                self._executor, self._state.bank, last, small, flow=self.options.flow
            )
            # Contiguous, as it comes from a file: the memory layout may decide a last bit.
            estimate = Estimate(self.objects, predicted.contiguous())
            regions = dict(zip(self.objects, boxes.tolist(), strict=True))
        if given is not None:
            estimate = estimate.give(given)
        return self._settle(LastFrame(index, small, video_size, estimate, regions, seconds))

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
        self, mask: MaskLike, *, object_ids: Sequence[int] | None = None
    ) -> FrameSegmentation:
        """Replace what is known of objects in the frame just returned; new ids are added.

        An object in the mask gets exactly its pixels; no pixels mean that it is not in this frame.
        Void pixels (255) keep what was known, and so do objects that the mask does not name, where
        it does not take their pixels.

        Args:
            mask: Label map (H, W), PNG, {id: bool (H, W)}, or bool (N, H, W) with `object_ids`.
                A binary mask stands for object 1, if that is tracked.
            object_ids: Ids for the layers of a stack or for a binary mask, or the ids to take from
                a label map.

        Returns:
            The corrected result of the frame.

        Raises:
            MaskError: the mask is not accepted.
            SessionError: there is no frame yet.
        """
        last = self._require_frame("correct")
        given = self._parse_mask(mask, last.video_size, object_ids)
        return self._settle(replace(last, estimate=last.estimate.give(given)))

    @explains_full_memory
    def add_objects(
        self, mask: MaskLike, *, object_ids: Sequence[int] | None = None
    ) -> FrameSegmentation:
        """Track more objects from the frame just returned on.

        Like `correct`, but for new ids only.

        Raises:
            MaskError: the mask is not accepted.
            SessionError: there is no frame yet, or one of the objects is already tracked.
        """
        last = self._require_frame("add_objects")
        given = parse_mask(mask, size=last.video_size, object_ids=object_ids)
        known = sorted(set(given.object_ids) & set(self.objects))
        if known:
            raise SessionError(
                f"objects {known} are already tracked; accepted: new ids. Write correct(mask) to "
                "change an object"
            )
        return self.correct(replace(given, is_binary=False))

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

    def _settle(self, frame: LastFrame) -> FrameSegmentation:
        """Make `frame` the last one, and its objects those of the memory."""
        result = segment(
            frame,
            config=self._executor.config,
            keep_probabilities=self.options.keep_probabilities,
        )
        ids = frame.estimate.object_ids
        stay = [row for row, i in enumerate(self.objects) if i in ids]
        if len(stay) < len(self.objects):
            self._state.bank.keep_objects(stay)
        self._state.bank.add_objects(len(ids) - len(stay))
        # A correction is of a frame that has been counted, perhaps with skipped ones after it.
        next_index = max(self._state.next_index, frame.index + 1)
        self._state = replace(self._state, next_index=next_index, last=frame)
        return result

    def _parse_mask(
        self, mask: MaskLike, size: tuple[int, int], object_ids: Sequence[int] | None
    ) -> ObjectMasks:
        """Parse a mask for a frame of this video; what is accepted depends on what is tracked."""
        given = parse_mask(mask, size=size, object_ids=object_ids, allow_empty=True)
        if given.is_binary and self.objects and 1 not in self.objects:
            raise MaskError(
                f"the mask is binary, which stands for object 1, but the tracked objects are "
                f"{list(self.objects)}; accepted: a mask with ids. Write "
                f"{{{self.objects[0]}: mask}} to correct an object, or object_ids=[...] for a new "
                "one"
            )
        has_pixels = given.masks.any(dim=2).any(dim=1).tolist()
        pairs = zip(given.object_ids, has_pixels, strict=True)
        empty = [i for i, found in pairs if not found and i not in self.objects]
        if empty:
            raise MaskError(
                f"objects {empty} have no pixels and are not tracked yet; accepted: at least one "
                "pixel for a new object. Leave them out"
            )
        return given

    def _require_frame(self, call: str) -> LastFrame:
        if self._state.last is None:
            raise SessionError(f"{call} needs a frame; write step(frame, mask) first")
        return self._state.last
