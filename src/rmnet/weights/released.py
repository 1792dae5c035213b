"""Translation of the checkpoints that the paper's authors released to this library's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.errors import WeightsError

# Where paper and released code differ, the defaults of RMNetConfig follow the code.
RELEASED_CONFIG = RMNetConfig()

# Released name -> name here, applied in this order to the start of a key.
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


def from_released(checkpoint: object, source: str) -> dict[str, Tensor]:
    """Rename the tensors of a released checkpoint to those of a network of `RELEASED_CONFIG`.

    A key that no rule covers keeps its name, so that the check of names can report it.
    """
    parts = checkpoint if isinstance(checkpoint, Mapping) else {}
    if not set(_PARTS) <= set(parts):
        keys = [str(key) for key in parts]
        holds = f"the keys {', '.join(keys[:5])}" if keys else f"a {type(checkpoint).__name__}"
        is_stm = any("Encoder_M." in key for key in keys)  # the network that RMNet derives from
        stm = " It belongs to STM, another network." if is_stm else ""
        raise WeightsError(
            f"{source} is not a released RMNet checkpoint: it holds {holds}.{stm} Accepted: the "
            "authors' files, with the parts 'rmnet' and 'tflownet'"
        )
    state: dict[str, Tensor] = {}
    for part, rules in _PARTS.items():
        tensors = parts[part]
        if not isinstance(tensors, Mapping) or not all(
            isinstance(key, str) and isinstance(value, Tensor) and not value.is_nested
            for key, value in tensors.items()
        ):
            raise WeightsError(f"{part!r} in {source} is not a mapping of names to tensors")
        for key, tensor in tensors.items():
            name = key.removeprefix("module.")
            for pattern, replacement in rules:
                name = re.sub(f"^{pattern}", replacement, name)
            if name in state:
                raise WeightsError(f"{source} holds {name} twice, the second time as {key}")
            # torch before 0.4 stored scalars, here a count of batches, with an axis of one.
            has_axis = name.endswith(".num_batches_tracked") and tensor.shape == (1,)
            state[name] = tensor[0] if has_axis else tensor
    return state
