"""The configuration of a network: every number of the method, with its unit and source.

`NetworkShape` decides the shapes of the tensors, `NetworkUse` how the weights are used; a
`RMNetConfig` is both. The first cannot change without other weights, the second can:
`RMNetSegmenter.with_config` replaces any of its fields.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, cast, get_args

from rmnet.errors import ConfigError, shown

Backbone = Literal["resnet50", "resnet18", "efficientnet_lite0"]
ReadSemantics = Literal["zeroed", "excluded"]
LostRegion = Literal["frame", "empty"]
MemoryRegion = Literal["mask", "frame"]
SearchRegion = Literal["warped", "union", "previous", "best_match", "frame"]

FORMAT_VERSION = 1  # of config.json; raised when an old file would be misread
# Fields younger than the format. At their defaults they are left out of the file, so that an older
# rmnet reads it; files without them load.
_LATER_FIELDS = ("memory_region", "memory_threshold")

# Bounds: a config.json may come from anybody, and the network is built before its tensors are read.
MAX_WIDTH = 16_384  # channels
MAX_DEPTH = 256  # residual blocks in a stage
MAX_PIXELS = 2**24  # of a margin, an area or a side

# The only shape of a backbone that comes in one size. Source: EfficientNet-Lite0.
FIXED_SHAPES = {
    "efficientnet_lite0": {
        "stem_width": 32,
        "stage_widths": (24, 40, 112),
        "stage_depths": (3, 2, 6),
    }
}

# Fixed by the strides of the encoders and of TinyFlowNet, which halves its input first.
STRIDE = 16  # pixels per cell
FLOW_STRIDE = 64  # pixels


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """The architecture: decides the shape of every tensor.

    The defaults are the released network. Source: shapes in the released checkpoints.

    Attributes:
        backbone: Kind of both encoders. "resnet50" is built of bottlenecks and "resnet18" of basic
            blocks, at any widths and depths; "efficientnet_lite0" is built of inverted residuals
            and has fixed widths and depths.
        stem_width: Channels after the first convolution, at stride 2.
        stage_widths: Channels of the stages at strides 4, 8 and 16 (f4, f8, f16).
        stage_depths: Residual blocks in each of those stages.
        key_width: Channels of a key (ck). Paper: C/8 = 128.
        value_width: Channels of a value (cv). Paper: C/2 = 512.
        decoder_widths: Decoder channels at strides 16, 8 and 4. Released code: 256 throughout.
        flow_widths: TinyFlowNet channels at strides 2, 4, 8, 16 and 32 of its (halved) input.
        tied_encoders: Whether the encoders share their convolutions (not their BatchNorms) and the
            key convolution. Paper and released code: no.
        others_input: Whether the memory encoder also sees the sum of the other objects' masks.
            Released code: yes. Paper: no.
    """

    backbone: Backbone = "resnet50"
    stem_width: int = 64
    stage_widths: tuple[int, int, int] = (256, 512, 1024)
    stage_depths: tuple[int, int, int] = (3, 4, 6)
    key_width: int = 128
    value_width: int = 512
    decoder_widths: tuple[int, int, int] = (256, 256, 256)
    flow_widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    tied_encoders: bool = False
    others_input: bool = True

    def __post_init__(self) -> None:
        _check_choice(self, "backbone", Backbone)
        for name, length in (
            ("stage_widths", 3),
            ("stage_depths", 3),
            ("decoder_widths", 3),
            ("flow_widths", 5),
        ):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) != length:
                raise ConfigError(f"{name} is {shown(values)}; accepted: {length} integers")
            for value in values:
                check_int(name, value, 1, MAX_DEPTH if name == "stage_depths" else MAX_WIDTH)
            object.__setattr__(self, name, tuple(values))  # JSON has lists
        for name in ("stem_width", "key_width", "value_width"):
            check_int(name, getattr(self, name), 1, MAX_WIDTH)
        _check_bool(self, "tied_encoders")
        _check_bool(self, "others_input")
        for name, value in FIXED_SHAPES.get(self.backbone, {}).items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"backbone is {self.backbone!r}, and {name} is {getattr(self, name)}; "
                    f"accepted: {value}"
                )
        if self.backbone == "resnet50" and any(width % 4 for width in self.stage_widths):
            raise ConfigError(
                f"stage_widths is {self.stage_widths}; accepted for backbone 'resnet50': "
                "multiples of 4"
            )


@dataclass(frozen=True, kw_only=True)
class NetworkUse:
    """How weights are used: decides numbers, never shapes.

    Attributes:
        read: How a memory cell outside its region counts. "zeroed" (released code): it stays in
            the softmax with key 0 and value 0. "excluded" (paper, eq. 6-7): it is left out.
            Weights trained under one do not work under the other.
        scaled_scores: Whether scores are divided by sqrt(key_width). Released code: yes.
            Paper, eq. 3: no.
        box_margin: Pixels added on each side of an object's box (phi = 4 cells in the paper).
        min_object_pixels: Area below which an object counts as lost, in pixels (eta in the paper).
        mask_threshold: Probability from which a pixel belongs to the object.
        lost_memory_region: Region remembered of an object that is lost: "frame" (released code) or
            "empty" (paper, below eq. 2). A lost object is always *searched* in the whole frame.
        search_region: Where a query looks. "warped" (paper): the box of the previous mask, moved
            by the flow. "union": the smallest box that holds "warped" and "previous", so that a
            poor flow never shrinks the search. "previous": the box of the previous mask; no flow
            is computed. "frame": the whole frame. "best_match": the whole frame, each memory cell
            weighted by the distance to its best match (`rmnet.ablations.best_match_read`). The
            last three are the paper's ablations (tables 5 and 6).
        memory_region: Part of a past frame that is matched: "mask" (paper), the box of the
            object's mask, or "frame", an ablation (paper, table 5).
        memory_threshold: Probability at which masks are cut to 0 and 1 before they are remembered;
            None remembers probabilities (paper and released code). A threshold keeps doubtful
            pixels from growing from frame to frame.
        size: Shorter side of a frame inside the network, in pixels: the scale the weights know.
    """

    read: ReadSemantics = "zeroed"
    scaled_scores: bool = True
    box_margin: int = 64
    min_object_pixels: int = 10
    mask_threshold: float = 0.5
    lost_memory_region: LostRegion = "frame"
    search_region: SearchRegion = "warped"
    memory_region: MemoryRegion = "mask"
    memory_threshold: float | None = None
    size: int = 480

    def __post_init__(self) -> None:
        _check_choice(self, "read", ReadSemantics)
        _check_choice(self, "lost_memory_region", LostRegion)
        _check_choice(self, "search_region", SearchRegion)
        _check_choice(self, "memory_region", MemoryRegion)
        _check_bool(self, "scaled_scores")
        for name, least in (("min_object_pixels", 1), ("size", 1), ("box_margin", 0)):
            check_int(name, getattr(self, name), least, MAX_PIXELS)
        _check_probability("mask_threshold", self.mask_threshold)
        if self.memory_threshold is not None:
            _check_probability("memory_threshold", self.memory_threshold)

    @property
    def search_uses_flow(self) -> bool:
        """Whether the search region depends on the optical flow."""
        return self.search_region in ("warped", "union")


@dataclass(frozen=True, kw_only=True)
class RMNetConfig(NetworkUse, NetworkShape):  # in this order, fields of the shape come first
    """The configuration of one RMNet: the fields of `NetworkShape` and of `NetworkUse`.

    Saved as `config.json` beside `model.safetensors`.
    """

    def __post_init__(self) -> None:
        NetworkShape.__post_init__(self)
        NetworkUse.__post_init__(self)

    @property
    def score_scale(self) -> float:
        """Factor on a key-query product before the softmax."""
        return self.key_width**-0.5 if self.scaled_scores else 1.0

    def to_json(self) -> str:
        """Return the text of `config.json`."""
        fields = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        for field in dataclasses.fields(self):
            if field.name in _LATER_FIELDS and fields[field.name] == field.default:
                del fields[field.name]
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RMNetConfig:
        """Parse the text of a `config.json`.

        Raises:
            ConfigError: not JSON, an unknown or missing field, or a value out of range.
        """
        try:
            fields: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"config.json is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ConfigError(f"config.json holds a {type(fields).__name__}; accepted: an object")
        version = fields.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"config.json has format_version {shown(version)}; this rmnet reads "
                f"{FORMAT_VERSION}. Accepted: a file written by save_pretrained or `rmnet convert`"
            )
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(fields.keys() - known)
        missing = sorted(known - fields.keys() - set(_LATER_FIELDS))
        if unknown or missing:
            raise ConfigError(
                f"config.json: unknown fields {shown(unknown)}, missing fields {missing}"
            )
        return cls(**fields)


def check_int(name: str, value: object, minimum: int, maximum: int | None = None) -> None:
    """Raise a ConfigError unless a value is an integer in [minimum, maximum]."""
    is_int = isinstance(value, Integral) and not isinstance(value, bool)
    number = int(cast("int", value)) if is_int else minimum - 1  # out of range
    if number < minimum or (maximum is not None and number > maximum):
        bound = f"{minimum}" if maximum is None else f"{minimum}, at most {maximum}"
        raise ConfigError(f"{name} is {shown(value)}; accepted: an integer of at least {bound}")


def _check_choice(config: object, name: str, choices: Any) -> None:  # noqa: ANN401 a Literal type
    if getattr(config, name) not in get_args(choices):
        accepted = ", ".join(map(repr, get_args(choices)))
        raise ConfigError(f"{name} is {shown(getattr(config, name))}; accepted: {accepted}")


def _check_bool(config: object, name: str) -> None:
    if not isinstance(getattr(config, name), bool):
        raise ConfigError(f"{name} is {shown(getattr(config, name))}; accepted: true or false")


def _check_probability(name: str, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < cast("float", value) < 1:
        raise ConfigError(f"{name} is {shown(value)}; accepted: a number in (0, 1)")
