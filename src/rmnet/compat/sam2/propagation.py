"""Propagation: each frame's logits of all objects, in the order of the pass."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable

import torch
from torch import Tensor

from rmnet.compat.sam2.logits import ABSENT, competing_logits, pack, unpack, without_overlap
from rmnet.compat.sam2.passes import OrderedVideo, Pass, track_back
from rmnet.compat.sam2.state import InferenceState
from rmnet.config import check_int
from rmnet.errors import SessionError
from rmnet.tracking import TrackingSession

Result = tuple[int, list[Hashable], Tensor]


def propagate(
    state: InferenceState,
    start: Callable[[int], TrackingSession],
    first_frame: int | None,
    max_frames: int | None,
    *,
    reverse: bool,
) -> Generator[Result, None, None]:
    """Track from a frame on. What is given later takes part in the next propagation.

    An object is tracked in the order of the pass from its prompts on. Before the first of them, in
    that order, it is tracked in the opposite one, from that prompt.

    Args:
        state: Video, prompts and results.
        start: Function from the number of the first frame to a session.
        first_frame: Frame to start at; None for the first that has a prompt.
        max_frames: Number of frames after it; None for all.
        reverse: Whether to go from later frames to earlier ones. Source: SAM 2, which yields
            nothing from frame 0.

    Returns:
        Frame, object ids and logits (N, 1, H, W) of each frame, tracked when they are consumed.

    Raises:
        SessionError: an object has no prompt, or there is no object.
        ConfigError: an argument is not accepted.
    """
    _check_prompts(state)
    first_frame = min(state.prompts) if first_frame is None else first_frame
    first_frame = state.check_frame("start_frame_idx", first_frame)
    max_frames = state.frames.num_frames if max_frames is None else max_frames
    check_int("max_frame_num_to_track", max_frames, 0)
    if reverse and first_frame == 0:
        return (result for result in ())
    video = OrderedVideo(state.frames, state.prompts, reverse)
    first = video.position(first_frame)
    last = min(first + int(max_frames), state.frames.num_frames - 1)
    return _propagate(state, dict(state.numbers), state.tracked, video, start, first, last)


def _propagate(
    state: InferenceState,
    numbers: dict[Hashable, int],
    tracked: dict[int, dict[int, bytes]],
    video: OrderedVideo,
    start: Callable[[int], TrackingSession],
    first: int,
    last: int,
) -> Generator[Result, None, None]:
    """Yield the results from one position to another, and keep them in `tracked`."""
    before = _before_prompts(state, video, start, first)
    paused, state.paused = state.paused, None
    current = (paused and paused.resumed(video, first)) or Pass.begin(video, start)
    try:
        for position in range(min(first, current.next_position()), last + 1):
            result = current.step() if position >= current.next_position() else None
            if position < first:  # seen on the way, not asked for
                continue
            frame = video.position(position)
            rows = {i: unpack(x, state.frames.size, state.device) for i, x in before(frame)}
            is_mixed = bool(rows)
            if result is not None:
                logits = competing_logits(result, state.device)
                rows |= dict(zip(result.object_ids, logits, strict=True))
            for i, row in rows.items():
                tracked.setdefault(frame, {})[i] = pack(row)
            absent = torch.full(state.frames.size, ABSENT, device=state.device)
            ordered = [rows.get(i, absent) for i in numbers.values()]
            joined = without_overlap(ordered) if is_mixed else torch.stack(ordered)
            yield frame, list(numbers), joined[:, None]
    finally:
        state.paused = current


def _check_prompts(state: InferenceState) -> None:
    """Raise a SessionError unless every object has a mask that is not empty."""
    masks = [(i, one) for prompts in state.prompts.values() for i, one in prompts.items()]
    visible = {i for i, prompt in masks if not prompt.is_empty}
    bare = [obj_id for obj_id, number in state.numbers.items() if number not in visible]
    if bare or not state.numbers:
        which = f"the objects {bare} have no pixels in any prompt" if bare else "there is no object"
        raise SessionError(
            f"{which}; accepted: a prompt for every object. Write "
            "add_new_mask(state, frame_idx, obj_id, mask) first"
        )


def _before_prompts(
    state: InferenceState,
    video: OrderedVideo,
    start: Callable[[int], TrackingSession],
    first: int,
) -> Callable[[int], list[tuple[int, bytes]]]:
    """Return a function from a frame to the packed logits of objects before their first prompt."""
    objects = {i for i, position in video.first_positions().items() if position > first}
    if not objects:
        return lambda frame: []
    prompts, found = state.before_prompts.get(video.reverse, (None, {}))
    is_known = prompts is video.prompts and found.keys() >= {video.position(first)}
    if not is_known:
        found = track_back(video, start, objects, first, state.device)
        state.before_prompts[video.reverse] = video.prompts, found
    return lambda frame: list(found.get(frame, {}).items())
