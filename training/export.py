"""Export trained weights as a folder for `RMNetSegmenter.from_pretrained`.

    python -m training.export runs/large --flow runs/flow --out runs/rmnet-small

Takes the averaged weights of both checkpoints and writes config.json and model.safetensors.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from rmnet.config import RMNetConfig
from rmnet.network import RMNet
from rmnet.weights import save_network
from training.arguments import run_command
from training.runs import read_checkpoint
from training.start import flow_state
from training.strict_json import TrainingConfigError


def join(segmentation: Path, flow: str | None, *, size: int | None = None) -> RMNet:
    """Build a network from the averaged weights of a run and of a flow.

    Args:
        segmentation: Folder of a run of `training.train`.
        flow: Folder of a run of `training.train_flow`, or weights; None for the flow that the run
            started with.
        size: Value for `config.size`, px; None for that of the run.

    Raises:
        TrainingConfigError: the flow has never been trained.
    """
    state = read_checkpoint(segmentation)
    config = RMNetConfig.from_json(state["network"])
    network = RMNet(config if size is None else replace(config, size=size)).eval()
    network.load_state_dict(state["average"])
    if flow is not None:
        network.flow.load_state_dict(flow_state(flow))
    elif not state["flow_trained"]:
        raise TrainingConfigError(
            f"the flow of {segmentation} was never trained; accepted: --flow with the folder of "
            "training.train_flow, or with weights such as rmnet-small"
        )
    return network


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("segmentation", type=Path, help="folder of training.train")
    parser.add_argument("--flow", help="folder of training.train_flow, or weights")
    parser.add_argument("--size", type=int, help="config.size, px; default: that of the run")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    network = join(given.segmentation, given.flow, size=given.size)
    save_network(network, given.out, dtype=torch.float16)


if __name__ == "__main__":
    run_command(main)
