"""How far a crop's edge is felt: counted, against one pixel that is changed."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tiny
from rmnet.network.encoders import MemoryEncoder, QueryEncoder
from rmnet.runtime.crops import encoder_halo, wrong_results
from tiny_network import LITE0

RESNETS = {
    f"{backbone} {depths}": dataclasses.replace(
        tiny.CONFIG, backbone=backbone, stage_widths=(8, 12, 16), stage_depths=depths
    )
    for backbone in ("resnet18", "resnet50")
    for depths in ((1, 1, 1), (2, 3, 2), (3, 4, 6))
}
CONFIGS = RESNETS | {"efficientnet_lite0": LITE0}


def positive(module):
    """Weights with which whatever an input reaches is changed by it, and nothing else is."""
    module.double().eval().requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
    return module


def reached(function, height, row):
    """Rows of the results that an input in some row reaches, first and last; None if none."""
    x = torch.zeros((1, 1, height, 16), dtype=torch.float64)
    x[..., row, :] = 1
    rows = function(x).amax(dim=(0, 1)).any(dim=1).nonzero()[:, 0].tolist()
    return (rows[0], rows[-1]) if rows else None


layers = st.builds(
    lambda kind, kernel, stride, dilation: (
        nn.Conv2d(
            1, 1, kernel, stride, dilation * (kernel // 2), dilation=dilation, bias=False
        )
        if kind == "conv"
        else nn.MaxPool2d(kernel, stride, kernel // 2)
    ),
    st.sampled_from(["conv", "pool"]),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(layers, min_size=1, max_size=4))
def test_wrong_results_are_those_that_a_pixel_beyond_the_edge_reaches(stack):
    network = positive(nn.Sequential(*stack))
    strides = (layer.stride for layer in stack)
    stride = math.prod(s if isinstance(s, int) else s[0] for s in strides)
    edge = 320  # a crop that begins or ends here begins or ends a result too
    wrong = [0]
    for distance in range(2 * stride):  # what lies further out reaches no further in
        after = reached(network, 2 * edge, edge - 1 - distance)
        before = reached(network, 2 * edge, edge + distance)
        wrong += [after[1] - edge // stride + 1] if after else []
        wrong += [edge // stride - before[0]] if before else []
    assert wrong_results(network, 0) == max(wrong)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_pixel_beyond_the_edge_reaches_all_cells_of_the_halo_and_no_more(config):
    side = 16 * 40
    for kind in (QueryEncoder, MemoryEncoder):
        encoder = positive(kind(config))

        def f16(image, encoder=encoder):
            """With the masks in the place of the image too."""
            stem = encoder.stem(image.expand(-1, 3, -1, -1))
            if isinstance(encoder, MemoryEncoder):
                return encoder(stem, image, image).f16
            return encoder.stages(stem).f16

        with torch.inference_mode():
            _, last = reached(f16, side, side // 2 - 1)  # the pixel before a crop's first
            first, _ = reached(f16, side, side // 2)  # the pixel behind a crop's last
        assert max(last - 20 + 1, 20 - first) == encoder_halo(encoder)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_cell_of_f8_beyond_the_edge_reaches_the_halo_of_the_last_stage(config):
    stage = positive(QueryEncoder(config).stage16)

    def f16(x):
        return stage(x.expand(-1, config.stage_widths[1], -1, -1))

    with torch.inference_mode():
        _, last = reached(f16, 80, 39)
        first, _ = reached(f16, 80, 40)
    assert max(last - 20 + 1, 20 - first) == wrong_results(stage, 0)
