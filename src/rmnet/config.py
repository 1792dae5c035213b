"""Every number of the method, once, with its unit and its source."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
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
# Younger than the format. Left out of a file where they have their default, so that files without
# and with them agree, and an older rmnet refuses only what it would misread.
_LATER_FIELDS = ("memory_region", "memory_threshold")
# How weights are used. Every other field decides their shapes.
USE_FIELDS = (
    "read",
    "scaled_scores",
    "box_margin",
    "min_object_pixels",
    "mask_threshold",
    "lost_memory_region",
    "search_region",
    "memory_region",
    "memory_threshold",
    "size",
)

# A config.json is anybody's: what it asks for is built before it is compared with the tensors.
MAX_WIDTH = 16_384  # channels
MAX_DEPTH = 256  # residual blocks of a stage
MAX_PIXELS = 2**24  # of a margin, an area or a side

# Stem, widths and depths of a backbone that comes in one size. Source: EfficientNet-Lite0.
FIXED_SHAPES = {
    "efficientnet_lite0": {
        "stem_width": 32,
        "stage_widths": (24, 40, 112),
        "stage_depths": (3, 2, 6),
    }
}

# Network geometry: fixed by the strides of the encoders, not a choice.
STRIDE = 16  # px a cell; the encoders end at stride 16
FLOW_STRIDE = 64  # px; TinyFlowNet halves its input, then strides by 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RMNetConfig:
    """One RMNet: its widths, its semantics and the size it was trained for.

    The defaults are the released network (ResNet50, `Source:` the released checkpoints' shapes).
    Saved as `config.json` beside `model.safetensors`.

    Attributes:
        backbone: Kind of both encoders: "resnet50" is built of bottlenecks, "resnet18" of basic
            blocks, both at any widths and depths; "efficientnet_lite0" of inverted residuals, and
            accepts its own widths and depths only.
        stem_width: Channels after the first convolution, stride 2.
        stage_widths: Channels out of the stages at strides 4, 8 and 16 (f4, f8, f16).
        stage_depths: Residual blocks in each of those stages.
        key_width: Channels of a key (ck). Paper: C/8 = 128.
        value_width: Channels of a value (cv). Paper: C/2 = 512.
        decoder_widths: Decoder channels at strides 16, 8 and 4. Released code: 256 throughout.
        flow_widths: TinyFlowNet channels at strides 2, 4, 8, 16, 32 of its (halved) input.
        tied_encoders: Whether both encoders share every convolution (not the BatchNorms) and the
            key convolution. Paper and released code: no.
        others_input: Whether the memory encoder also sees the sum of the other objects' masks.
            Released code: yes. Paper: no.
        read: What a memory cell outside its region does. "zeroed" (released code): it stays in the
            softmax with key 0 and value 0. "excluded" (paper, eq. 6-7): it is not there.
            Weights trained under one must not run under the other.
        scaled_scores: Whether scores are divided by sqrt(key_width). Released code: yes.
            Paper, eq. 3: no.
        box_margin: Pixels added on each side of an object's box (phi = 4 cells in the paper).
        min_object_pixels: Fewer pixels than this and the object counts as lost (eta in the paper).
        mask_threshold: Probability from which a pixel belongs to the object.
        lost_memory_region: Region of an object lost from a memory frame. "frame" (released code)
            or "empty" (paper, below eq. 2). A lost object's *query* region is always the frame.
        search_region: Where a query looks. "warped" (paper): the box of the previous mask moved
            by the flow. "union": the smallest box holding that and the previous mask's box, so
            that a poor flow never shrinks the search. "previous": the previous mask's box alone,
            no flow is computed. "best_match": the whole frame, each memory cell weighted by how
            near a query cell is to the one that matches it best (`rmnet.ops.best_match_read`).
            "frame": the whole frame. Paper, tables 5 and 6: the last three are ablations.
        memory_region: What of a past frame is matched. "mask" (paper): the box of the object's
            mask. "frame": the whole frame, an ablation (paper, table 5).
        memory_threshold: Probability from which a pixel is remembered as the object's, as 1, and
            below which it is remembered as 0; None remembers the probabilities. Paper and released
            code: None. A threshold keeps doubtful pixels from growing from frame to frame.
        size: Shorter side of the frame inside the network, px; the scale the weights know.
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
        _check_choice("backbone", self.backbone, Backbone)
        _check_choice("read", self.read, ReadSemantics)
        _check_choice("lost_memory_region", self.lost_memory_region, LostRegion)
        _check_choice("search_region", self.search_region, SearchRegion)
        _check_choice("memory_region", self.memory_region, MemoryRegion)
        for name, length in (
            ("stage_widths", 3),
            ("stage_depths", 3),
            ("decoder_widths", 3),
            ("flow_widths", 5),
        ):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) != length:
                raise ConfigError(f"{name} is {shown(values)}; accepted: {length} integers")
            largest = MAX_DEPTH if name == "stage_depths" else MAX_WIDTH
            for value in values:
                check_int(name, value, minimum=1, maximum=largest)
            object.__setattr__(self, name, tuple(values))
        for name in ("stem_width", "key_width", "value_width"):
            check_int(name, getattr(self, name), minimum=1, maximum=MAX_WIDTH)
        for name, least in (("min_object_pixels", 1), ("size", 1), ("box_margin", 0)):
            check_int(name, getattr(self, name), minimum=least, maximum=MAX_PIXELS)
        for name in ("tied_encoders", "others_input", "scaled_scores"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(
                    f"{name} is {shown(getattr(self, name))}; accepted: true or false"
                )
        _check_probability("mask_threshold", self.mask_threshold)
        if self.memory_threshold is not None:
            _check_probability("memory_threshold", self.memory_threshold)
        for name, value in FIXED_SHAPES.get(self.backbone, {}).items():
            if getattr(self, name) != value:
                raise ConfigError(
                    f"backbone is {self.backbone!r}, but {name} is {getattr(self, name)}; "
                    f"accepted beside it: {value}"
                )
        if self.backbone == "resnet50" and any(width % 4 for width in self.stage_widths):
            raise ConfigError(
                f"stage_widths is {self.stage_widths}; bottlenecks of resnet50 need multiples of 4"
            )

    @property
    def score_scale(self) -> float:
        """Factor on a key-query product before the softmax."""
        return self.key_width**-0.5 if self.scaled_scores else 1.0

    @property
    def search_uses_flow(self) -> bool:
        """Whether the region to search depends on the optical flow."""
        return self.search_region in ("warped", "union")

    def to_json(self) -> str:
        """The text of `config.json`."""
        fields = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        for field in dataclasses.fields(self):
            if field.name in _LATER_FIELDS and fields[field.name] == field.default:
                del fields[field.name]
        return json.dumps(fields, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RMNetConfig:
        """Read back what `to_json` wrote.

        Raises:
            ConfigError: not JSON, an unknown field, a missing one, or a value out of its range.
        """
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"config.json is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ConfigError(f"config.json holds a {type(fields).__name__}; accepted: an object")
        return cls._from_fields(fields)

    @classmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> RMNetConfig:
        version = fields.get("format_version")
        if version != FORMAT_VERSION:
            raise ConfigError(
                f"config.json has format_version {shown(version)}; this rmnet reads {FORMAT_VERSION}. "
                "Was it written by rmnet (save_pretrained, or `rmnet convert`)?"
            )
        known = {field.name for field in dataclasses.fields(cls)}
        given = set(fields) - {"format_version"}
        unknown, missing = sorted(given - known), sorted(known - given - set(_LATER_FIELDS))
        if unknown or missing:
            raise ConfigError(
                f"config.json: unknown fields {shown(unknown)}, missing fields {missing}"
            )
        return cls(**{name: fields[name] for name in given})


def _check_choice(name: str, value: object, choices: Any) -> None:  # noqa: ANN401 a Literal type
    if value not in get_args(choices):
        accepted = ", ".join(map(repr, get_args(choices)))
        raise ConfigError(f"{name} is {shown(value)}; accepted: {accepted}")


def _check_probability(name: str, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < cast("float", value) < 1:
        raise ConfigError(f"{name} is {shown(value)}; accepted: a number in (0, 1)")


def check_int(name: str, value: object, *, minimum: int, maximum: int | None = None) -> None:
    """Raise a ConfigError unless a value is an integer in [minimum, maximum]."""
    is_int = isinstance(value, Integral) and not isinstance(value, bool)
    number = int(cast("int", value)) if is_int else minimum - 1  # which is refused
    if number < minimum or (maximum is not None and number > maximum):
        bound = f"{minimum}" if maximum is None else f"{minimum}, at most {maximum}"
        raise ConfigError(f"{name} is {shown(value)}; accepted: an integer of at least {bound}")
