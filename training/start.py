"""Initial weights of a phase."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rmnet.config import RMNetConfig
from rmnet.network import RMNet, TinyFlowNet
from rmnet.weights import load_network
from training.objective import initialise
from training.phases import Phase
from training.runs import CHECKPOINT, Run, read_checkpoint
from training.strict_json import TrainingConfigError
from training.trunk import load_trunk

# Fields that weights do not depend on; a config may differ in them from its initial weights.
FREE = (
    "size",
    "box_margin",
    "search_region",
    "lost_memory_region",
    "mask_threshold",
    "memory_threshold",
)


def initial_network(
    config: RMNetConfig, phase: Phase, origin: str | None, *, seed: int
) -> tuple[RMNet, bool]:
    """Make the network that a phase starts with.

    Args:
        config: Config of the network.
        phase: Phase, whose `start` decides where the weights come from.
        origin: Value of `--from`: the folder of a run, or anything that `from_pretrained` takes;
            for "imagenet" the file of a classifier, or None for that of a package.
        seed: Seed for random weights.

    Returns:
        The network, and whether its TinyFlowNet has been trained.

    Raises:
        TrainingConfigError: `origin` does not suit the phase, or its weights the config.
    """
    if origin is None and phase.start in ("average", "continue"):
        raise TrainingConfigError(
            f"phase {phase.name!r} starts from weights; give --from the folder of the phase "
            "before, or weights such as rmnet-small"
        )
    if origin is not None and phase.start == "random":
        raise TrainingConfigError(
            f"phase {phase.name!r} starts from random weights; leave --from out"
        )
    torch.manual_seed(seed)
    network = RMNet(config)
    if phase.start in ("random", "imagenet"):
        initialise(network)
        if phase.start == "imagenet":
            load_trunk(network, None if origin is None else Path(origin))
        return network, False
    assert origin is not None
    if (Path(origin) / CHECKPOINT).is_file():
        state = read_checkpoint(Path(origin))
        check_same_network(RMNetConfig.from_json(state["network"]), config, origin)
        network.load_state_dict(state["average"])
        return network, bool(state["flow_trained"])
    if phase.start == "continue":
        raise TrainingConfigError(
            f"phase {phase.name!r} continues a run with its optimiser, and {origin} holds no "
            f"{CHECKPOINT}; accepted: the --out folder of the phase before"
        )
    loaded = load_network(origin)
    check_same_network(loaded.config, config, origin)
    network.load_state_dict(loaded.state_dict())
    return network, True


def continue_run(run: Run[RMNet], phase: Phase, origin: str | None) -> None:
    """Take over the optimiser too, if the phase continues a run."""
    if phase.start == "continue" and origin is not None:
        run.carry_over(read_checkpoint(Path(origin)))


def check_same_network(found: RMNetConfig, wanted: RMNetConfig, origin: str) -> None:
    """Raise if weights belong to another network, or were trained with another read."""
    differences = {
        name: (value, asdict(wanted)[name])
        for name, value in asdict(found).items()
        if value != asdict(wanted)[name] and name not in FREE
    }
    if differences:
        listed = "; ".join(f"{k} {old!r}, not {new!r}" for k, (old, new) in differences.items())
        raise TrainingConfigError(
            f"{origin} has {listed}; accepted: weights of the config's own network. Change the "
            "config's `network`, or --from"
        )


def flow_state(origin: str) -> dict[str, Any]:
    """Return the weights of TinyFlowNet from a run of either training, or from other weights."""
    if (Path(origin) / CHECKPOINT).is_file():
        state = read_checkpoint(Path(origin))
        if state["phase"] == "flow":
            return state["average"]
        prefix = "flow."
        return {k.removeprefix(prefix): v for k, v in state["average"].items()
                if k.startswith(prefix)}  # fmt: skip
    return load_network(origin).flow.state_dict()


def start_flow(network: TinyFlowNet, origin: str) -> None:
    """Load the flow of a run, or of other weights, into a network."""
    found, wanted = flow_state(origin), network.state_dict()
    shapes = [{name: tuple(x.shape) for name, x in state.items()} for state in (found, wanted)]
    if shapes[0] != shapes[1]:
        first, second = (s.get("conv1.weight", (0,))[0] for s in shapes)
        raise TrainingConfigError(
            f"the flow of {origin} has other widths (the first {first}, not {second}); accepted: "
            "weights with the config's flow_widths. Change those, or --from"
        )
    network.load_state_dict(found)
