"""Training losses, compared with the released code's losses and gradients."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from golden import make_golden_inputs as inputs
from golden_files import golden
from rmnet.geometry.aggregation import soft_aggregate
from rmnet.geometry.regions import mask_boxes, pixel_to_cell_boxes
from rmnet.geometry.warp import backward_warp
from rmnet.network.rmnet import RMNet
from rmnet.ops import regional_read
from rmnet.weights.released import RELEASED_CONFIG, from_released
from training.losses import (
    hardest_loss,
    last_jaccard,
    lovasz_softmax,
    published_loss,
    segmentation_loss,
)

FRAMES = (slice(0, 3), slice(3, 6))  # of the clip; the second leaves object 3 out


@pytest.fixture(scope="module")
def released():
    """The golden weights, trainable, with BatchNorm on its stored statistics."""
    network = RMNet(RELEASED_CONFIG)
    checkpoint = {
        part: {key: torch.from_numpy(value) for key, value in inputs.make_state(part).items()}
        for part in ("rmnet", "tflownet")
    }
    network.load_state_dict(from_released(checkpoint, "RMNet.pth"))
    return network.eval()


@pytest.fixture(scope="module")
def trained(released):
    """Probabilities, labels and loss of the golden batch; `released` holds the gradients."""
    clip, truth = inputs.make_clip("small3"), golden("train_small3")
    labels = torch.from_numpy(np.stack([clip["labels"][part] for part in FRAMES])).long()
    labels[1][labels[1] == 3] = 0
    probabilities = torch.stack([
        unroll_as_released(
            released,
            torch.from_numpy(clip["frames"][part]),
            torch.stack([(of_clip == k).float() for k in (1, 2, 3)], 1),
            torch.from_numpy(clip["gt_flow"][part]),
            num_objects.tolist(),
        )
        for part, of_clip, num_objects in zip(FRAMES, labels, truth["n_objects"], strict=True)
    ])  # fmt: skip
    # An object that has not entered yet has probability 0.
    log_probabilities = probabilities[:, 1:].clamp_min(1e-12).log()
    loss = published_loss(log_probabilities, labels[:, 1:])
    loss.backward()
    return probabilities.detach(), labels, loss.item()


def unroll_as_released(network, frames, masks, flows, num_objects):
    """Unroll one clip as the released code does in training, with the library's own parts.

    Every frame is remembered, and gradients flow through the estimates. All objects of the clip are
    decoded from its first frame on; an object that enters takes its given mask in that frame.
    """

    def boxes(soft):
        found = mask_boxes(soft.detach(), threshold=0.5, min_pixels=10, margin=64, lost="frame")
        return pixel_to_cell_boxes(found)

    count = max(num_objects)
    estimate = masks[0]
    probabilities = [torch.cat([1 - estimate.sum(0, keepdim=True), estimate])]
    keys, values, remembered = [], [], []
    for t in range(1, len(frames)):
        previous = estimate[:count]
        key, value = network.encode_memory(frames[t - 1 : t], previous[None])
        keys.append(key)
        values.append(value)
        remembered.append(boxes(previous))
        features = network.encode_query(frames[t : t + 1])
        search = boxes(backward_warp(previous[None], flows[t : t + 1])[0])
        readout = regional_read(
            features.key.expand(count, -1, -1, -1),
            torch.stack(keys, 1),
            torch.stack(values, 1),
            search,
            torch.stack(remembered, 1),
            semantics="zeroed",
            scale=network.config.score_scale,
        )
        shown = num_objects[t - 1]
        joined = soft_aggregate(network.decode(readout, features, search))[0, : shown + 1]
        joined = joined.softmax(0)
        absent = joined.new_zeros((3 - shown, *joined.shape[1:]))
        new = masks[t].clone()
        new[:shown] = 0
        new[num_objects[t] :] = 0
        joined = torch.cat([joined, absent]) * (1 - new.sum(0)) + pad(new)
        probabilities.append(joined)
        estimate = joined[1:]
    return torch.stack(probabilities)


def pad(objects):
    return torch.cat([torch.zeros_like(objects[:1]), objects])


def test_training_forward_equals_the_released_one(trained):
    probabilities, _, _ = trained
    wanted = torch.from_numpy(golden("train_small3")["probs"])
    torch.testing.assert_close(probabilities[..., ::2, ::2], wanted, atol=2e-4, rtol=0)


def test_published_losses_equal_the_released_ones(trained):
    probabilities, labels, loss = trained
    truth = golden("train_small3")
    classes = probabilities[:, 1:].permute(2, 0, 1, 3, 4).flatten(1)
    lovasz = lovasz_softmax(classes, labels[:, 1:].flatten()).item()
    assert lovasz == pytest.approx(float(truth["lovasz"]), abs=1e-5)
    assert loss - lovasz == pytest.approx(float(truth["nll"]), abs=1e-5)


def test_published_gradients_equal_the_released_ones(trained, released):
    truth = golden("train_small3")
    names = own_names()
    gradients = dict(released.named_parameters())
    norms = {str(n): x for n, x in zip(truth["grad_names"], truth["grad_norm_noatt"], strict=True)}
    for name, norm in norms.items():
        found = gradients[names[name]].grad.norm().item()
        assert found == pytest.approx(float(norm), rel=2e-3, abs=1e-6), name
    compared = [key for key in truth.files if key.startswith("grad_noatt/")]
    assert len(compared) == 9
    for key in compared:
        name = key.removeprefix("grad_noatt/")
        step = int(truth[f"gradstep/{name}"])
        found = gradients[names[name]].grad.flatten()[::step].numpy()
        np.testing.assert_allclose(
            found, truth[key], rtol=0, atol=1e-2 * np.abs(truth[key]).max(), err_msg=name
        )  # fmt: skip


def own_names():
    """Map the name of every released tensor to the library's."""
    shapes = inputs.shapes()
    marks = {part: {key: torch.empty(0) for key in shapes[part]} for part in shapes}
    renamed = {id(tensor): name for name, tensor in from_released(marks, "marks").items()}
    return {key: renamed[id(tensor)] for key, tensor in marks["rmnet"].items()}


