"""The state of a run and its folder: averaged weights, optimiser, checkpoints and log."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from training.clock import Clock
from training.folder_lock import FolderLock
from training.parallel import WHOLE, Part
from training.phases import Optimiser
from training.strict_json import TrainingConfigError

M = TypeVar("M", bound=nn.Module)

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"


class Average(Generic[M]):
    """The exponential moving average of the parameters and buffers of a module."""

    def __init__(self, module: M, decay: float) -> None:
        """Start from the current state of the module."""
        self.module = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        self.steps, self._decay = 0, decay

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards `module`, a larger one at first."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        # parameters() and buffers() list shared tensors once; state_dict() would not.
        pairs: list[tuple[Tensor, Tensor]] = []
        pairs += zip(self.module.parameters(), module.parameters(), strict=True)
        for average, current in zip(self.module.buffers(), module.buffers(), strict=True):
            if average.is_floating_point():
                pairs.append((average, current))
            else:  # a counter
                average.copy_(current)
        averages, currents = (list(side) for side in zip(*pairs, strict=True))
        get_ema_multi_avg_fn(decay)(averages, currents, self.steps)


class Run(Generic[M]):
    """Everything that changes during a training.

    Attributes:
        module: Module to train.
        average: Moving average of the module, which is exported.
        optimiser: AdamW, without weight decay on biases and BatchNorms.
        seen: Number of clips seen.
        clock: Clock of the run.
        facts: Further entries of the checkpoint: phase, network, ...
    """

    def __init__(
        self,
        module: M,
        settings: Optimiser,
        folder: Path,
        facts: dict[str, Any],
        *,
        slow: Collection[nn.Parameter] = (),
        slow_rate: float = 1.0,
        writes: bool = True,
    ) -> None:
        """Start a new run in a folder; `resume` continues the one that is there.

        Args:
            module: Module to train; parameters without gradients stay as they are.
            settings: Settings of the optimiser and the average.
            folder: Folder of the checkpoint.
            facts: Further entries of the checkpoint.
            slow: Parameters with a learning rate of their own.
            slow_rate: Factor on their learning rate.
            writes: Whether this process writes into the folder, and so locks it.
        """
        self.module, self.facts, self.seen, self.clock = module, facts, 0, Clock()
        self.average = Average(module, settings.average_decay)
        groups = _groups(module, settings.weight_decay, slow, slow_rate)
        fused = next(module.parameters()).is_cuda
        self.optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=settings.betas, fused=fused)
        self._clip_norm, self._checkpoint = settings.clip_norm, folder / CHECKPOINT
        self._lock = FolderLock(folder) if writes else None

    def close(self) -> None:
        """Release the folder."""
        if self._lock is not None:
            self._lock.release()

    def update(self, loss: Tensor, rate: float, part: Part = WHOLE) -> None:
        """Take one step down the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)  # absent in older checkpoints
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        part.average_gradients(self.module)
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self._clip_norm)
        self.optimiser.step()
        self.average.update(self.module)

    def save(self) -> None:
        """Write all that resuming needs; the old file stays until the new one is complete."""
        state = {
            "module": self.module.state_dict(),
            "average": self.average.module.state_dict(),
            "average_steps": self.average.steps,
            "optimiser": self.optimiser.state_dict(),
            "seen": self.seen,
            "seconds": self.clock.seconds,
            **self.facts,
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def resume(self) -> bool:
        """Resume from the checkpoint of the folder; return whether there is one."""
        if not self._checkpoint.exists():
            return False
        state = read_checkpoint(self._checkpoint.parent)
        for name in ("phase", "network"):
            if state[name] != self.facts[name]:
                raise TrainingConfigError(
                    f"{self._checkpoint} is of another {name} ({_first_line(state[name])}); "
                    "accepted: the one it was started with. Give another --out, and this folder "
                    "with --from"
                )
        self.carry_over(state)
        self.seen, self.clock = state["seen"], Clock(state.get("seconds", 0.0))
        self.facts = {name: state[name] for name in self.facts}
        return True

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take over weights, average and optimiser of a checkpoint."""
        self.module.load_state_dict(state["module"])
        self.average.module.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])


def _groups(
    module: nn.Module, decay: float, slow: Collection[nn.Parameter], slow_rate: float
) -> list[dict[str, Any]]:
    """Group parameters by weight decay (only weights of convolutions) and learning rate."""
    names = {id(parameter) for parameter in slow}
    groups = []
    for factor, chosen in ((1.0, False), (slow_rate, True)):
        parameters = [p for p in module.parameters() if (id(p) in names) is chosen]
        for weights, of_group in ((True, decay), (False, 0.0)):
            group = [p for p in parameters if (p.ndim > 1) is weights]
            if group:
                groups.append({"params": group, "weight_decay": of_group, "factor": factor})
    return groups


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Read a checkpoint of `Run.save` onto the CPU."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise TrainingConfigError(f"there is no {path}; accepted: the --out folder of a training")
    state = torch.load(path, weights_only=True, map_location="cpu")
    missing = [name for name in ("phase", "network", "average") if name not in state]
    if missing:
        raise TrainingConfigError(
            f"{path} lacks {missing[0]!r}, as checkpoints of earlier versions do; accepted: the "
            "--out folder of a training by this version, or exported weights such as rmnet-small"
        )
    return state


def _first_line(text: object) -> str:
    return str(text)[:60].replace("\n", " ")


class Log:
    """Writes JSON lines to a file, and those of checks to the screen too."""

    def __init__(self, folder: Path) -> None:
        """Append to the log of a folder."""
        self._path, self._clock = folder / LOG, Clock()

    def write(self, *, kind: str, **fields: Any) -> None:  # noqa: ANN401 anything JSON holds
        """Write one line, with the time since this process started, s."""
        fields = {"kind": kind, **fields, "seconds": round(self._clock.seconds, 1)}
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in fields.items()}
        line = json.dumps(rounded)
        if kind != "train":
            tqdm.write(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
