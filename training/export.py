"""Join both trainings into one folder that `RMNetSegmenter.from_pretrained` reads.

    python training/export.py runs/large --flow runs/flow --out runs/rmnet-small

takes the averaged weights of both checkpoints and writes config.json and model.safetensors.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from arguments import run_command
from rmnet.config import RMNetConfig
from rmnet.network import RMNet
from rmnet.weights import save_network
from runs import read_checkpoint
from start import flow_state
from strict_json import TrainingConfigError


def join(segmentation: Path, flow: str | None, *, size: int | None = None) -> RMNet:
    """Build the network of a run; every weight is a trained one.

    Args:
        segmentation: Folder of `train.py`.
        flow: Folder of `train_flow.py`, or weights; None for the flow that the run began with.
        size: The `size` it is to be used at, px; None for its config's.
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
            "train_flow.py, or with weights such as rmnet-small"
        )
    return network


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("segmentation", type=Path, help="folder of train.py")
    parser.add_argument("--flow", help="folder of train_flow.py, or weights")
    parser.add_argument("--size", type=int, help="config.size, px; default: the config's")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    network = join(given.segmentation, given.flow, size=given.size)
    save_network(network, given.out, dtype=torch.float16)


if __name__ == "__main__":
    run_command(main)
