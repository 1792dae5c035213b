"""What both training commands share: the averaged weights, checkpoints and the log."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rmnet.config import RMNetConfig

# The packaged network: 2.8 M parameters and 0.9 M of flow, in fp16 about 7 MB.
SMALL = RMNetConfig(
    backbone="resnet18",
    stem_width=32,
    stage_widths=(32, 64, 192),
    stage_depths=(2, 2, 2),
    key_width=64,
    value_width=192,
    decoder_widths=(96, 64, 32),
    flow_widths=(16, 32, 64, 128, 128),
    tied_encoders=True,
    others_input=True,
    read="excluded",
    scaled_scores=True,
    box_margin=64,
    min_object_pixels=10,
    lost_memory_region="frame",
    search_region="union",
    size=480,
)
EMA_DECAY = 0.996  # a step; it is the average that is shipped


class Average:
    """Exponential moving average of a module's parameters and buffers."""

    def __init__(self, module: nn.Module) -> None:
        """Start from the module's present state."""
        self.module = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        self.steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards `module`; faster at first, when there is little to keep."""
        self.steps += 1
        decay = min(EMA_DECAY, (1 + self.steps) / (10 + self.steps))
        # parameters() and buffers() name what modules share once; state_dict() would not.
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - decay)
        for average, current in zip(self.module.buffers(), module.buffers(), strict=True):
            if average.dtype.is_floating_point:
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)


def make_optimiser(module: nn.Module, *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays neither biases nor BatchNorm weights."""
    parameters = list(module.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))


def save_checkpoint(
    path: Path, module: nn.Module, average: Average, optimiser: torch.optim.Optimizer, seen: int
) -> None:
    """Write everything a run needs to go on; the old file stays until the new one is whole."""
    state = {
        "module": module.state_dict(),
        "average": average.module.state_dict(),
        "average_steps": average.steps,
        "optimiser": optimiser.state_dict(),
        "seen": seen,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(
    path: Path, module: nn.Module, average: Average, optimiser: torch.optim.Optimizer
) -> int:
    """Read back what `save_checkpoint` wrote; return the clips seen."""
    state = torch.load(path, weights_only=True)
    module.load_state_dict(state["module"])
    average.module.load_state_dict(state["average"])
    average.steps = state["average_steps"]
    optimiser.load_state_dict(state["optimiser"])
    return state["seen"]


class Log:
    """JSON lines in a file, and on the screen."""

    def __init__(self, path: Path) -> None:
        """Append to `path`."""
        self._path, self._start = path, time.monotonic()

    def write(self, **fields: Any) -> None:  # noqa: ANN401 anything JSON holds
        """Write one line, with the seconds since this process began."""
        fields["seconds"] = round(time.monotonic() - self._start, 1)
        rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in fields.items()}
        line = json.dumps(rounded)
        print(line, flush=True)
        with self._path.open("a") as file:
            file.write(line + "\n")
