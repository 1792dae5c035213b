"""Checkpoints as the paper's authors released them, in this library's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.errors import WeightsError

# What the authors' network does where paper and code differ is the default of RMNetConfig.
RELEASED_CONFIG = RMNetConfig()

# Names in the released files -> names here, applied in order to the start of a key.
_RMNET_NAMES = (
    (r"encoder_(memory|query)\.conv1_m\.", r"\1_encoder.mask_stem."),
    (r"encoder_(memory|query)\.conv1_o\.", r"\1_encoder.others_stem."),
    (r"encoder_(memory|query)\.conv1\.", r"\1_encoder.stem."),
    (r"encoder_(memory|query)\.bn1\.", r"\1_encoder.stem_norm."),
    (r"encoder_(memory|query)\.res2\.", r"\1_encoder.stage4."),
    (r"encoder_(memory|query)\.res3\.", r"\1_encoder.stage8."),
    (r"encoder_(memory|query)\.res4\.", r"\1_encoder.stage16."),
    (r"kv_(memory|query)\.(key|value)_conv\.", r"\1_head.\2."),
    (r"decoder\.convFM\.", r"decoder.entry."),
    (r"decoder\.ResMM\.", r"decoder.entry_block."),
    (r"decoder\.RF3\.", r"decoder.refine8."),
    (r"decoder\.RF2\.", r"decoder.refine4."),
    (r"decoder\.pred2\.", r"decoder.predict."),
    (r"(decoder\.refine[48])\.convFS\.", r"\1.skip."),
    (r"(decoder\.refine[48])\.ResFS\.", r"\1.skip_block."),
    (r"(decoder\.refine[48])\.ResMM\.", r"\1.merge_block."),
)
_FLOW_NAMES = (
    (r"((?:de)?conv\d(?:_1)?)\.0\.", r"flow.\1."),
    (r"predict_flow(\d)\.", r"flow.predict\1."),
    (r"upsampled_flow(\d)_to_\d\.", r"flow.enlarge\1."),
)
_PARTS = {"rmnet": _RMNET_NAMES, "tflownet": _FLOW_NAMES}


def is_released(checkpoint: object) -> bool:
    """Whether an unpickled object has the form of the authors' checkpoints."""
    return isinstance(checkpoint, Mapping) and set(_PARTS) <= set(checkpoint)


def from_released(checkpoint: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rename a released checkpoint's tensors to those of `RMNet(RELEASED_CONFIG)`.

    A key that no rule knows keeps its own name, so that a strict load names it.

    Args:
        checkpoint: As `torch.load` gives it: "rmnet" and "tflownet" hold state dicts, their keys
            prefixed with "module.".

    Raises:
        WeightsError: a part is no state dict, or two keys come out with one name.
    """
    state: dict[str, Tensor] = {}
    for part, rules in _PARTS.items():
        tensors = checkpoint[part]
        if not isinstance(tensors, Mapping) or not all(
            isinstance(key, str) and isinstance(value, Tensor) and not value.is_nested
            for key, value in tensors.items()
        ):
            raise WeightsError(f"{part!r} in the checkpoint is not a mapping of names to tensors")
        for key, tensor in tensors.items():
            name = _renamed(key.removeprefix("module."), rules)
            if name in state:
                raise WeightsError(f"the checkpoint holds {name} twice (again as {key})")
            state[name] = tensor
    return state


def _renamed(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        key = re.sub(f"^{pattern}", replacement, key)
    return key
