"""SAM 2's video predictor, on sessions of rmnet."""

from __future__ import annotations

from collections.abc import Generator, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rmnet.compat.sam2.frames import VideoFrames
from rmnet.compat.sam2.points import GivenPoints, make_prompt
from rmnet.compat.sam2.prompts import Prompt, as_object_mask
from rmnet.compat.sam2.propagation import Result, propagate
from rmnet.compat.sam2.refused import refuse
from rmnet.compat.sam2.state import InferenceState
from rmnet.io import FramesLike, open_frames
from rmnet.options import MemoryPolicy, Size
from rmnet.prompting import Prompter, load_prompter
from rmnet.segmenter import RMNetSegmenter
from rmnet.tracking import TrackingSession

if TYPE_CHECKING:
    from typing_extensions import Self


class SAM2VideoPredictor:
    """Tracks objects with the calls of SAM 2's video predictor.

    Logits are float32 (N, 1, H, W) on its device, at the video's size, in the order in which the
    objects were first given; positive pixels are the object's. Objects compete: no masks overlap.

    Args:
        segmenter: Weights that track.
        prompter: What turns boxes and clicks into masks, a function of the form of
            `rmnet.prompting.Prompter`; None for the packaged one.
        size: See `RMNetSegmenter.track`.
        memory: Which past frames to remember.
        refused: Options of SAM 2's class, none of which exists here.

    Raises:
        ConfigError: an option of SAM 2's class.
    """

    def __init__(
        self,
        segmenter: RMNetSegmenter,
        *,
        prompter: Prompter | None = None,
        size: Size = None,
        memory: MemoryPolicy = MemoryPolicy(),
        **refused: object,
    ) -> None:
        refuse(refused)
        self._segmenter = segmenter
        self._prompter = prompter
        self._size: Size = size
        self._memory = memory

    @classmethod
    def from_pretrained(
        cls,
        model_id: str | Path = "rmnet-small",
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        prompter: Prompter | None = None,
        **refused: object,
    ) -> Self:
        """Load weights of RMNet; see `RMNetSegmenter.from_pretrained`.

        Args:
            model_id: "rmnet-small", the weights inside the package; a folder, a file or a hub id.
            device: Device to run on; None for CUDA if available, else the CPU.
            dtype: Precision of the tracking.
            prompter: What turns boxes and clicks into masks; None for the packaged one.
            refused: Options of SAM 2 that do not exist here.

        Raises:
            ConfigError: an option or weights of SAM 2.
            WeightsError: the weights are missing or damaged.
        """
        refuse(refused, weights=model_id)
        segmenter = RMNetSegmenter.from_pretrained(model_id, device=device, dtype=dtype)
        return cls(segmenter, prompter=prompter)

    @property
    def device(self) -> torch.device:
        """Device on which the network runs and logits are returned."""
        return self._segmenter.device

    def init_state(
        self,
        video_path: FramesLike,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> InferenceState:
        """Open a video.

        Frames are read when they are needed, and results wait on the CPU, compressed.

        Args:
            video_path: A folder of images in natural order, a video file, or frames in any other
                form that `RMNetSegmenter.track` takes and that can be read more than once.
            offload_video_to_cpu: No effect.
            offload_state_to_cpu: No effect.
            async_loading_frames: No effect.

        Raises:
            ConfigError: the frames can be read only once.
            VideoError: the video cannot be read.
        """
        return InferenceState(
            VideoFrames(open_frames(video_path)),
            self.device,
            options={
                "offload_video_to_cpu": bool(offload_video_to_cpu),
                "offload_state_to_cpu": bool(offload_state_to_cpu),
                "async_loading_frames": bool(async_loading_frames),
            },
        )

    def add_new_points_or_box(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Hashable,
        points: Any = None,  # noqa: ANN401 the door of the library
        labels: Any = None,  # noqa: ANN401 the door of the library
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,  # noqa: ANN401 the door of the library
    ) -> Result:
        """Give a box, clicks or both for an object in a frame.

        Clicks correct the mask that the object has in the frame, from an earlier call or from a
        propagation; a box alone starts anew.

        Args:
            inference_state: State of the video.
            frame_idx: Number of the frame.
            obj_id: Any integer or string, new or not.
            points: (n, 2) coordinates (x, y) of clicks, in pixels of the video.
            labels: (n,) 1 for a click on the object, 0 for one beside it.
            clear_old_points: Whether the clicks and the box of earlier calls for this object in
                this frame are replaced; if not, these clicks are added to them.
            normalize_coords: True for coordinates in pixels; False for fractions of the frame.
            box: (x0, y0, x1, y1), in pixels of the video.

        Returns:
            The frame's number, all object ids, and logits (N, 1, H, W). An object of which nothing
            is known in this frame has -1024 everywhere.

        Raises:
            ConfigError: no such frame, or arguments that do not go together.
            MaskError: a box or clicks outside of the frame, or of which the prompter makes nothing.
            VideoError: the frame cannot be decoded.
        """
        state = inference_state
        frame = state.check_frame("frame_idx", frame_idx)
        given = GivenPoints(points, labels, box, clear_old_points, normalize_coords)
        prompt = make_prompt(state, self._load_prompter(), frame, state.number(obj_id), given)
        state.set_prompt(frame, obj_id, prompt)
        return frame, state.obj_ids, state.logits(frame)

    def add_new_points(self, *args: Any, **kwargs: Any) -> Result:  # noqa: ANN401 passed on
        """Do the same as `add_new_points_or_box`, under its older name."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Hashable,
        mask: Any,  # noqa: ANN401 the door of the library
    ) -> Result:
        """Give the mask of an object in a frame, instead of its other prompts there.

        Args:
            inference_state: State of the video.
            frame_idx: Number of the frame.
            obj_id: Any integer or string, new or not.
            mask: (H, W), bool, or 0 and another number; without pixels if the object is not there.

        Returns:
            See `add_new_points_or_box`.

        Raises:
            ConfigError: no such frame.
            MaskError: the mask has another shape, size or other values.
        """
        frame = inference_state.check_frame("frame_idx", frame_idx)
        number = inference_state.number(obj_id)
        parsed = as_object_mask(mask, inference_state.frames.size, number)
        inference_state.set_prompt(frame, obj_id, Prompt(np.array(parsed)))
        return frame, inference_state.obj_ids, inference_state.logits(frame)

    def propagate_in_video(
        self,
        inference_state: InferenceState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Generator[Result, None, None]:
        """Track all objects from a frame on, from the prompts of all frames.

        Arguments are checked at once; frames are tracked as results are consumed.

        Args:
            inference_state: State of the video.
            start_frame_idx: Frame to start at; None for the first that has a prompt.
            max_frame_num_to_track: Number of frames after it; None for all.
            reverse: Whether to go from later frames to earlier ones. From frame 0, that is none.

        Yields:
            Number of the frame, all object ids, and logits (N, 1, H, W).

        Raises:
            SessionError: there is no object, or one without a prompt.
            ConfigError: no such frame.
            VideoError: a frame cannot be decoded.
        """
        return propagate(
            inference_state,
            self._start_session,
            start_frame_idx,
            max_frame_num_to_track,
            reverse=bool(reverse),
        )

    def clear_all_prompts_in_frame(
        self,
        inference_state: InferenceState,
        frame_idx: int,
        obj_id: Hashable,
        need_output: bool = True,
    ) -> Result | None:
        """Forget what was given for an object in a frame.

        Returns:
            See `add_new_points_or_box`; None without `need_output`.

        Raises:
            SessionError: there is no such object.
            ConfigError: no such frame.
        """
        frame = inference_state.check_frame("frame_idx", frame_idx)
        inference_state.clear_prompts(inference_state.known_number(obj_id), frame)
        if not need_output:
            return None
        return frame, inference_state.obj_ids, inference_state.logits(frame)

    def remove_object(
        self,
        inference_state: InferenceState,
        obj_id: Hashable,
        strict: bool = False,
        need_output: bool = True,
    ) -> tuple[list[Hashable], list[tuple[int, Tensor]]]:
        """Forget an object.

        Args:
            inference_state: State of the video.
            obj_id: Its id.
            strict: Whether an unknown id is an error.
            need_output: Whether to return the frames that change.

        Returns:
            The object ids that are left; and number and logits of each frame where the object had
            a prompt.

        Raises:
            SessionError: there is no such object, with `strict`.
        """
        if obj_id not in inference_state.numbers and not strict:
            return inference_state.obj_ids, []
        inference_state.known_number(obj_id)
        frames = inference_state.remove(obj_id)
        if not inference_state.numbers or not need_output:
            return inference_state.obj_ids, []
        changed = [(frame, inference_state.logits(frame)) for frame in sorted(frames)]
        return inference_state.obj_ids, changed

    def reset_state(self, inference_state: InferenceState) -> None:
        """Forget all objects, prompts and results of a video."""
        inference_state.reset()

    def _start_session(self, first_index: int) -> TrackingSession:
        return self._segmenter.start(
            size=self._size, memory=self._memory, keep_probabilities=True, first_index=first_index
        )

    def _load_prompter(self) -> Prompter:
        if self._prompter is None:
            self._prompter = load_prompter(self.device)
        return self._prompter
