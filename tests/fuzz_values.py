"""Doors that take values: random hostile masks, frames, ids, options and flows.

A door is a function of a random generator and an empty folder. It may return, raise, or yield calls
to make one after another; fuzz_doors.py has the rules.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from PIL import Image

import tiny
from rmnet import MemoryPolicy, RMNetConfig
from rmnet.io.draw import overlay
from rmnet.io.masks import parse_mask

DTYPES = (
    "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float16", "float32", "float64", "complex64", "object", "U3", "datetime64[s]",
)  # fmt: skip
TENSORS = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
)  # fmt: skip
MODES = ("1", "L", "P", "LA", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
ODD = (
    None, True, 0, 1, -1, 255, 2**31 - 1, 2**31, 2**63, 10**5000, 0.5, math.nan, math.inf, "", "x",
    "none", "native", b"\0", "a\0b", "x" * 5000, "~nobody/x", "../..", "[", "**", (), [], {}, {1: 2},
    [[]], [None], object(), int, len, range(3), {1}, "a.png", "//", ".",
)  # fmt: skip
SIDES = (0, 1, 2, 3, 15, 16, 17, 33, 64)
SIZE = (48, 64)

_segmenters: list = []


def segmenter():
    """Return the segmenter that all cases share."""
    if not _segmenters:
        _segmenters.append(tiny.segmenter())
    return _segmenters[0]


def shape(random, *, of=None):
    """Return a shape with any number of axes, or usually `of`."""
    if of is not None and random.random() < 0.7:
        return of
    axes = random.choice((0, 1, 2, 2, 2, 3, 3, 4))
    return tuple(random.choice(SIDES) for _ in range(axes))


def array(random, shape):
    """Return an array of any dtype and layout; its values may include extremes of the dtype."""
    dtype = np.dtype(random.choice(DTYPES))
    rng = np.random.default_rng(random.getrandbits(32))
    top = random.choice((1, 2, 3, 12, 255, 256, 70000, 2**31, 2**40))
    values = rng.integers(0, top + 1, shape)
    if random.random() < 0.3:  # blocks that look like objects
        values = np.full(shape, random.choice((0, 1, 255, top)))
        if values.ndim >= 2 and values.size:
            values[..., : values.shape[-2] // 2, : values.shape[-1] // 2] = random.choice((0, 1, 7))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        made = values.astype(dtype)
        if dtype.kind == "f" and made.size and random.random() < 0.5:
            made.flat[random.randrange(made.size)] = random.choice((np.nan, np.inf, -np.inf))
        if dtype.kind == "i" and made.size and random.random() < 0.3:
            made.flat[random.randrange(made.size)] = np.iinfo(dtype).min
    layout = random.randrange(4)
    if layout == 1 and made.ndim >= 2:
        made = np.asfortranarray(made)
    elif layout == 2 and made.ndim:
        made = made[::-1]
    elif layout == 3:
        made = made.view(type("Sub", (np.ndarray,), {}))
    return made


def tensor(random, shape):
    """Return a tensor of any dtype and layout, sparse and meta included."""
    made = torch.zeros(shape, dtype=random.choice(TENSORS))
    kind = random.randrange(8)
    if made.numel() and kind < 5:
        made.view(-1)[: made.numel() // 2] = random.choice((0, 1, 3))
    elif kind == 5 and made.ndim >= 1:
        made = made.float().to_sparse().to(torch.int64)
    elif kind == 6:
        made = made.to("meta")
    elif kind == 7 and made.is_floating_point():
        made.requires_grad_()
    return made


def picture(random, size):
    """Return a PIL image of any mode."""
    mode = random.choice(MODES)
    made = Image.new(mode, size, random.choice((0, 1)) if mode != "F" else 0.5)
    if mode in ("1", "L", "P") and min(size) > 2:
        made.paste(random.choice((1, 3, 255)), (0, 0, size[0] // 2, size[1] // 2))
    if random.random() < 0.1:
        made.info["transparency"] = random.choice((0, b"\0", (1, 2, 3), "x", 300))
    return made


def mask(random):
    """Return anything that a caller might pass as a mask."""
    kind = random.randrange(10)
    if kind < 3:
        return array(random, shape(random, of=SIZE))
    if kind == 3:
        return tensor(random, shape(random, of=SIZE))
    if kind == 8:
        text = "".join(chr(random.randrange(44, 116)) for _ in range(random.randrange(9)))
        runs = [random.choice((0, 1, SIZE[0] * SIZE[1], *ODD[:6])) for _ in range(3)]
        counts = random.choice((text, text.encode(), runs, *ODD))
        return {"size": random.choice((SIZE, list(SIZE), (2**31, 2**31), *ODD)), "counts": counts}
    if kind == 9:
        corners = [random.choice((0, 5, 30.5, 1e300, math.nan, 2**70, -9)) for _ in range(8)]
        return random.choice(([corners], [corners[:6], corners], {3: [corners]}, [[]]))
    if kind == 4:
        return picture(random, SIZE[::-1] if random.random() < 0.7 else (1, 3))
    if kind == 5:
        keys = [
            random.choice((1, 2, 255, 2**31 - 1, *ODD[:12])) for _ in range(random.randrange(4))
        ]
        return {key: array(random, shape(random, of=SIZE)) for key in keys}
    if kind == 6:
        count = random.choice((0, 1, 2, 255, 300))
        layers = np.zeros((count, *SIZE), bool)
        flat = layers.reshape(count, SIZE[0] * SIZE[1])
        for number in range(count):
            flat[number, number * 9 : number * 9 + 9] = True
        return layers
    return random.choice(ODD)


def object_ids(random):
    """Return anything that a caller might pass as object_ids; often None."""
    kind = random.randrange(6)
    if kind < 3:
        return None
    if kind == 3:
        return range(1, random.choice((1, 2, 3, 256, 301)))
    if kind == 4:
        return [random.choice((1, 2, 3, 255, *ODD[:12])) for _ in range(random.randrange(4))]
    return random.choice(ODD)


def frame(random):
    """Return anything that a caller might pass as a frame."""
    kind = random.randrange(8)
    if kind < 3:
        rng = np.random.default_rng(random.getrandbits(32))
        return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    if kind == 3:
        return array(random, shape(random, of=(*SIZE, 3)))
    if kind == 4:
        return tensor(random, shape(random, of=(3, *SIZE)))
    if kind == 5:
        return picture(random, SIZE[::-1] if random.random() < 0.8 else (5, 1))
    return random.choice(ODD)


def flow(random):
    """Return a flow function that returns anything, including NaN and vectors that overflow."""
    what = random.randrange(5)
    good = (2, *SIZE)

    def give(current, previous):
        if what == 0:
            return array(random, shape(random, of=good))
        if what == 1:
            return tensor(random, shape(random, of=good))
        if what == 2:
            return random.choice(ODD)
        value = random.choice((0.0, 1e4, -1e9, 1e30, 1e300, math.nan, -math.inf))
        dtype = random.choice((np.float64, np.float32, np.float16))
        with np.errstate(over="ignore"):
            return np.full(good, value).astype(dtype)

    return give


def door_mask(random, folder):
    """parse_mask."""
    del folder
    size = random.choice((None, SIZE, SIZE, (0, 0)))
    parse_mask(mask(random), size=size, object_ids=object_ids(random))


def door_session(random, folder):
    """Several calls of one session; each may fail, and the next must still work."""
    del folder
    session = segmenter().start(
        size=random.choice((None, 32, "native")),
        memory=MemoryPolicy(random.choice((1, 2, 5)), random.choice((2, 3, None))),
        flow=random.choice((None, "none", flow(random), flow(random))),
        keep_probabilities=random.random() < 0.2,
    )
    labels = np.zeros(SIZE, np.int32)
    labels[5:30, 5:30] = random.choice((1, 2, 255, 256))
    first = random.choice((labels, mask(random)))
    calls = [lambda: session.step(frame(random), first)]
    for _ in range(random.randrange(1, 4)):
        calls.append(
            random.choice((
                lambda: session.step(frame(random)),
                lambda: session.step(frame(random), mask(random), object_ids=object_ids(random)),
                lambda: session.correct(mask(random), object_ids=object_ids(random)),
                lambda: session.add_objects(mask(random)),
                lambda: session.remove_objects(random.choice((1, 2, [1], *ODD))),
                session.skip,
            ))
        )  # fmt: skip
    yield from calls


def door_track(random, folder):
    """RMNetSegmenter.track with any value for any argument."""
    del folder
    good = [np.full((*SIZE, 3), 7 * t, np.uint8) for t in range(2)]
    frames = random.choice((good, good, [frame(random)], [good[0], frame(random)], *ODD))
    odd = random.choice(
        [one for one in ODD if not callable(one)]
    )  # without functions: what a caller's function raises is not an RMNetError
    options = {
        random.choice(("size", "memory", "flow", "masks", "object_ids", "on_bad_frame")): odd
        for _ in range(random.randrange(2))
    }
    results = segmenter().track(frames, mask(random), **options)
    assert len(results) > 0


def prompts(random, good):
    """Return anything that a caller might pass as boxes or points; often `good` ones with a flaw."""
    kind = random.randrange(6)
    if kind == 0:
        return random.choice(ODD)
    numbers = (
        0,
        5,
        20,
        30.5,
        -1,
        63,
        64,
        0.5,
        1e300,
        math.nan,
        math.inf,
        True,
        2**70,
        10**5000,
        "7",
        None,
    )
    flawed = [random.choice(numbers) for _ in range(random.choice((0, 1, 2, 3, 4, 4, 5)))]
    wrong = random.choice((
        flawed,
        [flawed, flawed],
        np.array([9, 9, 30, 30], random.choice(("u1", "f2", "f8", "M8[s]", "c8"))),
        array(random, shape(random)),
        tensor(random, shape(random)),
        random.choice(ODD),
    ))  # fmt: skip
    keys = (1, 1, 2, 7, 255, np.int64(3), *ODD[:12], "1", (1,))
    given = {random.choice(keys): random.choice((good, good, wrong)) for _ in range(2)}
    return {random.choice((0, 1, 5, *ODD[:9])): given} if kind == 1 else given


def door_prompts(random, folder):
    """Boxes and clicks of a session and of a video, with a prompter that may return anything."""
    del folder
    mask_found = np.zeros(SIZE, bool)
    mask_found[8:30, 8:30] = True
    answer = random.choice((None, None, array(random, shape(random, of=SIZE)), random.choice(ODD)))

    def prompter(frame, boxes, points, masks):
        del masks
        found = mask_found[: frame.shape[0], : frame.shape[1]] if answer is None else answer
        return dict.fromkeys({*boxes, *points}, found)

    def some():
        boxes = prompts(random, (8, 8, 30, 30)) if random.random() < 0.7 else None
        points = prompts(random, [(12, 12, True), (40, 40, False)])
        return {"boxes": boxes, "points": points if random.random() < 0.7 else None}

    good = np.full((*SIZE, 3), 90, np.uint8)
    direction = random.choice(("forward", "backward", "both"))
    yield lambda: segmenter().track([good] * 3, **some(), prompter=prompter, direction=direction)
    session = segmenter().start(prompter=prompter)
    yield lambda: session.step(good, **some())
    yield lambda: session.step(good, boxes={1: (8, 8, 30, 30)})
    yield random.choice((
        lambda: session.correct(**some()),
        lambda: session.add_objects(**some()),
        lambda: session.step(good, **some()),
    ))  # fmt: skip


def door_draw(random, folder):
    """Overlays."""
    del folder
    overlay(frame(random), array(random, shape(random, of=SIZE)))


def door_config(random, folder):
    """RMNetConfig with any value in one field."""
    del folder
    names = (
        "stem_width",
        "stage_widths",
        "key_width",
        "size",
        "mask_threshold",
        "read",
        "backbone",
    )
    value = random.choice((*ODD, (1, 2, 3), (2**40,) * 3, [4, 4, 4], (0, 0, 0)))
    config = RMNetConfig(**{random.choice(names): value})
    assert RMNetConfig.from_json(config.to_json()) == config


DOORS = (door_mask, door_session, door_track, door_prompts, door_draw, door_config)
