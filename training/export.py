"""Join both runs into one folder that `RMNetSegmenter.from_pretrained` reads.

`python training/export.py --segmentation runs/small --flow runs/flow --out runs/rmnet-small`
takes the averaged weights of both checkpoints and writes config.json and model.safetensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from rmnet.config import RMNetConfig
from rmnet.network.rmnet import RMNet
from rmnet.weights import save_network
from runs import SMALL


def join(segmentation: Path, flow: Path, *, config: RMNetConfig = SMALL) -> RMNet:
    """Build the network of two checkpoints; every weight is given, and only once.

    Args:
        segmentation: Checkpoint of `train.py`; its flow weights were never trained.
        flow: Checkpoint of `train_flow.py`.
        config: What both were trained with.
    """
    network = RMNet(config).eval()
    network.load_state_dict(torch.load(segmentation, weights_only=True)["average"])
    network.flow.load_state_dict(torch.load(flow, weights_only=True)["average"])
    return network


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segmentation", type=Path, required=True, help="folder of train.py")
    parser.add_argument("--flow", type=Path, required=True, help="folder of train_flow.py")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    network = join(given.segmentation / "checkpoint.pt", given.flow / "checkpoint.pt")
    save_network(network, given.out, dtype=torch.float16)


if __name__ == "__main__":
    main()
