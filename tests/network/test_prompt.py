"""The prompt network: shapes, how it begins, and similarity to what was clicked."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rmnet.network import Features, PromptNetwork
from rmnet.network.prompt import PLANES, ClickSimilarity, SelfAttention
from rmnet.prompting import Trunk

WIDTHS = (6, 10, 14)


def features(size, count=2, widths=WIDTHS, seed=0):
    rng = torch.Generator().manual_seed(seed)
    strides = (4, 8, 16)
    return Features(*(
        torch.randn(count, width, size[0] // stride, size[1] // stride, generator=rng)
        for width, stride in zip(widths, strides, strict=True)
    ))  # fmt: skip


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PromptNetwork(WIDTHS).eval()


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (16, 32), (112, 16)])
def test_logits_have_the_size_of_the_picture(network, size):
    image, prompts = torch.randn(2, 3, *size), torch.rand(2, PLANES, *size)
    logits = network(image, features(size), prompts)
    assert logits.shape == (2, 1, *size)
    assert logits.isfinite().all()


def test_samples_of_a_batch_do_not_touch_each_other(network):
    image, prompts, all_features = (
        torch.randn(2, 3, 48, 80),
        torch.rand(2, PLANES, 48, 80),
        features((48, 80)),
    )
    both = network(image, all_features, prompts)
    for row in (slice(0, 1), slice(1, 2)):
        alone = network(image[row], Features(*(x[row] for x in all_features)), prompts[row])
        torch.testing.assert_close(alone, both[row], rtol=1e-4, atol=1e-5)


def test_every_prompt_plane_and_the_colours_reach_the_logits(network):
    image, prompts = torch.randn(1, 3, 64, 64), torch.rand(1, PLANES, 64, 64)
    image.requires_grad_(), prompts.requires_grad_()
    network(image, features((64, 64), 1), prompts).square().sum().backward()
    assert (prompts.grad.abs().amax(dim=(0, 2, 3)) > 0).all()
    assert (image.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_attention_starts_as_the_identity_and_reaches_every_cell_later():
    torch.manual_seed(0)
    attention = SelfAttention(16)
    x = torch.randn(2, 16, 3, 5)
    assert torch.equal(attention(x), x)
    torch.nn.init.normal_(attention.out.weight)
    changed = x.clone()
    changed[:, :, 0, 0] += torch.randn(2, 16)
    assert ((attention(changed) - attention(x)).abs().amax(dim=1)[:, -1, -1] > 0).all()


def test_attention_equals_a_slow_loop():
    torch.manual_seed(0)
    attention = SelfAttention(8).double()
    torch.nn.init.normal_(attention.out.weight)
    x = torch.randn(1, 8, 2, 3).double()
    joint = attention.query_key_value(attention.norm(x))[0].flatten(1).detach().numpy()
    query, key, value = joint[:8], joint[8:16], joint[16:]
    read = np.zeros((8, 6))
    for head in range(4):
        rows = slice(2 * head, 2 * head + 2)
        for cell in range(6):
            scores = np.array([query[rows, cell] @ key[rows, k] for k in range(6)]) / np.sqrt(2)
            weights = np.exp(scores) / np.exp(scores).sum()
            read[rows, cell] = value[rows] @ weights
    expected = x + attention.out(torch.from_numpy(read).view(1, 8, 2, 3))
    torch.testing.assert_close(attention(x), expected)


@pytest.fixture
def similarity():
    torch.manual_seed(0)
    return ClickSimilarity(WIDTHS[1], WIDTHS[2]).double()


def doubled(some):
    return Features(*(x.double() for x in some))


def slow_similarity(similarity, some, prompts8):
    """Compare every place with every clicked place, one after another."""
    coarse = F.interpolate(similarity.embed16(some.f16), scale_factor=2, mode="bilinear")
    places = (similarity.embed8(some.f8) + coarse).detach().numpy()
    count, _, height, width = places.shape
    found = np.zeros((count, 2, height, width))
    for b in range(count):
        for plane in range(2):
            clicks = prompts8[b, 1 + plane].numpy()
            for y, x in np.ndindex(height, width):
                for v, u in zip(*np.nonzero(clicks), strict=True):
                    one, other = places[b, :, y, x], places[b, :, v, u]
                    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
                    alike = (1 + cosine) * clicks[v, u]
                    found[b, plane, y, x] = max(found[b, plane, y, x], alike)
    return found


def test_similarity_is_the_largest_cosine_to_a_clicked_place(similarity):
    some = doubled(features((48, 64)))
    prompts8 = torch.zeros(2, PLANES, 6, 8).double()
    prompts8[0, 1, 2, 3], prompts8[0, 1, 2, 4], prompts8[0, 1, 5, 0] = 1, 0.5, 0.25
    prompts8[0, 2, 0, 7], prompts8[1, 2, 4, 4] = 0.75, 1
    prompts8[:, 0], prompts8[:, 3] = 1, 1  # neither a box nor a mask is a click
    found = similarity(some, prompts8)
    expected = slow_similarity(similarity, some, prompts8)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-12)
    assert found.min() >= 0
    assert found.max() <= 2 + 1e-12


def test_without_clicks_similarity_is_0_and_at_a_click_2(similarity):
    some = doubled(features((48, 64)))
    prompts8 = torch.zeros(2, PLANES, 6, 8).double()
    assert not similarity(some, prompts8).any()
    prompts8[0, 1, 2, 3] = 1
    found = similarity(some, prompts8)
    torch.testing.assert_close(found[0, 0, 2, 3], torch.tensor(2.0).double())
    assert not found[0, 1].any()
    assert not found[1].any()


def test_a_picture_with_fewer_cells_than_a_click_has_is_compared(similarity):
    prompts8 = torch.ones(2, PLANES, 2, 2).double()
    some = doubled(features((16, 16)))
    expected = slow_similarity(similarity, some, prompts8)
    np.testing.assert_allclose(similarity(some, prompts8).detach().numpy(), expected, atol=1e-12)


def test_names_and_shapes_of_the_weights_stay_those_of_saved_files():
    """If this fails, files of weights in use cannot be loaded any more."""
    shapes = {
        name: tuple(tensor.shape) for name, tensor in PromptNetwork(WIDTHS).state_dict().items()
    }
    convolutions = {
        "similarity.embed8": (32, 10, 3, 3),
        "similarity.embed16": (32, 14, 1, 1),
        "entry": (96, 14 + 6, 3, 3),
        "entry_block.conv1": (96, 96, 3, 3),
        "entry_block.conv2": (96, 96, 3, 3),
        "context": (96, 96, 3, 3),
        "attention.query_key_value": (288, 96, 1, 1),
        "attention.out": (96, 96, 1, 1),
        "context_block.conv1": (96, 96, 3, 3),
        "context_block.conv2": (96, 96, 3, 3),
        "refine8.skip": (64, 10 + 6, 3, 3),
        "refine8.project": (64, 96, 1, 1),
        "refine8.merge_block.conv1": (64, 64, 3, 3),
        "refine8.merge_block.conv2": (64, 64, 3, 3),
        "refine4.skip": (48, 6 + 6 + 48, 3, 3),
        "refine4.project": (48, 64, 1, 1),
        "refine4.merge_block.conv1": (48, 48, 3, 3),
        "refine4.merge_block.conv2": (48, 48, 3, 3),
        "predict": (16, 48, 3, 3),
    }
    expected = {f"{name}.weight": shape for name, shape in convolutions.items()}
    expected |= {f"{name}.bias": shape[:1] for name, shape in convolutions.items()}
    expected |= {"attention.norm.weight": (96,), "attention.norm.bias": (96,)}
    assert shapes == expected


def test_the_network_is_small():
    network = PromptNetwork(Trunk.packaged().widths)
    assert sum(parameter.numel() for parameter in network.parameters()) < 1e6
