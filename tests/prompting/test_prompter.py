"""The packaged prompter, and the views through which it looks at a frame."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from rmnet.prompting import SIDE, NetworkPrompter, View, box_planes, click_planes, load_prompter
from rmnet.prompting.prompter import connected


@pytest.fixture(scope="module")
def prompter():
    return load_prompter()


@pytest.fixture
def frame():
    """Return a red square of 60 px on a green, slightly noisy ground."""
    rng = np.random.default_rng(0)
    pixels = np.full((120, 200, 3), (40, 150, 60), np.uint8)
    pixels[30:90, 70:130] = (220, 40, 40)
    return (pixels + rng.integers(0, 12, pixels.shape)).astype(np.uint8)


def square():
    mask = np.zeros((120, 200), np.bool_)
    mask[30:90, 70:130] = True
    return mask


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize(
    "view", [View(10, 5, 100), View(-20, -30, 300), View(150, 60, 90), View(0, 0, SIDE)]
)
def test_paste_puts_a_view_back_where_it_was_cut(view):
    rows = torch.linspace(0, 1, 120)[:, None] + torch.linspace(0, 2, 200)[None, :]
    pasted = view.paste(view.cut(rows[None]), (120, 200), -1.0)[0]
    inside = torch.zeros(120, 200, dtype=torch.bool)
    inside[max(view.top, 0) : view.top + view.side, max(view.left, 0) : view.left + view.side] = (
        True
    )
    assert torch.all(pasted[~inside] == -1)
    # A ramp survives bilinear resizing, except at the edges, where zeros are mixed in.
    inner = torch.zeros_like(inside)
    inner[max(view.top, 0) + 3 : view.top + view.side - 3, max(view.left, 0) + 3 :] = True
    inner &= inside
    inner[117:], inner[:, 197:] = False, False
    inner[:, max(view.left + view.side - 3, 0) :] = False
    assert torch.allclose(pasted[inner], rows[inner], atol=0.02)


def test_a_view_holds_its_box_with_a_margin():
    view = View.around((40, 30, 100, 50), 1.4)
    assert view.side == 84
    assert view.left == 28
    assert view.top == -2
    assert view.to_view(torch.tensor([[28.0, -2.0]])).tolist() == [[0, 0]]


def test_planes_are_where_the_prompts_are():
    plane = box_planes(torch.tensor([[10.0, 20.0, 30.0, 60.0]]))[0, 0]
    assert plane[20:60, 10:30].all()
    assert plane.sum() == 20 * 40
    click = click_planes(torch.tensor([[100.0, 50.0]]))[0, 0]
    assert divmod(int(click.argmax()), SIDE) == (50, 100)


def test_a_box_finds_the_object_in_it(prompter, frame):
    mask = prompter(frame, {4: (70, 30, 130, 90)}, {}, {})[4]
    assert mask.dtype == np.bool_
    assert mask.shape == (120, 200)
    assert iou(mask, square()) > 0.9


def test_a_click_finds_the_object_under_it(prompter, frame):
    mask = prompter(frame, {}, {4: [(100, 60, True)]}, {})[4]
    assert iou(mask, square()) > 0.8


def test_objects_are_found_each_by_itself(prompter, frame):
    box, click = {1: (70, 30, 130, 90)}, {2: [(100, 60, True)]}
    both = prompter(frame, box, click, {})
    assert sorted(both) == [1, 2]
    assert np.array_equal(both[1], prompter(frame, box, {}, {})[1])
    assert np.array_equal(both[2], prompter(frame, {}, click, {})[2])


def test_a_click_beside_the_object_mends_a_mask_that_spills(prompter, frame):
    spilt = square()
    spilt[30:90, 130:190] = True
    mended = prompter(frame, {}, {1: [(165, 60, False)]}, {1: spilt})[1]
    assert iou(mended, square()) > iou(spilt, square()) + 0.2


def test_the_frame_stays_as_it_is(prompter, frame):
    frame.setflags(write=False)
    prompter(frame, {1: (70, 30, 130, 90)}, {}, {})


def test_weights_are_loaded_by_the_first_call_only(monkeypatch, frame):
    loads = []
    load = NetworkPrompter._networks.__globals__["load"]
    monkeypatch.setitem(
        NetworkPrompter._networks.__globals__, "load", lambda data: loads.append(1) or load(data)
    )
    prompter = NetworkPrompter()
    assert not loads
    for _ in range(2):
        prompter(frame, {1: (70, 30, 130, 90)}, {}, {})
    assert len(loads) == 1


def test_tracking_from_masks_reads_no_prompt_weights():
    code = (
        "import pathlib, numpy as np, rmnet\n"
        "read = pathlib.Path.read_bytes\n"
        "def refuse(self):\n"
        "    assert 'rmnet-prompt' not in str(self), self\n"
        "    return read(self)\n"
        "pathlib.Path.read_bytes = refuse\n"
        "frames = np.zeros((2, 64, 64, 3), np.uint8)\n"
        "mask = np.zeros((64, 64), np.uint8); mask[8:40, 8:40] = 1\n"
        "rmnet.RMNetSegmenter.from_pretrained(device='cpu').track(frames, mask)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


# --- the parts of a mask that clicks mean --------------------------------------------------------


def flooded(mask, points):
    """Return the 8-connected parts of a mask that hold points, pixel by pixel from a queue.

    A point beside the mask takes the pixels within 8 px, in either direction, of it.
    """
    height, width = mask.shape
    inside = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    queue = []
    for x, y in points:
        place = (int(y), int(x))
        if place in inside:
            queue.append(place)
        else:
            queue += [(v, u) for v, u in inside if max(abs(v - place[0]), abs(u - place[1])) <= 8]
    found = np.zeros((height, width), np.bool_)
    while queue:
        y, x = queue.pop()
        if (y, x) in inside and not found[y, x]:
            found[y, x] = True
            queue += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return found


def logits_of(mask):
    rng = torch.Generator().manual_seed(0)
    size = torch.rand(1, *mask.shape, generator=rng) * 3 + 0.1
    return torch.where(torch.from_numpy(mask)[None], size, -size)


def assert_connected(mask, points):
    logits = logits_of(mask)
    before = logits.clone()
    found = connected(logits, points)
    expected = flooded(mask, points)
    np.testing.assert_array_equal(found[0].numpy() > 0, expected)
    assert torch.equal(logits, before)
    kept = torch.from_numpy(expected)[None]
    assert torch.equal(found[kept], logits[kept])
    assert (found[~kept] <= -0.1).all()
    return expected


def two_blobs():
    mask = np.zeros((60, 90), np.bool_)
    mask[10:30, 5:25] = True
    mask[20:50, 50:80] = True
    return mask


@pytest.mark.parametrize(
    ("points", "pixels"),
    [
        ([(10, 15)], 400),
        ([(60.7, 40.2)], 900),
        ([(10, 15), (60, 40)], 1300),
        ([(28, 20)], 400),  # 4 px beside the left one
        ([(37, 25)], 0),  # far from both
        ([(37, 25), (60, 40)], 900),
        ([(89, 59)], 0),
        ([], 0),
    ],
)
def test_a_click_keeps_the_part_that_holds_it_or_is_near(points, pixels):
    assert assert_connected(two_blobs(), points).sum() == pixels


def test_without_a_mask_nothing_is_kept():
    assert not assert_connected(np.zeros((60, 90), np.bool_), [(10, 15), (0, 0), (89, 59)]).any()


def test_a_part_that_winds_is_kept_to_its_end():
    mask = np.zeros((64, 64), np.bool_)
    mask[::4] = True  # bars, joined at their right and left ends by turns
    for number in range(15):
        mask[4 * number : 4 * number + 5, -1 if number % 2 == 0 else 0] = True
    mask[62:] = False
    assert assert_connected(mask, [(0, 0)]).sum() == mask.sum()


@pytest.mark.parametrize("seed", range(6))
def test_random_masks_are_cut_like_a_flood_fill_cuts_them(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((40, 70)) < rng.uniform(0.2, 0.6)
    points = [(x * 70, y * 40) for x, y in rng.random((3, 2))]
    assert_connected(mask, points)
