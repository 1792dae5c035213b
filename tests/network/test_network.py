"""The network: its widths, what is shared, and the formulas around it."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import tiny
from rmnet.config import FLOW_STRIDE
from rmnet.geometry.aggregation import soft_aggregate
from rmnet.geometry.image import Padding
from rmnet.network.flow import _padded_and_halved
from rmnet.network.rmnet import RMNet
from rmnet.weights.released import RELEASED_CONFIG


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_released_network_has_the_published_sizes():
    with torch.device("meta"):
        network = RMNet(RELEASED_CONFIG)
    millions = {
        "flow": parameters(network.flow),
        "query": parameters(network.query_encoder),
        "memory": parameters(network.memory_encoder),
        "head": parameters(network.query_head),
        "decoder": parameters(network.decoder),
    }
    assert {k: round(v / 1e6, 3) for k, v in millions.items()} == {
        "flow": 13.996,
        "query": 8.543,
        "memory": 8.55,
        "head": 5.899,
        "decoder": 10.035,
    }


def test_every_width_is_the_configs():
    network = tiny.network()
    image, masks = torch.rand((1, 3, 64, 96)), torch.rand((1, 2, 64, 96))
    features = network.encode_query(image)
    key, value = network.encode_memory(image, masks)
    assert features.key.shape == (1, 4, 6, 8)
    assert features.value.shape == (1, 12, 4, 6)
    assert features.skip8.shape == (1, 8, 8, 12)
    assert features.skip4.shape == (1, 8, 16, 24)
    assert key.shape == (2, 4, 6, 8)
    assert value.shape == (2, 4, 6, 12)
    assert network.flow(image, image).shape == (1, 2, 64, 96)
    boxes = torch.tensor([[0, 0, 6, 4]] * 2)
    assert network.decode(value, features, boxes).shape == (1, 2, 64, 96)


def test_tied_encoders_share_every_convolution_and_no_norm():
    network = tiny.network(dataclasses.replace(tiny.CONFIG, tied_encoders=True))
    query = dict(network.query_encoder.named_parameters())
    memory = dict(network.memory_encoder.named_parameters())
    assert all((memory[name] is p) == (p.ndim == 4) for name, p in query.items())
    assert network.memory_head.key is network.query_head.key
    assert network.memory_head.value is not network.query_head.value
    assert set(memory) - set(query) == {"mask_stem.weight", "others_stem.weight"}


def test_the_papers_memory_encoder_sees_no_other_objects():
    network = tiny.network(dataclasses.replace(tiny.CONFIG, others_input=False)).eval()
    image, masks = torch.rand((1, 3, 32, 32)), torch.rand((1, 2, 32, 32))
    both = network.encode_memory(image, masks)[0]
    alone = network.encode_memory(image, masks[:, :1])[0]
    assert torch.allclose(both[:1], alone, atol=1e-6)


def test_others_are_the_other_objects_of_the_same_frame():
    network = tiny.network().eval()
    image, masks = torch.rand((2, 3, 32, 32)), torch.rand((2, 3, 32, 32))
    seen = []
    network.memory_encoder.others_stem.register_forward_hook(lambda _, args, __: seen.append(args))
    network.encode_memory(image, masks)
    want = [
        sum(masks[b, k] for k in range(3) if k != j).clamp(max=1)
        for b in range(2)
        for j in range(3)
    ]
    assert torch.allclose(seen[0][0], torch.stack(want)[:, None], atol=1e-6)


def test_objects_and_frames_in_a_batch_are_independent():
    network = tiny.network().eval()
    image, masks = torch.rand((2, 3, 32, 48)), torch.rand((2, 3, 32, 48))
    key, value = network.encode_memory(image, masks)
    features = network.encode_query(image)
    boxes = torch.tensor([[0, 0, 3, 2], [1, 0, 3, 2], [0, 0, 0, 0]] * 2)
    decoded = network.decode(value, features, boxes)
    for b in range(2):
        k1, v1 = network.encode_memory(image[b : b + 1], masks[b : b + 1])
        assert torch.allclose(k1, key[3 * b : 3 * b + 3], atol=1e-5)
        f1 = network.encode_query(image[b : b + 1])
        for j in range(3):
            alone = network.decode(v1[j : j + 1], f1, boxes[j : j + 1])
            assert torch.allclose(alone[0, 0], decoded[b, j], atol=1e-5)


def test_object_independent_half_of_the_decoder_runs_once_a_frame():
    frames, labels = tiny.clip(num_frames=3)
    segmenter = tiny.segmenter()
    calls = []
    decoder = segmenter._inference.decoder
    for step in (decoder.refine8, decoder.refine4):
        step.skip.register_forward_hook(lambda _, args, __: calls.append(args[0].shape[0]))
    segmenter.track(frames, labels)
    assert calls == [1] * 4  # two steps, two frames, whatever the number of objects


def test_value_outside_the_query_region_is_hidden_from_the_decoder():
    network = tiny.network().eval()
    features = network.encode_query(torch.rand((1, 3, 32, 48)))
    seen = []
    network.decoder.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    network.decode(torch.zeros((1, 2, 3, 12)), features, torch.tensor([[1, 0, 3, 1]]))
    value = seen[0][0, 12:]
    assert torch.equal(value[:, 0, 1:], features.value[0, :, 0, 1:])
    assert not value[:, 1].any()
    assert not value[:, :, 0].any()


@pytest.mark.parametrize("extreme", [False, True])
def test_soft_aggregation_is_the_formula(extreme):
    p = torch.rand((1, 3, 2, 2))
    if extreme:
        p = p.round()
    logits = soft_aggregate(p)[0].double().numpy()
    for y in range(2):
        for x in range(2):
            objects = [float(v) for v in p[0, :, y, x]]
            background = math.prod(1 - v for v in objects)
            clamped = [min(max(v, 1e-7), 1 - 1e-7) for v in (background, *objects)]
            want = [math.log(v / (1 - v)) for v in clamped]
            # near 1, float32 has steps of 6e-8 under a logit of slope 1e7
            assert logits[:, y, x] == pytest.approx(want, abs=0.5 if extreme else 1e-3)


def test_soft_aggregation_is_in_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert soft_aggregate(torch.rand((1, 2, 4, 4)).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [(480, 854), (65, 131), (64, 128), (1, 63)])
def test_a_frame_is_padded_and_halved_as_if_one_after_the_other(size):
    image = torch.randn((1, 3, *size))
    padding = Padding.to_multiple(size, FLOW_STRIDE)
    want = torch.nn.functional.interpolate(
        padding.add(image), scale_factor=0.5, mode="bilinear", align_corners=False
    )
    assert torch.allclose(_padded_and_halved(image, padding), want, rtol=0, atol=1e-6)


def test_flow_takes_any_size():
    network = tiny.network().eval()
    for size in ((64, 64), (65, 130), (1, 1), (17, 200)):
        flow = network.flow(torch.rand((1, 3, *size)), torch.rand((1, 3, *size)))
        assert flow.shape == (1, 2, *size)
        assert np.isfinite(flow.detach().numpy()).all()
