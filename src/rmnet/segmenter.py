"""The segmenter: weights, and nothing that changes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Generator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from rmnet.config import USE_FIELDS, RMNetConfig
from rmnet.errors import ConfigError, shown
from rmnet.io import open_frames
from rmnet.network import RMNet
from rmnet.options import MemoryPolicy
from rmnet.results import FrameSegmentation, VideoSegmentation
from rmnet.runtime import InferenceNetwork
from rmnet.tracking import (
    Flow,
    OnBadFrame,
    TrackingSession,
    all_results,
    masks_by_frame,
    read_session,
    segment_frames,
)
from rmnet.weights import (
    PACKAGED,
    Fingerprint,
    fingerprint,
    load_network,
    push_network,
    save_network,
)

Size = int | Literal["native"] | None
_PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)


class RMNetSegmenter:
    """Follows objects through videos, given their masks in the first frame.

    A segmenter holds weights and no state: it may serve any number of videos, in threads too.

    Args:
        network: Weights. They are taken over: moved to the device, and made not trainable.
        device: None for CUDA where there is one, else the CPU.
        dtype: Precision of the computation.

    Example:
        >>> segmenter = RMNetSegmenter.from_pretrained()
        >>> result = segmenter.track("dog.mp4", "dog_00000.png")  # doctest: +SKIP
        >>> result.labels.shape  # doctest: +SKIP
        (120, 480, 854)
    """

    def __init__(
        self,
        network: RMNet,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if dtype not in _PRECISIONS:
            raise ConfigError(f"dtype is {dtype!r}; accepted: {', '.join(map(str, _PRECISIONS))}")
        network = network.to(_device(device)).to(memory_format=torch.channels_last)
        self._network = network.eval().requires_grad_(False)
        self._inference = InferenceNetwork(self._network, dtype)
        self._dtype = dtype
        self._fingerprint: Fingerprint | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = PACKAGED,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> RMNetSegmenter:
        """Load weights.

        Args:
            name_or_path: "rmnet-small", the weights inside the package, without network; a folder
                with config.json and model.safetensors; a .safetensors file; a .pth file as the
                paper's authors released it; or a hub id "org/name".
            device: None for CUDA where there is one, else the CPU.
            dtype: Precision of the computation: float32, or float16 / bfloat16 by autocast.
            revision: Branch, tag or commit on the hub.
            cache_dir: Where downloads are kept; None for the hub's own place.
            token: For private repositories; None for the one that was stored by a login.
            local_files_only: Whether to do without network.
            force_download: Whether to download again what is there already.

        Raises:
            WeightsNotFoundError: nothing by that name.
            WeightsError: the weights do not fit, or are damaged.
        """
        network = load_network(
            name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return cls(network, device=device, dtype=dtype)

    @property
    def config(self) -> RMNetConfig:
        """Numbers of the network."""
        return self._network.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self._network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the computation."""
        return self._dtype

    @property
    def num_parameters(self) -> int:
        """Numbers that were learned; shared ones count once."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    @property
    def fingerprint(self) -> Fingerprint:
        """Hashes of weights and configuration, the same wherever they came from and lie."""
        if self._fingerprint is None:  # once: weights do not change
            self._fingerprint = fingerprint(self._network)
        return self._fingerprint

    def __repr__(self) -> str:
        return (
            f"RMNetSegmenter({self.config.backbone}, {self.num_parameters / 1e6:.1f} M parameters, "
            f"size={self.config.size}, device={self.device}, dtype={self._dtype})"
        )

    def save_pretrained(self, directory: str | Path) -> Path:
        """Write config.json and model.safetensors, which `from_pretrained` reads."""
        return save_network(self._network, directory)

    def push_to_hub(self, repo_id: str, **hub_options: Any) -> str:
        """Upload what `save_pretrained` writes; options as of `huggingface_hub`. Returns the URL."""
        return push_network(self._network, repo_id, **hub_options)

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> RMNetSegmenter:
        """The same weights elsewhere, or at another precision; this segmenter stays as it is."""
        target = self.device if device is None else _device(device)
        network = self._network if target == self.device else copy.deepcopy(self._network)
        return RMNetSegmenter(network, device=target, dtype=dtype or self._dtype)

    def with_config(self, **fields: Any) -> RMNetSegmenter:
        """The same weights, used in another way; this segmenter stays as it is.

        Args:
            fields: Fields of `RMNetConfig` that say how weights are used: read, scaled_scores,
                box_margin, min_object_pixels, mask_threshold, lost_memory_region, search_region,
                memory_region, memory_threshold, size.

        Example:
            >>> everywhere = segmenter.with_config(search_region="frame")  # doctest: +SKIP

        Raises:
            ConfigError: another field, or a value that is not accepted.
        """
        others = sorted(set(fields) - set(USE_FIELDS))
        if others:
            raise ConfigError(
                f"with_config got {', '.join(others)}; accepted: {', '.join(USE_FIELDS)}. Other "
                "fields come with the weights; write RMNetSegmenter(RMNet(config)) for new ones"
            )
        config = dataclasses.replace(self.config, **fields)
        other = copy.copy(self)
        other._network = self._network.with_config(config)
        other._inference = self._inference.with_config(config)
        return other

    def start(
        self,
        *,
        size: Size = None,
        memory: MemoryPolicy = MemoryPolicy(),
        flow: Flow = None,
        regional: bool = False,
        keep_probabilities: bool = False,
        first_index: int = 0,
    ) -> TrackingSession:
        """Begin a video whose frames come one at a time.

        Other arguments as of `track`.

        Args:
            size: Shorter side inside the network, px.
            memory: Which frames to remember.
            flow: What moves the search.
            regional: Whether to compute on regions alone.
            keep_probabilities: Whether results carry them.
            first_index: Number of the first frame, from 0; every fifth number is remembered.
        """
        if (
            isinstance(first_index, bool)
            or not isinstance(first_index, Integral)
            or first_index < 0
        ):
            raise ConfigError(f"first_index is {first_index!r}; accepted: an integer from 0")
        return self._start(int(first_index), size, memory, flow, regional, keep_probabilities)

    def load_session(self, path: str | Path, *, flow: Flow = None) -> TrackingSession:
        """Go on with a video where `TrackingSession.save` left it.

        The session goes on with the options it was started with. Its device is this segmenter's,
        whatever the other one's was. Nothing in the file is ever run.

        Args:
            path: The file.
            flow: The function again, if the session was started with one.

        Raises:
            SessionFileError: no such file, damaged, or of other weights, precision or format.
            ConfigError: the session was started with a function as `flow` and there is none here,
                or the other way round.
        """
        state = read_session(
            Path(path).expanduser(),
            config=self.config,
            weights=self.fingerprint,
            precision=self._dtype,
            device=self.device,
        )
        return TrackingSession.restore(
            self._inference, state, flow=flow, fingerprint=lambda: self.fingerprint
        )

    def track(
        self,
        frames: Any,
        first_mask: Any = None,
        *,
        object_ids: Sequence[int] | None = None,
        masks: Mapping[int, Any] | None = None,
        size: Size = None,
        memory: MemoryPolicy = MemoryPolicy(),
        flow: Flow = None,
        regional: bool = False,
        keep_probabilities: bool = False,
        on_bad_frame: OnBadFrame = "stop",
        progress: bool = False,
    ) -> VideoSegmentation:
        """Follow objects through a video.

        Every result is kept, 4 bytes a pixel; for long videos, see `stream`.

        Args:
            frames: A video file; a folder, glob or list of images; or any iterable of uint8 RGB
                arrays (H, W, 3), PIL images or uint8 tensors (3, H, W).
            first_mask: Objects of frame 0: a PNG path, a PIL image, an integer label map (H, W)
                (0 background, 255 void), {id: bool (H, W)}, or bool (N, H, W) with `object_ids`.
            object_ids: Ids of a stack or of a binary mask, or which ids of a label map to take.
            masks: {frame number: mask}: objects to add, or to correct, later on. Without one for
                frame 0, the frames before the first have no objects.
            size: Shorter side inside the network, px: None for the one the weights were trained
                at (`config.size`), a number, or "native". Never enlarges; results come back at
                the video's own size.
            memory: Which frames to remember.
            flow: None for TinyFlowNet; "none" to look around the previous mask; or a function
                (current, previous) of uint8 RGB frames (h, w, 3) at the network's size that gives
                (2, h, w) px from current to previous, x first, such as `rmnet.ablations.raft.raft_flow()`.
            regional: Whether to compute on the regions alone in which objects are looked for:
                faster the smaller they are, and slightly different (docs/results.md).
            keep_probabilities: Whether results carry them: (N+1, H, W) float32 a frame.
            on_bad_frame: "stop" at a frame that cannot be decoded, with a VideoError whose
                `partial` has the results so far; or "skip" it: its result is background, and says
                why in `skipped`. A frame with a mask of its own is never skipped.
            progress: Whether to show a bar, with frames a second.

        Raises:
            FrameError: a frame is not accepted.
            MaskError: a mask is not accepted.
            VideoError: the video or one of its frames cannot be read.
            DeviceMemoryError: there is too little memory; the message says what helps.

        Every error that comes in the middle, KeyboardInterrupt too, has the results before it in
        its `partial`.
        """
        source = open_frames(frames)
        results = self.stream(
            source,
            first_mask,
            object_ids=object_ids,
            masks=masks,
            size=size,
            memory=memory,
            flow=flow,
            regional=regional,
            keep_probabilities=keep_probabilities,
            on_bad_frame=on_bad_frame,
            progress=progress,
        )
        return all_results(results, source)

    def stream(
        self,
        frames: Any,
        first_mask: Any = None,
        *,
        object_ids: Sequence[int] | None = None,
        masks: Mapping[int, Any] | None = None,
        size: Size = None,
        memory: MemoryPolicy = MemoryPolicy(),
        flow: Flow = None,
        regional: bool = False,
        keep_probabilities: bool = False,
        on_bad_frame: OnBadFrame = "stop",
        progress: bool = False,
    ) -> Generator[FrameSegmentation, None, None]:
        """Follow objects through a video of any length, a result at a time, in constant memory.

        Arguments and errors as of `track`.
        """
        # Checked here and now; frames are read as results are asked for.
        if on_bad_frame not in get_args(OnBadFrame):
            raise ConfigError(f'on_bad_frame is {shown(on_bad_frame)}; accepted: "stop" or "skip"')
        source = open_frames(frames)
        given = masks_by_frame(first_mask, masks, object_ids)
        session = self._start(min(given), size, memory, flow, regional, keep_probabilities)
        return segment_frames(
            session,
            source,
            given,
            progress=progress,
            keep_probabilities=keep_probabilities,
            on_bad_frame=on_bad_frame,
        )

    def _start(
        self,
        first_index: int,
        size: Size,
        memory: MemoryPolicy,
        flow: Flow,
        regional: bool,
        keep_probabilities: bool,
    ) -> TrackingSession:
        if not (flow is None or flow == "none" or callable(flow)):
            raise ConfigError(f'flow is {shown(flow)}; accepted: None, "none", or a function')
        if callable(flow) and not self.config.search_uses_flow:
            raise ConfigError(
                f"flow is a function, but search_region is {self.config.search_region!r}, which "
                "looks at no flow; accepted: None. Write with_config(search_region='warped')"
            )
        if not isinstance(memory, MemoryPolicy):
            raise ConfigError(f"memory is {shown(memory)}; accepted: MemoryPolicy(every=5, ...)")
        return TrackingSession(
            self._inference,
            precision=self._dtype,
            size=_shorter_side(size, self.config),
            memory=memory,
            flow=flow,
            regional=regional,
            keep_probabilities=keep_probabilities,
            fingerprint=lambda: self.fingerprint,
            first_index=first_index,
        )


def _shorter_side(size: Size, config: RMNetConfig) -> int | None:
    if size is None:
        return config.size
    if size == "native":
        return None
    if isinstance(size, bool) or not isinstance(size, Integral) or size < 1:
        raise ConfigError(
            f'size is {shown(size)}; accepted: None, "native", or px of the shorter side'
        )
    return int(size)


def _device(device: str | torch.device | None) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if device is None:
        device = "cuda" if has_cuda else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            f"device is {device!r}; accepted: 'cpu', 'cuda', 'cuda:1', ..."
        ) from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices" if has_cuda else "no CUDA device"
        raise ConfigError(f"device is {device!r}, but torch finds {found}; accepted: 'cpu' or None")
    if chosen.type == "cuda" and chosen.index is None:  # spelt out, to be compared with others
        return torch.device("cuda", torch.cuda.current_device())
    return chosen
