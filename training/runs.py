"""A run in its folder: the averaged weights, the optimiser, checkpoints and the log."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from clock import Clock
from folder_lock import FolderLock
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
        pairs = list(zip(self.module.buffers(), module.buffers(), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        for some, move in ((floats, torch._foreach_lerp_), (counts, torch._foreach_copy_)):
            if some:
                averages, currents = (list(side) for side in zip(*some, strict=True))
                move(averages, currents, *((1 - decay,) if some is floats else ()))


class Run:
    """Everything that changes while a network is trained.

    Attributes:
        module: What is trained.
        average: Its moving average, which is exported.
        optimiser: AdamW, which decays neither biases nor BatchNorm weights.
        seen: Clips seen.
        clock: Time spent on it.
        facts: What the checkpoint says besides: phase, network, ...
    """

    def __init__(
        self,
        module: nn.Module,
        settings: Optimiser,
        folder: Path,
        facts: dict[str, Any],
        *,
        slow: Collection[nn.Parameter] = (),
        slow_rate: float = 1.0,
        writes: bool = True,
    ) -> None:
        """Start anew in a folder; `resume` goes on.

        Args:
            module: What is trained; parameters that want no gradient are left alone.
            settings: Of optimiser and average.
            folder: Where the checkpoint is.
            facts: What the checkpoint is to say besides.
            slow: Parameters with a learning rate of their own.
            slow_rate: Factor on their learning rate.
            writes: Whether this process writes into the folder, which then is locked.
        """
        self.module, self.facts, self.seen, self.clock = module, facts, 0, Clock()
        self.average = Average(module, settings.average_decay)
        groups = _groups(module, settings.weight_decay, slow, slow_rate)
        fused = next(module.parameters()).is_cuda
        self.optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=settings.betas, fused=fused)
        self._clip_norm, self._checkpoint = settings.clip_norm, folder / CHECKPOINT
        self._lock = FolderLock(folder) if writes else None

    def close(self) -> None:
        """Let others train into the folder."""
        if self._lock is not None:
            self._lock.release()

    def update(self, loss: Tensor, rate: float, part: Part = WHOLE) -> None:
        """Take one step down the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)  # older checkpoints have none
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
            "seconds": self.clock.seconds,
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
        self.seen, self.clock = state["seen"], Clock(state.get("seconds", 0.0))
        self.facts = {name: state[name] for name in self.facts}
        return True

    def carry_over(self, state: dict[str, Any]) -> None:
        """Take weights, average and optimiser from a checkpoint."""
        self.module.load_state_dict(state["module"])
        self.average.module.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimiser.load_state_dict(state["optimiser"])


def _groups(
    module: nn.Module, decay: float, slow: Collection[nn.Parameter], slow_rate: float
) -> list[dict[str, Any]]:
    """Parameters by weight decay (weights of convolutions alone) and factor on the rate."""
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
    """Read what `Run.save` wrote, onto the CPU."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise TrainingConfigError(
            f"there is no {path}; accepted: the --out folder of train.py or train_flow.py"
        )
    state = torch.load(path, weights_only=True, map_location="cpu")
    missing = [name for name in ("phase", "network", "average") if name not in state]
    if missing:
        raise TrainingConfigError(
            f"{path} does not say its {missing[0]}, as checkpoints of earlier versions do not; "
            "accepted: the --out folder of this version's train.py or train_flow.py, or exported "
            "weights such as rmnet-small"
        )
    return state


def _first_line(text: object) -> str:
    return str(text)[:60].replace("\n", " ")


class Log:
    """JSON lines in a file; the checks on the screen too."""

    def __init__(self, folder: Path) -> None:
        """Append to the folder's log."""
        self._path, self._clock = folder / LOG, Clock()

    def write(self, *, kind: str, **fields: Any) -> None:  # noqa: ANN401 anything JSON holds
        """Write one line, with the seconds since this process began."""
        fields = {"kind": kind, **fields, "seconds": round(self._clock.seconds, 1)}
        rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in fields.items()}
        line = json.dumps(rounded)
        if kind != "train":
            tqdm.write(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
