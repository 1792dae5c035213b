"""Training of the prompt network: pictures, looks at them, the loss, and whole runs."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rmnet.io import write_label_png
from rmnet.prompting import SIDE, NetworkPrompter, View
from training import prompt_rounds, train_prompt
from training.clock import Clock
from training.prompt_pictures import CANVAS, draw_batch, find_pictures
from training.prompt_rounds import Looks, rounds, sample_views, squares_around, to_views
from training.train_prompt import mask_loss

ARRAYS = ("images", "truth", "void", "boxes", "sizes", "clicks")


def write_picture(folder, name, rng):
    """Write a grey picture with a bright disc (id 1), a dark one (2), and an unknown rim (255)."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:120, :160]
    labels = np.zeros((120, 160), np.uint8)
    pixels = np.full((120, 160, 3), 120, np.uint8)
    radius = 22
    for object_id, left, colour in ((1, 30, (230, 60, 40)), (2, 105, (20, 30, 90))):
        centre = rng.uniform((left, 30), (left + 25, 90))
        distance = np.hypot(x - centre[0], y - centre[1])
        labels[distance < radius + 2] = 255
        labels[distance < radius] = object_id
        pixels[distance < radius] = colour
    pixels += rng.integers(0, 20, pixels.shape, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{name}.webp")
    write_label_png(folder / f"{name}.png", labels)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder of 5 stills and a clip of 4 frames."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for number in range(5):
        write_picture(root / "train" / "stills" / "discs", str(number), rng)
    for number in range(4):
        write_picture(root / "train" / "clips" / "ball", f"{number:05}", rng)
    return root


@pytest.fixture(scope="module")
def batch(data):
    return draw_batch(find_pictures(data, 2)[0], np.random.default_rng(5), 4)


# --- pictures ------------------------------------------------------------------------------------


def test_held_out_stills_are_never_trained_on(data):
    trained, held_out = find_pictures(data, 2)
    assert len(held_out) == 2
    assert not set(held_out) & set(trained)
    assert sorted(path.name for path in trained if "clips" in path.parts) == [
        "00000.webp",
        "00003.webp",
    ]
    assert find_pictures(data, 2) == (trained, held_out)
    assert sum("stills" in path.parts for path in trained) == 3


def test_a_batch_depends_on_seed_and_number_only(data):
    paths, _ = find_pictures(data, 2)
    stream = train_prompt._batches(paths, 3, 0, 2)
    first = [next(stream) for _ in range(3)]
    resumed = next(train_prompt._batches(paths, 3, 2, 2))
    other = next(train_prompt._batches(paths, 4, 2, 2))
    alone = draw_batch(paths, np.random.default_rng((3, 2)), 2)
    for name in ARRAYS:
        assert torch.equal(getattr(first[2], name), getattr(resumed, name)), name
        assert torch.equal(getattr(first[2], name), getattr(alone, name)), name
    assert not torch.equal(first[2].images, first[1].images)
    assert not torch.equal(other.images, resumed.images)
    stream.close()


def test_box_and_click_of_a_sample_are_those_of_its_object(batch):
    for truth, void, box, click, size in zip(
        batch.truth, batch.void, batch.boxes, batch.clicks, batch.sizes, strict=True
    ):
        y, x = np.nonzero(truth[0].numpy())
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert truth[0, int(click[1]), int(click[0])] == 1
        assert not (truth * void).any()
        assert void.any()
        width, height = size.int().tolist()
        assert not truth[:, height:].any()
        assert not truth[:, :, width:].any()
    assert batch.images.shape == (4, 3, CANVAS, CANVAS)


# --- views ---------------------------------------------------------------------------------------

SQUARES = [View(10, 5, 100), View(-20, -30, 300), View(150, 60, 90), View(0, 0, SIDE)]


def as_squares(views):
    return torch.tensor([[view.left, view.top, view.side] for view in views]).float()


@pytest.mark.parametrize("view", SQUARES)
def test_a_view_of_training_shows_what_a_view_of_the_prompter_shows(view):
    rng = torch.Generator().manual_seed(0)
    planes = torch.rand(2, 12, 20, generator=rng)  # smooth once enlarged
    planes = torch.nn.functional.interpolate(planes[None], size=(120, 200), mode="bicubic")
    cut = view.cut(planes[0])
    sampled = sample_views(planes, as_squares([view]))
    # Beyond the picture's edge one mixes zeros in, and `resize` may average more than one pixel.
    steps = (torch.arange(SIDE) + 0.5) * view.side / SIDE
    margin = 2
    x, y = view.left + steps, view.top + steps
    inner = ((y > margin) & (y < 120 - margin))[:, None] & ((x > margin) & (x < 200 - margin))
    edge = math.ceil(margin * SIDE / view.side)
    inner[:edge], inner[-edge:], inner[:, :edge], inner[:, -edge:] = False, False, False, False
    outer = ((y < -margin) | (y > 120 + margin))[:, None] | ((x < -margin) | (x > 200 + margin))
    assert inner.any()
    torch.testing.assert_close(sampled[..., inner], cut[..., inner], atol=0.02, rtol=0)
    assert not sampled[..., outer].any()
    assert not cut[..., outer].any()


def test_coordinates_in_views_of_training_are_those_of_the_prompter():
    boxes = torch.tensor([[40.0, 30, 100, 50.5]]).repeat(len(SQUARES), 1)
    found = to_views(boxes, as_squares(SQUARES))
    expected = torch.cat([view.to_view(boxes[:1]) for view in SQUARES])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(to_views(boxes[:, :2], as_squares(SQUARES)), expected[:, :2])


def test_a_square_around_a_box_is_that_of_the_prompter_to_a_pixel():
    for box in ((40, 30, 100, 50), (3, 4, 8, 70), (5, 5, 9, 9)):
        view = View.around(box, 1.4)
        found = squares_around(torch.tensor([box]).float(), torch.tensor([1.4]))
        torch.testing.assert_close(found, as_squares([view]), atol=1.0, rtol=0)


def test_logits_are_carried_to_where_another_view_shows_the_same_place():
    old = torch.tensor([[10.0, 20, 100], [0, 0, 256]])
    new = torch.tensor([[30.0, 40, 50], [-128, 64, 256]])
    steps = (torch.arange(SIDE) + 0.5) / SIDE

    def ramp(views):  # a plane over the picture, which bilinear resampling keeps
        x = views[:, :1] + steps * views[:, 2:]
        y = views[:, 1:2] + steps * views[:, 2:]
        return (0.03 * x[:, None, :] - 0.02 * y[:, :, None])[:, None]

    found = prompt_rounds._between(ramp(old), old, new)
    torch.testing.assert_close(found[0], ramp(new)[0], atol=1e-4, rtol=0)
    # The second view begins half a view to the left of the old one, and a quarter below its top.
    expected = ramp(new)[1]
    torch.testing.assert_close(found[1, :, :190, 130:], expected[:, :190, 130:], atol=1e-4, rtol=0)
    assert (found[1, :, :, :126] == -20).all()
    assert (found[1, :, 194:] == -20).all()


# --- clicks and prompts --------------------------------------------------------------------------


def test_a_click_lies_on_an_error_and_says_which(batch):
    views = squares_around(batch.boxes, torch.full((4,), 1.5))
    _, truth, weight = prompt_rounds._view(batch, views)
    rng = torch.Generator().manual_seed(0)
    masks = truth.clone()
    masks[0] = 0  # all of it missing
    masks[1] = 1  # all around it is wrong
    masks[2, :, :, SIDE // 2 :] = 1 - truth[2, :, :, SIDE // 2 :]
    points, is_on, counts = prompt_rounds._click_on_error(masks, truth, weight, views, rng, None)
    assert counts.tolist() == [True, True, True, False]  # the last one has no error
    for number in range(3):
        x, y = to_views(points[number : number + 1], views[number : number + 1])[0].int().tolist()
        assert truth[number, 0, y, x] != masks[number, 0, y, x]
        assert is_on[number] == (truth[number, 0, y, x] == 1)
        assert weight[number, 0, y, x] == 1
    only = torch.tensor([False, True, True, True])
    *_, chosen = prompt_rounds._click_on_error(masks, truth, weight, views, rng, only)
    assert chosen.tolist() == [False, True, True, False]


def test_prompts_of_a_look_are_where_box_and_clicks_are():
    views = torch.tensor([[100.0, 50, 128], [0, 0, 256]])
    looks = Looks(torch.tensor([[110.0, 60, 130, 90], [1, 2, 3, 4]]), torch.tensor([True, False]))
    points = torch.tensor([[120.0, 70], [50, 60]])
    looks.clicks.append((points, torch.tensor([True, False]), torch.tensor([True, True])))
    looks.clicks.append((points, torch.tensor([False, True]), torch.tensor([False, False])))
    masks = torch.rand(2, 1, SIDE, SIDE)
    box, on, off, mask = looks.planes(views, masks).unbind(1)
    assert box[0, 20:80, 20:60].all()
    assert box[0].sum() == 60 * 40
    assert not box[1].any()
    assert divmod(int(on[0].argmax()), SIDE) == (40, 40)
    assert divmod(int(off[1].argmax()), SIDE) == (60, 50)
    assert not off[0].any()
    assert not on[1].any()
    assert torch.equal(mask, masks[:, 0])


def test_looks_of_a_batch_depend_on_the_seed(batch):
    def looks(seed):
        seen = []

        def network(image, features, prompts):
            seen.append(prompts)
            return prompts[:, :1] * 4 - 2

        def trunk(picture):
            return picture, picture

        for logits, truth, weight in rounds(network, trunk, batch, seed):
            assert logits.shape == truth.shape == weight.shape == (4, 1, SIDE, SIDE)
            assert set(truth.unique().tolist()) <= {0.0, 1.0}
        return torch.stack(seen)

    prompts = looks(1)
    assert len(prompts) == 4
    assert torch.equal(prompts, looks(1))
    assert not torch.equal(prompts, looks(2))
    assert prompts.min() >= 0
    assert prompts.max() <= 1
    # Every sample is told something: a box, a click or a mask.
    assert (prompts[0].amax(dim=(2, 3)).amax(dim=1) > 0).all()


# --- loss ----------------------------------------------------------------------------------------


def slow_loss(logits, truth, weight):
    total_entropy, focal, jaccard = [], [], []
    for z, t, w in zip(logits, truth, weight, strict=True):
        entropies, errors, both, either = [], [], 0.0, 0.0
        for a, b, c in zip(z.flatten(), t.flatten(), w.flatten(), strict=True):
            p = 1 / (1 + math.exp(-a))
            entropies.append(-(b * math.log(p) + (1 - b) * math.log(1 - p)) * c)
            errors.append((p - b) ** 2 * c)
            if c > 0:
                both += p * b
                either += p + b - p * b
        total_entropy += entropies
        product = sum(e * d for e, d in zip(entropies, errors, strict=True))
        focal.append(product / max(sum(errors), 1))
        jaccard.append(1 - (both + 1) / (either + 1))
    return np.mean(total_entropy) + 0.1 * np.mean(focal) + 0.5 * np.mean(jaccard)


def test_the_loss_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 1, 7, 9))
    truth = (rng.random(logits.shape) < 0.4).astype(float)
    weight = rng.choice([0.0, 1, 1, 3.5], logits.shape)
    logits[2], truth[2] = np.where(truth[2], 9, -9), truth[2]  # nearly right everywhere
    found = mask_loss(*(torch.from_numpy(x).double() for x in (logits, truth, weight)))
    # The share of known pixels is computed in float32.
    assert found.item() == pytest.approx(slow_loss(logits, truth, weight), rel=1e-6)


