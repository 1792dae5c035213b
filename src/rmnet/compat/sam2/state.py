"""The state of one video: what the user gave, and what was tracked."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rmnet.compat.sam2.frames import VideoFrames
from rmnet.compat.sam2.logits import ABSENT, mask_logits, unpack
from rmnet.compat.sam2.passes import Pass
from rmnet.compat.sam2.prompts import Prompt, PromptsByFrame
from rmnet.config import check_int
from rmnet.errors import ConfigError, SessionError, shown

_LARGEST_ID = 2**31 - 1  # of a session


@dataclass(eq=False)
class InferenceState:
    """The state of one video; made by `SAM2VideoPredictor.init_state`.

    It also answers the commonly used keys of SAM 2's dictionary: `state["video_height"]`,
    `"video_width"`, `"num_frames"`, `"obj_ids"`, `"obj_id_to_idx"`, `"obj_idx_to_id"`, `"device"`,
    `"storage_device"`, `"offload_video_to_cpu"` and `"offload_state_to_cpu"`.

    Attributes:
        frames: The frames of the video.
        device: Device of the logits that are returned.
        options: What `init_state` was called with.
        numbers: The user's object id -> id in our sessions, in the order of the first prompts.
        prompts: Frame -> id in our sessions -> prompt, the latest last.
        tracked: Frame -> id in our sessions -> logits as last returned by a propagation, packed.
        before_prompts: Whether in reverse -> prompts, and what `track_back` made of them.
        paused: The pass of the last propagation, with which the next one may go on.
    """

    frames: VideoFrames
    device: torch.device
    options: Mapping[str, bool] = field(default_factory=dict)
    numbers: dict[Hashable, int] = field(default_factory=dict)
    prompts: PromptsByFrame = field(default_factory=dict)
    tracked: dict[int, dict[int, bytes]] = field(default_factory=dict)
    before_prompts: dict[bool, tuple[PromptsByFrame, dict[int, dict[int, bytes]]]] = field(
        default_factory=dict
    )
    paused: Pass | None = None

    @property
    def obj_ids(self) -> list[Hashable]:
        """The user's object ids, in the order of their first prompts; a copy."""
        return list(self.numbers)

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 as in a dictionary of SAM 2
        """Return what SAM 2's dictionary holds under a key."""
        answers = {
            "video_height": self.frames.size[0],
            "video_width": self.frames.size[1],
            "num_frames": self.frames.num_frames,
            "obj_ids": self.obj_ids,
            "obj_id_to_idx": {obj_id: row for row, obj_id in enumerate(self.numbers)},
            "obj_idx_to_id": dict(enumerate(self.numbers)),
            "device": self.device,
            "storage_device": torch.device("cpu"),
            **self.options,
        }
        if key not in answers:
            raise ConfigError(
                f"the state has no {shown(key)}, which belongs to the inside of SAM 2; accepted: "
                f"{', '.join(answers)}"
            )
        return answers[key]

    def check_frame(self, name: str, index: object) -> int:
        """Return the number of a frame of this video; raise a ConfigError for anything else."""
        check_int(name, index, 0, self.frames.num_frames - 1)
        return int(index)  # type: ignore[call-overload]  # check_int refuses all else

    def number(self, obj_id: Hashable) -> int:
        """Return the id of an object in our sessions: the user's own where one of ours may be it."""
        if not isinstance(obj_id, Hashable) or isinstance(obj_id, Tensor):
            raise ConfigError(
                f"obj_id is {shown(obj_id)}; accepted: an integer or a string. Write int(obj_id)"
            )
        if obj_id in self.numbers:
            return self.numbers[obj_id]
        taken = set(self.numbers.values())
        is_integer = isinstance(obj_id, int | np.integer)
        if is_integer and 1 <= obj_id <= _LARGEST_ID and int(obj_id) not in taken:
            return int(obj_id)
        return next(number for number in range(1, len(taken) + 2) if number not in taken)

    def known_number(self, obj_id: Hashable) -> int:
        """Return the id of an object that has had a prompt.

        Raises:
            SessionError: it has had none.
        """
        number = self.number(obj_id)
        if obj_id not in self.numbers:
            raise SessionError(
                f"there is no object {shown(obj_id)}; accepted: {self.obj_ids}. Write "
                f"add_new_mask(state, frame_idx, {shown(obj_id)}, mask) first"
            )
        return number

    def set_prompt(self, frame: int, obj_id: Hashable, prompt: Prompt) -> None:
        """Put a prompt on top of the frame's others."""
        number = self.numbers.setdefault(obj_id, self.number(obj_id))
        others = {i: one for i, one in self.prompts.get(frame, {}).items() if i != number}
        # Replaced, not changed: a propagation under way goes on with what it started with.
        self.prompts = {**self.prompts, frame: {**others, number: prompt}}

    def clear_prompts(self, number: int, frame: int | None = None) -> list[int]:
        """Forget the prompts of an object, on one frame or on all; return the frames."""
        frames = [
            index
            for index, prompts in self.prompts.items()
            if number in prompts and frame in (None, index)
        ]
        for index in frames:
            left = {i: one for i, one in self.prompts[index].items() if i != number}
            self.prompts = {**self.prompts, index: left}
        self.prompts = {index: prompts for index, prompts in self.prompts.items() if prompts}
        return frames

    def remove(self, obj_id: Hashable) -> list[int]:
        """Forget an object; return the frames on which it had prompts."""
        number = self.numbers.pop(obj_id)
        self.tracked = {
            frame: {i: one for i, one in rows.items() if i != number}
            for frame, rows in self.tracked.items()
        }
        self.paused = None
        return self.clear_prompts(number)

    def reset(self) -> None:
        """Forget all objects, prompts and results; the video stays."""
        self.numbers, self.prompts, self.tracked, self.before_prompts = {}, {}, {}, {}
        self.paused = None

    def present_mask(self, frame: int, number: int) -> NDArray[np.bool_] | None:
        """Return what is known of an object in a frame, (H, W) bool; None for nothing."""
        prompt = self.prompts.get(frame, {}).get(number)
        if prompt is not None:
            return prompt.mask
        packed = self.tracked.get(frame, {}).get(number)
        if packed is None:
            return None
        return (unpack(packed, self.frames.size, torch.device("cpu")) > 0).numpy()

    def logits(self, frame: int) -> Tensor:
        """Return what is known of all objects in a frame, (N, 1, H, W) float32 on the device."""
        tracked = self.tracked.get(frame, {})
        rows = {
            number: unpack(tracked[number], self.frames.size, self.device)
            if number in tracked
            else torch.full(self.frames.size, ABSENT, device=self.device)
            for number in self.numbers.values()
        }
        for number, prompt in self.prompts.get(frame, {}).items():
            mask = torch.from_numpy(prompt.mask).to(self.device)
            for other, row in rows.items():
                if other != number:  # the latest prompt takes its pixels
                    rows[other] = torch.where(mask, row.clamp(max=0), row)
            rows[number] = mask_logits(mask)
        if not rows:
            return torch.zeros((0, 1, *self.frames.size), device=self.device)
        return torch.stack(list(rows.values()))[:, None]
