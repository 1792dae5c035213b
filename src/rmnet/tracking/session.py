"""A tracking session: the state of one video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmnet.errors import (
    ConfigError,
    FrameError,
    MaskError,
    SessionError,
    UnknownObjectError,
    shown,
)
from rmnet.geometry import network_size, resize
from rmnet.io import ObjectMasks, as_frame, parse_mask
from rmnet.options import MemoryPolicy
from rmnet.results import FrameSegmentation
from rmnet.runtime import InferenceNetwork, Workspace
from rmnet.tracking.estimate import Estimate
from rmnet.tracking.full_memory import explains_full_memory
from rmnet.tracking.memory import MemoryBank
from rmnet.tracking.segmentation import blank, segment
from rmnet.tracking.session_file import write_session
from rmnet.tracking.session_state import LastFrame, SessionState
from rmnet.tracking.step import Flow, KnownFrame, propagate
from rmnet.weights import Fingerprint, library_version

_FLOWS: Final[dict[str, Flow]] = {"tiny": None, "none": "none"}  # as files call them


@dataclass(frozen=True, slots=True)
class MemoryStats:
    """What a session remembers.

    Attributes:
        frames: Numbers of the frames in memory, ascending.
        pinned_frames: Those with given masks, which go last.
        num_bytes: Size of the keys and values held, free room included.
    """

    frames: tuple[int, ...]
    pinned_frames: tuple[int, ...]
    num_bytes: int


class _LoadsSessions(Protocol):
    """An `RMNetSegmenter`, which knows sessions and not the other way round."""

    def load_session(self, path: str | Path, *, flow: Flow = None) -> TrackingSession: ...


class TrackingSession:
    """Follows objects through one video, frame by frame.

    Made by `RMNetSegmenter.start`. Cheap; any number may run on one segmenter, in threads too,
    each session in one thread at a time. A call that raises may be repeated: what is known of the
    video is as it was.

    A frame enters the memory only when the next one arrives. Until then `correct`, `add_objects`
    and `remove_objects` change what is known of it, without running the network again.
    """

    def __init__(
        self,
        network: InferenceNetwork,
        *,
        precision: torch.dtype,
        size: int | None,
        memory: MemoryPolicy,
        flow: Flow,
        regional: bool,
        keep_probabilities: bool,
        fingerprint: Callable[[], Fingerprint],
        first_index: int = 0,
    ) -> None:
        self._network = network
        self._device = network.device
        self._precision = precision
        self._shorter_side = size
        self._flow: Flow = flow
        self._regional = regional
        self._keep_probabilities = keep_probabilities
        self._fingerprint = fingerprint
        self._bank = MemoryBank(memory)
        self._next_index = first_index
        self._last: LastFrame | None = None
        self._workspace: Workspace | None = None  # held, so that it is there for the next step

    @classmethod
    def load(
        cls, path: str | Path, segmenter: _LoadsSessions, *, flow: Flow = None
    ) -> TrackingSession:
        """Go on from a file that `save` wrote: `segmenter.load_session(path, flow=flow)`."""
        return segmenter.load_session(path, flow=flow)

    @classmethod
    def restore(
        cls,
        network: InferenceNetwork,
        state: SessionState,
        *,
        flow: Flow,
        fingerprint: Callable[[], Fingerprint],
    ) -> TrackingSession:
        """Go on from a state; `RMNetSegmenter.load_session` reads one from a file.

        Raises:
            ConfigError: `flow` is not what the session had.
        """
        if (state.flow == "function") != callable(flow):
            had = "a function" if state.flow == "function" else repr(_FLOWS[state.flow])
            remedy = "leave flow out" if callable(flow) else "write load_session(path, flow=...)"
            raise ConfigError(
                f"flow is {flow!r}, but the session was saved with {had}, and a file holds no "
                f"code; accepted: the same again. So {remedy}"
            )
        session = cls(
            network,
            precision=state.precision,
            size=state.shorter_side,
            memory=state.bank.policy,
            flow=flow if callable(flow) else _FLOWS[state.flow],
            regional=state.regional,
            keep_probabilities=state.keep_probabilities,
            fingerprint=fingerprint,
            first_index=state.next_index,
        )
        session._bank, session._last = state.bank, state.last
        return session

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects being tracked, in the order in which they were given."""
        return () if self._last is None else self._last.known.estimate.object_ids

    @property
    def frame_index(self) -> int | None:
        """Number of the last frame, from 0, skipped ones included; None before the first."""
        return None if self._last is None else self._next_index - 1

    def memory_stats(self) -> MemoryStats:
        """What is remembered at the moment; the last frame joins when the next one comes."""
        return MemoryStats(self._bank.frames, self._bank.pinned_frames, self._bank.num_bytes)

    def save(self, path: str | Path) -> Path:
        """Write all that the next step needs, weights apart; `load_session` goes on from it.

        `RMNetSegmenter.load_session` on the same weights gives a session whose results are those
        of this one, byte for byte on the same machine, in another process too. The session itself
        stays as it is, and may go on.

        Args:
            path: A file, which appears or is replaced whole or not at all. It holds the last
                frame and the memory: `memory_stats().num_bytes` and a few frames more.

        Returns:
            The file.

        Raises:
            OutputError: it cannot be written.
        """
        path = Path(path).expanduser()
        flow = "function" if callable(self._flow) else "none" if self._flow == "none" else "tiny"
        state = SessionState(
            self._precision,
            self._shorter_side,
            flow,
            self._regional,
            self._keep_probabilities,
            self._bank,
            self._next_index,
            self._last,
        )
        write_session(path, state, weights=self._fingerprint(), rmnet_version=library_version())
        return path

    @explains_full_memory
    @torch.inference_mode()
    def step(
        self,
        frame: Any,
        mask: Any = None,
        *,
        object_ids: Sequence[int] | None = None,
        seconds: float | None = None,
    ) -> FrameSegmentation:
        """Find the objects in the next frame.

        Args:
            frame: uint8 RGB array (H, W, 3), PIL image, or uint8 tensor (3, H, W); every frame
                of a video has one size.
            mask: Objects to add, or to correct, on this frame: see `correct`. The first frame
                needs one.
            object_ids: Ids of a stack of masks (N, H, W), or which ids of a label map to take.
            seconds: Time of the frame, to be passed on to the result.

        Raises:
            FrameError: not a frame, or another size than those before.
            MaskError: the mask is not accepted.
            SessionError: no mask was ever given.
            DeviceMemoryError: there is too little memory; the message says what helps.
        """
        pixels = as_frame(frame, index=self._next_index)
        video_size = (pixels.shape[0], pixels.shape[1])
        last = self._last
        if last is not None and video_size != last.video_size:
            raise FrameError(
                f"frame {self._next_index} is {video_size} (height, width) after frames of "
                f"{last.video_size}; accepted: one size a video. "
                "Resize it, or start() a session for the new size"
            )
        given = None if mask is None else self._read_mask(mask, video_size, object_ids)
        if mask is None and object_ids is not None:
            raise MaskError("object_ids came without a mask; accepted: step(frame, mask, ...)")
        if last is None and given is None:
            raise SessionError(
                "there is nothing to track yet: no mask was given. Write step(frame, mask) for "
                "the first frame; a mask is a label map (H, W), a PNG path or {id: bool (H, W)}"
            )
        small = self._shrink(pixels)
        size = (small.shape[1], small.shape[2])
        regions = torch.zeros((0, 4), dtype=torch.int32, device="cpu")
        if last is None or not last.known.estimate.object_ids:
            estimate = Estimate.empty(size, self._device)
        else:
            self._workspace = Workspace.of_this_thread()
            with self._autocast():
                predicted, regions = propagate(
                    self._network,
                    self._bank,
                    last.known,
                    small,
                    flow=self._flow,
                    regional=self._regional,
                    workspace=self._workspace,
                )
            # Laid out anew: how values lie in memory may decide a last bit, and a session that
            # was saved has no such past.
            estimate = Estimate(last.known.estimate.object_ids, predicted.contiguous())
        stepped = LastFrame(
            known=KnownFrame(self._next_index, small, estimate),
            video_size=video_size,
            regions=dict(zip(estimate.object_ids, regions.tolist(), strict=True)),
            seconds=seconds,
        )
        if given is not None:
            estimate = estimate.give(given)
        result = self._settle(stepped, estimate)
        self._next_index += 1
        return result

    def skip(
        self, reason: str = "it was skipped", *, seconds: float | None = None
    ) -> FrameSegmentation:
        """Count a frame that cannot be read; the next one is searched from the last that could.

        The memory stays as it is, and `correct`, `add_objects` and `remove_objects` go on being
        about the last frame that could be read.

        Args:
            reason: For the result's `skipped`.
            seconds: Time of the frame, to be passed on to the result.

        Returns:
            Background, every object's status being "skipped".

        Raises:
            SessionError: there is no frame yet.
        """
        last = self._require_frame("skip")
        result = blank(
            last.video_size,
            index=self._next_index,
            seconds=seconds,
            keep_probabilities=self._keep_probabilities,
            object_ids=self.objects,
            skipped=reason,
        )
        self._next_index += 1
        return result

    @explains_full_memory
    @torch.inference_mode()
    def correct(self, mask: Any, *, object_ids: Sequence[int] | None = None) -> FrameSegmentation:
        """Put right what is known of the frame just returned; ids not seen before are added.

        An object in the mask gets exactly its pixels; none at all says that it is not in this
        frame. Void pixels (255) stay as they were, and so do objects that the mask does not name,
        where it does not take their pixels.

        Args:
            mask: Label map (H, W), a PNG, {id: bool (H, W)}, or bool (N, H, W) with `object_ids`.
                A binary mask names no object: it is for the object 1, if that is tracked.
            object_ids: Ids of a stack, of a binary mask, or which ids of a label map to take.

        Returns:
            The frame's result, as it is now.

        Raises:
            MaskError: the mask is not accepted.
            SessionError: there is no frame yet.
        """
        last = self._require_frame("correct")
        given = self._read_mask(mask, last.video_size, object_ids)
        return self._settle(last, last.known.estimate.give(given))

    @explains_full_memory
    def add_objects(
        self, mask: Any, *, object_ids: Sequence[int] | None = None
    ) -> FrameSegmentation:
        """Track more objects from the frame just returned; like `correct`, but for new ids only.

        Raises:
            MaskError: the mask is not accepted.
            SessionError: there is no frame yet, or one of the objects is tracked already.
        """
        last = self._require_frame("add_objects")
        given = parse_mask(mask, size=last.video_size, object_ids=object_ids)
        known = sorted(set(given.object_ids) & set(self.objects))
        if known:
            raise SessionError(
                f"objects {known} are tracked already; write correct(mask) to change them, or "
                "give the new objects other ids"
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
        strangers = [i for i in listed if isinstance(i, bool) or not isinstance(i, Integral)]
        if strangers:
            raise UnknownObjectError(f"{shown(strangers[0])} is no object id; accepted: integers")
        gone = {int(i) for i in listed}
        unknown = [i for i in gone if i not in self.objects]
        if unknown:
            raise UnknownObjectError(
                f"objects {shown(unknown)} are not tracked; accepted: {list(self.objects)}"
            )
        return self._settle(last, last.known.estimate.remove(gone))

    def _settle(self, frame: LastFrame, estimate: Estimate) -> FrameSegmentation:
        """Make `estimate` what is known of a frame, and the memory's objects those it names."""
        result = segment(
            estimate,
            index=frame.known.index,
            size=frame.video_size,
            regions=frame.regions,
            config=self._network.config,
            keep_probabilities=self._keep_probabilities,
            seconds=frame.seconds,
        )
        old = self.objects
        stay = [row for row, i in enumerate(old) if i in estimate.object_ids]
        if len(stay) < len(old):
            self._bank.keep_objects(stay)
        self._bank.add_objects(len(estimate.object_ids) - len(stay))
        self._last = replace(frame, known=replace(frame.known, estimate=estimate))
        return result

    def _read_mask(
        self, mask: Any, size: tuple[int, int], object_ids: Sequence[int] | None
    ) -> ObjectMasks:
        """A mask for this video's frame; what is accepted depends on what is tracked."""
        given = parse_mask(mask, size=size, object_ids=object_ids, allow_empty=True)
        tracked = self.objects
        if given.is_binary and tracked and 1 not in tracked:
            raise MaskError(
                f"the mask is binary and names no object, and 1 is none of {list(tracked)}; "
                f"accepted: a mask that does. Write {{{tracked[0]}: mask}} to correct an object, "
                "or object_ids=[...] with a new id"
            )
        has_pixels = given.masks.any(dim=2).any(dim=1).tolist()
        pairs = zip(given.object_ids, has_pixels, strict=True)
        empty = [i for i, found in pairs if not found and i not in tracked]
        if empty:
            raise MaskError(
                f"objects {empty} have no pixels and are not tracked yet; accepted: at least one "
                "pixel of a new object. Leave them out"
            )
        return given

    def _require_frame(self, call: str) -> LastFrame:
        if self._last is None:
            raise SessionError(f"{call} changes the frame just returned; write step(...) first")
        return self._last

    def _shrink(self, pixels: NDArray[np.uint8]) -> Tensor:
        """A frame on the device, (3, h, w) uint8 at the network's size."""
        size = network_size(pixels.shape[0], pixels.shape[1], self._shorter_side)
        # torch refuses read-only and negatively strided arrays, which frames may well be.
        planes = torch.from_numpy(np.array(pixels)).to(self._device).permute(2, 0, 1)
        if size == pixels.shape[:2]:
            return planes.contiguous()
        return resize(planes[None].float(), size)[0].round().clamp(0, 255).to(torch.uint8)

    def _autocast(self) -> torch.autocast:
        # Entered for float32 too, so that a caller's own autocast does not reach in here.
        is_reduced = self._precision != torch.float32
        return torch.autocast(self._device.type, dtype=self._precision, enabled=is_reduced)
