"""A run in its folder: the averaged weights, the optimiser, checkpoints and the log."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from parallel import WHOLE, Part
from phases import Optimiser
from strict_json import TrainingConfigError

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"


class Average:
    """Exponential moving average of a module's parameters and buffers."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start from the module's present state."""
        self.module = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        self.steps, self._decay = 0, decay

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards `module`; faster at first, when there is little to keep."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        # parameters() and buffers() name what modules share once; state_dict() would not.
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - decay)
        for average, current in zip(self.module.buffers(), module.buffers(), strict=True):
            if average.dtype.is_floating_point:
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)


class Run:
    """Everything that changes while a network is trained.

    Attributes:
        module: What is trained.
        average: Its moving average, which is exported.
        optimiser: AdamW, which decays neither biases nor BatchNorm weights.
        seen: Clips seen.
        facts: What the checkpoint says besides: phase, network, ...
    """

    def __init__(
        self, module: nn.Module, settings: Optimiser, folder: Path, facts: dict[str, Any]
    ) -> None:
        """Start anew in a folder; `resume` goes on."""
        self.module, self.facts, self.seen = module, facts, 0
        self.average = Average(module, settings.average_decay)
        parameters = list(module.parameters())
        groups = [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": settings.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=settings.betas)
        self._clip_norm, self._checkpoint = settings.clip_norm, folder / CHECKPOINT

    def update(self, loss: Tensor, rate: float, part: Part = WHOLE) -> None:
        """Take one step down the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        part.average_gradients(self.module)
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self._clip_norm)
        self.optimiser.step()
        self.average.update(self.module)

    def save(self) -> None:
        """Write everything the run needs to go on; the old file stays until the new is whole."""
        state = {
            "module": self.module.state_dict(),
            "average": self.average.module.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "seen": self.seen,
            **self.facts,
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def resume(self) -> bool:
        """Go on from the folder's checkpoint, if there is one."""
        if not self._checkpoint.exists():
            return False
        state = read_checkpoint(self._checkpoint.parent)
        for name in ("phase", "network"):
            if state[name] != self.facts[name]:
                raise TrainingConfigError(
                    f"{self._checkpoint} is of another {name} ({_first_line(state[name])}); "
                    "accepted: the one it was begun with. Give another --out, and this folder "
                    "with --from"
                )
        self.carry_over(state)
        self.seen = state["seen"]
        self.facts = {name: state[name] for name in self.facts}
        return True

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take weights, average and optimiser from a checkpoint."""
        self.module.load_state_dict(state["module"])
        self.average.module.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Read what `Run.save` wrote, onto the CPU."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise TrainingConfigError(
            f"there is no {path}; accepted: the --out folder of train.py or train_flow.py"
        )
    return torch.load(path, weights_only=True, map_location="cpu")


def _first_line(text: object) -> str:
    return str(text)[:60].replace("\n", " ")


class Log:
    """JSON lines in a file; the checks on the screen too."""

    def __init__(self, folder: Path) -> None:
        """Append to the folder's log."""
        self._path, self._start = folder / LOG, time.monotonic()

    def write(self, *, kind: str, **fields: Any) -> None:  # noqa: ANN401 anything JSON holds
        """Write one line, with the seconds since this process began."""
        fields = {"kind": kind, **fields, "seconds": round(time.monotonic() - self._start, 1)}
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in fields.items()}
        line = json.dumps(rounded)
        if kind != "train":
            tqdm.write(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
