"""The residual blocks are those that their weights were trained in."""

import pytest
import torch

from rmnet.network.backbones import build_backbone
from rmnet.network.blocks import BasicBlock, Bottleneck, InvertedResidual
from rmnet.weights.released import RELEASED_CONFIG
from tiny_network import LITE0


def shake_norms(module):
    """Give BatchNorms statistics that do something, as those of a trained network."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize(("width_in", "width", "stride"), [(16, 16, 1), (16, 24, 1), (16, 32, 2)])
@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
def test_resnet_blocks_are_torchvisions(name, width_in, width, stride):
    resnet = pytest.importorskip("torchvision.models.resnet")
    ours = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[name](
        width_in, width, stride=stride
    )
    theirs_of = getattr(resnet, name)
    downsample = None
    if stride != 1 or width_in != width:
        downsample = torch.nn.Sequential(
            torch.nn.Conv2d(width_in, width, 1, stride, bias=False), torch.nn.BatchNorm2d(width)
        )
    theirs = theirs_of(width_in, width // theirs_of.expansion, stride, downsample)
    shake_norms(ours)
    theirs.load_state_dict(ours.state_dict())  # the same names
    x = torch.randn((2, width_in, 9, 12))
    assert torch.equal(ours(x), theirs.eval()(x))


def test_the_released_trunk_is_torchvisions_resnet50():
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        resnet, ours = models.resnet50(), build_backbone(RELEASED_CONFIG)
    stages = {"stage4": "layer1", "stage8": "layer2", "stage16": "layer3"}
    for own, name in stages.items():
        shapes = {k: v.shape for k, v in getattr(ours, own).state_dict().items()}
        assert shapes == {k: v.shape for k, v in getattr(resnet, name).state_dict().items()}


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("expansion", [1, 6])
@pytest.mark.parametrize(("width", "stride"), [(16, 1), (16, 2), (24, 1)])
def test_an_inverted_residual_is_torchvisions_with_its_own_kernel(kernel, expansion, width, stride):
    mobilenet = pytest.importorskip("torchvision.models.mobilenetv2")
    ours = shake_norms(
        InvertedResidual(16, width, kernel=kernel, stride=stride, expansion=expansion)
    )
    theirs = mobilenet.InvertedResidual(16, width, stride, expansion)
    flat = [part for part in theirs.modules() if isinstance(part, torch.nn.Conv2d)]
    norms = [part for part in theirs.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    depthwise = next(conv for conv in flat if conv.groups > 1)
    depthwise.kernel_size, depthwise.padding = (kernel, kernel), (kernel // 2, kernel // 2)
    for (conv, norm), to_conv, to_norm in zip(ours.main_path(), flat, norms, strict=True):
        to_conv.weight = conv.weight
        to_norm.load_state_dict(norm.state_dict())
        to_norm.eps = norm.eps
    x = torch.randn((2, 16, 9, 12))
    assert torch.equal(ours(x), theirs.eval()(x))


def test_efficientnet_lite0_has_the_published_shapes():
    """Widths, kernels, strides and sizes of the first eleven blocks, and their parameters."""
    with torch.device("meta"):
        trunk = build_backbone(LITE0)
    blocks = [*trunk.stage4, *trunk.stage8, *trunk.stage16]
    table = [
        (b.depthwise.in_channels, b.project.out_channels, *b.depthwise.kernel_size[:1],
         *b.depthwise.stride[:1])
        for b in blocks
    ]  # fmt: skip
    assert table == [
        (32, 16, 3, 1),
        (96, 24, 3, 2), (144, 24, 3, 1),
        (144, 40, 5, 2), (240, 40, 5, 1),
        (240, 80, 3, 2), (480, 80, 3, 1), (480, 80, 3, 1),
        (480, 112, 5, 1), (672, 112, 5, 1), (672, 112, 5, 1),
    ]  # fmt: skip
    x = torch.empty((1, 3, 64, 96), device="meta")
    f4 = trunk.stage4(trunk.stem_activation(trunk.stem_norm(trunk.stem(x))))
    f8 = trunk.stage8(f4)
    shapes = [tuple(f.shape[1:]) for f in (f4, f8, trunk.stage16(f8))]
    assert shapes == [(24, 16, 24), (40, 8, 12), (112, 4, 6)]
