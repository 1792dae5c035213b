"""Options of SAM 2 that do not exist here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rmnet.errors import ConfigError, shown

_LOAD = 'SAM2VideoPredictor.from_pretrained("rmnet-small")'
# Option of SAM 2 -> values that change nothing, and what to write instead of the others.
_OPTIONS: dict[str, tuple[tuple[object, ...], str]] = {
    "mode": (("eval",), "networks here only track. Leave it out"),
    "hydra_overrides_extra": (
        (None, [], ()),
        "there is no Hydra. Write SAM2VideoPredictor(RMNetSegmenter.from_pretrained().with_config())",
    ),
    "apply_postprocessing": ((True, False), "masks are not processed afterwards. Leave it out"),
    "vos_optimized": (
        (False,),
        "there is nothing to compile. Leave it out; on a GPU, write dtype=torch.bfloat16",
    ),
    "fill_hole_area": ((0,), "masks are not processed afterwards. Leave it out"),
    "non_overlap_masks": ((True,), "objects always compete for pixels. Leave it out"),
    "clear_non_cond_mem_around_input": (
        (False,),
        "the memory is that of MemoryPolicy. Write SAM2VideoPredictor(segmenter, memory=MemoryPolicy())",
    ),
    "add_all_frames_to_correct_as_cond": (
        (True,),
        "every frame that has a prompt is kept in memory. Leave it out",
    ),
}


def refuse(options: Mapping[str, object], *, weights: object = None) -> None:
    """Raise a ConfigError for options and weights of SAM 2 that cannot be honoured."""
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ConfigError(f"{name} is no option of the predictor; write {_LOAD}")
        harmless, remedy = _OPTIONS[name]
        if not any(type(value) is type(one) and value == one for one in harmless):
            raise ConfigError(f"{name} is {shown(value)}, an option of SAM 2, but {remedy}")
    if isinstance(weights, str | Path) and Path(weights).name.lower().startswith("sam2"):
        raise ConfigError(
            f"{shown(str(weights))} names weights of SAM 2, which do not run here; accepted: "
            f"weights of RMNet. Write {_LOAD}"
        )