def test_pixels_without_weight_do_not_count():
    logits, truth = torch.randn(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    weight = torch.ones_like(truth)
    weight[..., 4:] = 0
    changed = logits.clone()
    changed[..., 4:] = -50
    torch.testing.assert_close(mask_loss(logits, truth, weight), mask_loss(changed, truth, weight))


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture
def train(data, tmp_path, monkeypatch):
    """Run the command on a clock by which a batch takes a minute; return the rows of its log."""
    threads = torch.get_num_threads()
    clocks = []

    class StepClock(Clock):
        seconds = 0.0

        def __init__(self, spent=0.0):
            self.seconds = spent
            clocks.append(self)

    original = train_prompt._step

    def step(*args, **options):
        clocks[-1].seconds += 60
        return original(*args, **options)

    monkeypatch.setattr(train_prompt, "Clock", StepClock)
    monkeypatch.setattr(train_prompt, "_step", step)

    def run(*options, out="out", held_out=2):
        argv = ["--data", data, "--out", tmp_path / out, "--held-out", held_out, "--batch", 2]
        monkeypatch.setattr(sys, "argv", ["train_prompt", *map(str, (*argv, *options))])
        with torch.random.fork_rng():
            train_prompt.main()
        lines = (tmp_path / out / "log.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    yield run
    torch.set_num_threads(threads)


def test_a_run_writes_weights_that_the_prompter_loads(train, tmp_path):
    rows = train("--minutes", 2)
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt",
        "log.jsonl",
        "model.safetensors",
    }
    assert [(row["step"], row["minutes"]) for row in rows] == [(1, 1.0), (2, 2.0)]
    assert all(len(row["loss"]) == 4 and np.isfinite(row["loss"]).all() for row in rows)
    prompter = NetworkPrompter(weights=out / "model.safetensors")
    mask = prompter(np.zeros((40, 60, 3), np.uint8), {4: (10, 10, 30, 30)}, {}, {})[4]
    assert (mask.dtype, mask.shape) == (np.bool_, (40, 60))


def test_a_run_resumes_at_the_step_of_its_checkpoint(train, tmp_path):
    train("--minutes", 1)
    checkpoint = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert (checkpoint["step"], checkpoint["seconds"]) == (1, 60)
    rows = train("--minutes", 2)
    assert [row["step"] for row in rows] == [1, 2]
    after = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert (after["step"], after["seconds"]) == (2, 120)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    for name, tensor in after["average"].items():
        assert torch.equal(weights[name], tensor.half()), name
    assert [row["step"] for row in train("--minutes", 2)] == [1, 2]  # it is over


def test_a_run_may_begin_with_weights(train, tmp_path):
    train("--minutes", 1)
    start = tmp_path / "out" / "model.safetensors"
    train("--minutes", 1, "--rate", "0", "--start", start, out="second")
    before, after = load_file(start), load_file(tmp_path / "second" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, msg=name)


def test_a_folder_without_pictures_is_refused(train, tmp_path):
    with pytest.raises(SystemExit, match="no picture to train on beside 0"):
        train("--data", tmp_path)