def test_lovasz_of_hard_masks_is_one_minus_jaccard():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0])
    found = torch.tensor([0, 1, 0, 1, 1, 0, 1, 0])
    probabilities = torch.stack([(found == k).float() for k in (0, 1)])
    losses = [
        1 - ((found == k) & (labels == k)).sum() / ((found == k) | (labels == k)).sum()
        for k in (0, 1)
    ]
    assert lovasz_softmax(probabilities, labels) == pytest.approx(float(sum(losses)) / 2)


def test_lovasz_leaves_absent_classes_out():
    labels = torch.zeros(6, dtype=torch.long)
    probabilities = torch.tensor([[0.75] * 6, [0.25] * 6])
    assert lovasz_softmax(probabilities, labels) == pytest.approx(0.25)


def test_only_the_hardest_share_of_pixels_counts():
    logits = torch.zeros(1, 2, 4, 4)
    logits[:, 1, 0] = -9  # four pixels are confidently and wrongly background
    masks = torch.ones(1, 2, 1, 4, 4)
    everything = hardest_loss([logits], masks, hardest=1.0)
    hardest = hardest_loss([logits], masks, hardest=0.25)
    assert hardest - everything == pytest.approx(0.75 * (9 - np.log(2)), abs=1e-2)


@pytest.mark.parametrize("name", ["hardest", "lovasz"])
def test_every_loss_falls_as_the_masks_improve(name):
    masks = torch.zeros(1, 2, 2, 8, 8)
    masks[:, :, 0, :4], masks[:, :, 1, 5:] = 1, 1
    truth = torch.cat([1 - masks[:, 1].sum(1, keepdim=True), masks[:, 1]], 1)
    losses = [
        segmentation_loss([strength * truth], masks, name=name, hardest=0.5).item()
        for strength in (-4, 0, 1, 4, 12)
    ]
    assert all(after < before for before, after in pairwise(losses))
    assert losses[-1] < 1e-3


def test_last_jaccard_is_that_of_the_last_frame():
    masks = torch.zeros(1, 3, 1, 8, 8)
    masks[:, 2, :, :, :4] = 1
    logits = torch.zeros(1, 2, 8, 8)
    logits[:, 1, :, :2] = 1
    assert last_jaccard([-logits, logits], masks) == pytest.approx(0.5, abs=1e-3)
