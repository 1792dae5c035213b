"""The segmenter: tracks objects through videos."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from pathlib import Path

from rmnet.config import check_int
from rmnet.io import FramesLike, MaskLike, Overlap, open_frames
from rmnet.options import Flow, MemoryPolicy, Size, TrackingOptions
from rmnet.prompting import BoxLike, PointsLike, Prompter
from rmnet.results import FrameSegmentation, VideoSegmentation
from rmnet.runtime import make_executor
from rmnet.segmenter.loaded_network import LoadedNetwork
from rmnet.tracking import (
    ByFrame,
    Direction,
    OnBadFrame,
    SessionState,
    TrackingSession,
    annotations_by_frame,
    check_direction,
    check_on_bad_frame,
    collect_results,
    read_session,
    segment_directions,
    segment_frames,
)


class RMNetSegmenter(LoadedNetwork):
    """Tracks objects through videos, given as masks, boxes or clicks in a frame.

    A segmenter holds weights and no state. It may serve any number of videos, also in threads.
    Made by `from_pretrained`, or from a network of yours: `RMNetSegmenter(network, device=...,
    dtype=...)`.

    Example:
        >>> segmenter = RMNetSegmenter.from_pretrained()
        >>> result = segmenter.track("dog.mp4", "dog_00000.png")  # doctest: +SKIP
        >>> result.labels.shape  # doctest: +SKIP
        (120, 480, 854)
    """

    def start(
        self,
        *,
        size: Size = None,
        memory: MemoryPolicy = MemoryPolicy(),
        flow: Flow = None,
        regional: bool = False,
        keep_probabilities: bool = False,
        history: int = 256,
        first_index: int = 0,
        prompter: Prompter | None = None,
    ) -> TrackingSession:
        """Start a session for a video whose frames come one at a time.

        Args:
            size: See `track`, as for the next four.
            memory: Which past frames to remember.
            flow: Source of the flow that moves the search.
            regional: Whether to compute only around the objects.
            keep_probabilities: Whether results carry probabilities.
            history: Number of past frames to which `TrackingSession.rewind` can return, besides
                the last one. They are on disk, in the folder for temporary files: 1.2 MB a frame
                at 480p, and 1.6 MB more for each object. 0 for none.
            first_index: Number of the first frame, from 0. Frames whose number is a multiple of
                `memory.every` stay in memory.
            prompter: See `track`.

        Raises:
            ConfigError: an option is not accepted.
        """
        options = TrackingOptions(
            size=size,
            memory=memory,
            flow=flow,
            regional=regional,
            keep_probabilities=keep_probabilities,
            history=history,
        )
        check_int("first_index", first_index, 0)
        state = SessionState.fresh(options.resolved(self.config), int(first_index))
        return self._session(state, prompter)

    def load_session(
        self, path: str | Path, *, flow: Flow = None, prompter: Prompter | None = None
    ) -> TrackingSession:
        """Resume a video where `TrackingSession.save` left it.

        The session keeps the options it was started with; it runs on this segmenter's device.
        Nothing in the file is ever run.

        Args:
            path: File that `save` wrote.
            flow: The function again, if the session was started with one.
            prompter: The prompter again, if the session was started with one.

        Raises:
            SessionFileError: there is no such file, or it is damaged, or it was saved on other
                weights, at another precision or in another format.
            ConfigError: the session was started with a function as `flow` and none is given, or
                vice versa.
        """
        state = read_session(
            Path(path).expanduser(),
            config=self.config,
            weights=self.fingerprint,
            dtype=self._dtype,
            device=self.device,
            flow=flow,
        )
        return self._session(state, prompter)

    def track(
        self,
        frames: FramesLike,
        first_mask: MaskLike | None = None,
        *,
        object_ids: Sequence[int] | None = None,
        masks: Mapping[int, MaskLike] | None = None,
        boxes: ByFrame[BoxLike] | None = None,
        points: ByFrame[PointsLike] | None = None,
        prompter: Prompter | None = None,
        overlap: Overlap = "error",
        direction: Direction = "forward",
        size: Size = None,
        memory: MemoryPolicy = MemoryPolicy(),
        flow: Flow = None,
        regional: bool = False,
        keep_probabilities: bool = False,
        on_bad_frame: OnBadFrame = "stop",
        progress: bool = False,
    ) -> VideoSegmentation:
        """Track objects through a video.

        All results are kept, at 4 bytes a pixel. For long videos, see `stream`.

        Args:
            frames: A video or animated image as a path, bytes or binary file object; a folder,
                glob or list of images; a uint8 RGB array (T, H, W, 3) or tensor (T, 3, H, W); any
                iterable of frames that `TrackingSession.step` takes; the number of a camera or the
                address of a stream; or what `rmnet.io.open_frames` returns, which also takes
                `fps` and floats.
            first_mask: Objects in frame 0: a PNG path, a PIL image, an integer label map (H, W)
                (0 background, 255 void), {id: bool (H, W)}, or bool (N, H, W) with `object_ids`.
                A file named like another frame is refused: give it in `masks`.
            object_ids: Ids for the layers of a stack or for a binary mask, or the ids to take from
                a label map.
            masks: {frame number: mask} of objects to add or correct at later frames.
            boxes: Boxes of objects without a mask, px of the video: {id: (x0, y0, x1, y1)},
                half-open, in frame 0; or {frame number: {id: box}}.
            points: Clicks on objects without a mask, and beside them: {id: [(x, y, inside), ...]}
                in frame 0, or {frame number: {id: [...]}}; a new object needs a click with
                `inside` True. They correct an object that is tracked already.
            prompter: What turns boxes and clicks into masks: a function of the form of
                `rmnet.prompting.Prompter`; None for the packaged network.
            overlap: Which object gets pixels that several masks claim: the "first" or "last" one of
                `{id: mask}` or of the layers; "error" to refuse them.
            direction: Where masks are carried. "forward": to later frames; an object is missing
                before its first mask. "backward": to earlier frames; it is missing after its last
                mask. "both": each object of a frame comes from the nearest of its masks, of
                equally near ones from the earlier. The last two read the video twice more, so it
                cannot be a generator, and give the first result when the backward pass is done.
            size: Shorter side of a frame inside the network, in pixels; "native" for the video's
                own; None for the size the weights were trained at (`config.size`). Frames are
                never enlarged, and results have the video's size.
            memory: Which past frames to remember.
            flow: Source of the optical flow that moves the search: None for TinyFlowNet; "none" to
                search around the previous mask; or a function of two uint8 RGB frames
                (current, previous), (h, w, 3) at the network's size, that returns the flow
                (2, h, w) in pixels from current to previous, x first, such as
                `rmnet.ablations.raft_flow()`.
            regional: Whether to compute only around the objects: faster the smaller they are, with
                slightly different results.
            keep_probabilities: Whether results carry probabilities, (N+1, H, W) float32 a frame.
            on_bad_frame: "stop" to raise a VideoError at a frame that cannot be decoded; "skip" to
                return background for it, with the reason in `skipped`. A frame with a mask of its
                own is never skipped.
            progress: Whether to show a progress bar.

        Raises:
            ConfigError: an option is not accepted.
            FrameError: a frame is not accepted.
            MaskError: a mask is not accepted.
            VideoError: the video or one of its frames cannot be read.
            DeviceMemoryError: memory ran out; the message says what helps.

        Every exception in the middle of the video, KeyboardInterrupt included, carries the results
        so far as `partial`.
        """
        source = open_frames(frames)
        results = self.stream(
            source,
            first_mask,
            object_ids=object_ids,
            masks=masks,
            boxes=boxes,
            points=points,
            prompter=prompter,
            overlap=overlap,
            direction=direction,
            size=size,
            memory=memory,
            flow=flow,
            regional=regional,
            keep_probabilities=keep_probabilities,
            on_bad_frame=on_bad_frame,
            progress=progress,
        )
        return collect_results(results, source)

    def stream(
        self,
        frames: FramesLike,
        first_mask: MaskLike | None = None,
        *,
        object_ids: Sequence[int] | None = None,
        masks: Mapping[int, MaskLike] | None = None,
        boxes: ByFrame[BoxLike] | None = None,
        points: ByFrame[PointsLike] | None = None,
        prompter: Prompter | None = None,
        overlap: Overlap = "error",
        direction: Direction = "forward",
        size: Size = None,
        memory: MemoryPolicy = MemoryPolicy(),
        flow: Flow = None,
        regional: bool = False,
        keep_probabilities: bool = False,
        on_bad_frame: OnBadFrame = "stop",
        progress: bool = False,
    ) -> Generator[FrameSegmentation, None, None]:
        """Track objects through a video of any length in constant memory.

        Takes the arguments of `track` and raises the same errors. They are checked at once; frames
        are read as results are consumed.

        Yields:
            A result for each frame, with the frame itself in `frame`, so that `result.overlay()`
            needs no argument.
        """
        check_on_bad_frame(on_bad_frame)
        source = open_frames(frames)
        check_direction(direction, source)
        given = annotations_by_frame(
            source,
            first_mask,
            masks,
            object_ids=object_ids,
            boxes=boxes,
            points=points,
            overlap=overlap,
        )
        start = partial(
            self.start,
            size=size,
            memory=memory,
            flow=flow,
            regional=regional,
            history=0,
            prompter=prompter,
        )
        session = start(keep_probabilities=keep_probabilities, first_index=min(given))
        if direction == "forward":
            return segment_frames(
                session, source, given, on_bad_frame=on_bad_frame, progress=progress
            )
        return segment_directions(
            start,
            source,
            given,
            direction=direction,
            keep_probabilities=keep_probabilities,
            on_bad_frame=on_bad_frame,
            progress=progress,
        )

    def _session(self, state: SessionState, prompter: Prompter | None) -> TrackingSession:
        executor = make_executor(self._inference, regional=state.options.regional)
        return TrackingSession(
            executor, state, lambda: self.fingerprint, prompter or self._packaged_prompter
        )
