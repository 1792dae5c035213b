"""Going back in a video: the state of a session as it was after one of its past frames."""

from __future__ import annotations

from dataclasses import replace

import torch

from rmnet.config import check_int
from rmnet.errors import SessionError
from rmnet.tracking.last_frame import LastFrame
from rmnet.tracking.state import SessionState


def rewound(state: SessionState, last: LastFrame, index: int, device: torch.device) -> SessionState:
    """Return the state after frame `index`, its last frame or one before; `state` is unchanged.

    The memory of a state is that of the frames before its last one, so it is found in the present
    memory, apart from frames that have been dropped.
    """
    check_int("frame_index", index, 0)
    index = int(index)
    if index == last.index:
        return replace(state, next_index=index + 1)
    kept = [frame.index for frame in state.history.frames]
    if index not in kept:
        raise SessionError(_refusal(state, [*kept, last.index], index))
    frame = state.history.load(index, device)
    return replace(
        state,
        bank=state.bank.before(index, num_objects=len(frame.estimate.object_ids)),
        next_index=index + 1,
        history=state.history.before(index),
        last=frame,
    )


def _refusal(state: SessionState, reachable: list[int], index: int) -> str:
    """Say why a frame cannot be returned to, and which ones can; `reachable` is ascending."""
    first, last = reachable[0], reachable[-1]
    remedy = f"Write rewind({min(reachable, key=lambda i: abs(i - index))})"
    span = f"frame {last}" if first == last else f"frames {first} to {last}, if not skipped"
    if index >= state.next_index:
        came = f"frame {index} is still to come; the last one is {state.next_index - 1}"
    elif index > first:
        came = f"frame {index} was skipped, so nothing is known of it"
        below = max(i for i in reachable if i < index)
        above = min((i for i in reachable if i > index), default=None)
        nearest = f"{below}" if above is None else f"{below} and {above}"
        span = f"frames that were read, the nearest being {nearest}"
    elif state.history.failure:
        came = f"frame {index} is not kept, because past frames could not be written "
        came += f"({state.history.failure})"
    else:
        limit = state.options.history
        came = f"frame {index} is not kept: it is before the first frame, or more than "
        came += f"history={limit} frames ago, or from before the session was loaded"
        remedy += f", and start(history={max(last - index, limit + 1)}) to keep more frames"
    return f"{came}; accepted: {span}. {remedy}"
