"""Remedies of the intake of masks in `rmnet.io`."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

import rmnet.io
from remedies.table import World, row
from rmnet.io import parse_mask


def accepted_masks(w: World) -> None:
    """Parse each form of a mask that messages call accepted."""
    labels, layers = w.labels, {i: w.labels == i for i in (3, 7)}
    for mask in (w.mask(), Image.open(w.mask()), labels, torch.from_numpy(labels), layers):
        assert parse_mask(mask).object_ids == (3, 7)
    assert parse_mask(labels == 3).object_ids == (1,)
    run_lengths = {"size": [*labels.shape], "counts": [0, labels.size]}
    assert parse_mask(run_lengths).masks.all()
    parse_mask(np.stack(list(layers.values())), object_ids=[3, 7])


NAMES = {"np": np, "Image": Image, "rmnet": rmnet}


@row(
    "io/masks.py", "object_ids came with a {}, which names its own; accepted: one of the two. Leave"
)
def _(w: World) -> None:
    masks = {3: w.labels == 3}
    with w.refused():
        parse_mask(masks, object_ids=[3])
    parse_mask(masks)


@row("io/masks.py", "the mask has no pixels to read: {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        parse_mask(torch.zeros(4, 4, dtype=torch.uint8, device="meta"))
    accepted_masks(w)


@row("io/masks.py", "object_ids is {}; accepted: ids, such as [1, 2]")
def _(w: World) -> None:
    layers = np.stack([w.labels == 3, w.labels == 7])
    with w.refused():
        parse_mask(layers, object_ids=2)
    parse_mask(layers, object_ids=eval(w.advice("such as (.*)")))


@row("io/masks.py", "{} is not an object id; accepted: integers from 1 to {}; 0 is background")
def _(w: World) -> None:
    with w.refused():
        parse_mask({0: w.labels == 3})
    for object_id in w.advice("integers from (.*);").split(" to "):
        parse_mask({int(object_id): w.labels == 3})


@row("io/masks.py", "there are no object ids; accepted: at least one object")
def _(w: World) -> None:
    with w.refused():
        parse_mask({})
    parse_mask({3: w.labels == 3})


@row("io/masks.py", "the object id {} comes twice; accepted: each id once")
def _(w: World) -> None:
    layers = np.stack([w.labels == 3, w.labels == 7])
    with w.refused():
        parse_mask(layers, object_ids=[3, 3])
    parse_mask(layers, object_ids=[3, 7])


@row(
    "io/masks.py",
    "without object_ids; accepted: with the id of each layer. Write object_ids=range(",
)
def _(w: World) -> None:
    layers = np.stack([w.labels == 3, w.labels == 7])
    with w.refused():
        parse_mask(layers)
    parse_mask(layers, object_ids=eval(w.advice(r"Write object_ids=(.*?\))")))


@row(
    "io/masks.py",
    "the mask is {} px high and {} px wide; accepted: the {} by {} of the frame. Write",
)
def _(w: World) -> None:
    size = w.labels.shape
    for mask in (w.labels.T, Image.fromarray(w.labels.T.astype(np.uint8))):
        with w.refused():
            parse_mask(mask, size=size)
        parsed = parse_mask(eval(w.advice("Write (.*), if"), {**NAMES, "mask": mask}), size=size)
        assert parsed.object_ids == (3, 7)
        line = w.advice("else (.*)")
        assert parse_mask(eval(line, {**NAMES, "mask": mask}), size=size).object_ids == (3, 7)


@row(
    "io/masks.py",
    "the mask is {} px high and {} px wide; accepted: the {} by {} of the frame. Write",
)
def _(w: World) -> None:
    size, small = w.labels.shape, w.labels[::2, ::2].copy()
    layers = {i: small == i for i in (3, 7)}
    path = w.mask(labels=small)
    stack = np.stack(list(layers.values()))
    for mask, ids in (
        *((form, None) for form in (small, small.astype(np.int64), torch.from_numpy(small))),
        *((form, None) for form in (path, str(path), Image.open(path), layers)),
        (parse_mask(layers), None),
        (stack, [3, 7]),
    ):
        with w.refused():
            parse_mask(mask, object_ids=ids, size=size)
        names = {**NAMES, "mask": mask, "object_ids": ids}
        parsed = parse_mask(eval(w.advice("Write (.*)"), names), size=size)
        assert parsed.object_ids == (3, 7)
    white = np.where(small, 255, 0).astype(np.uint8)
    Image.fromarray(white).convert("RGB").save(w.folder / "white.png")
    rle = {"size": [2, 2], "counts": [1, 3]}
    for mask in (small > 0, white, np.stack([white] * 3, axis=2), w.folder / "white.png", rle):
        with w.refused():
            parse_mask(mask, size=size)
        line = w.advice("Write (.*)")
        assert parse_mask(eval(line, {**NAMES, "mask": mask}), size=size).object_ids == (1,)


@row("io/masks.py", "the mask is an annotation of COCO; accepted: its segmentation. Write")
def _(w: World) -> None:
    mask = {"id": 900100, "segmentation": {"size": [4, 2], "counts": [2, 6]}, "iscrowd": 0}
    with w.refused():
        parse_mask(mask)
    for line in (w.advice("Write (.*), or"), w.advice("or (.*) to choose")):
        assert parse_mask(eval(line, {"mask": mask})).masks.sum() == 6


@row("io/masks.py", "the mask is a {}; accepted: ")
def _(w: World) -> None:
    with w.refused():
        parse_mask(3.14)
    accepted_masks(w)


@row("io/masks.py", "the mask is {}; accepted: a PNG path")
def _(w: World) -> None:
    with w.refused():
        parse_mask(w.labels.astype(str))
    accepted_masks(w)


@row("io/masks.py", "accepted: (H, W). Write mask.any(axis={}), if its layers are parts of the")
def _(w: World) -> None:
    parts = np.stack([w.labels == 3, w.labels == 7])
    for mask in (parts, torch.from_numpy(parts), parts.transpose(1, 2, 0), parts[:1]):
        with w.refused():
            parse_mask({5: mask})
        parsed = parse_mask({5: eval(w.advice("Write (.*), if"), {"mask": mask})})
        assert parsed.size == w.labels.shape


@row("io/masks.py", "the mask of object {} holds the values {}; accepted: 0 outside and one of 1,")
def _(w: World) -> None:
    for mask in (w.labels, torch.from_numpy(w.labels), Image.open(w.mask())):
        with w.refused():
            parse_mask({1: mask})
        for pattern, ids in (("Write (.*) for a single", (3,)), ("or (np.*) for all", (3, 7))):
            line = eval(w.advice(pattern), {**NAMES, "mask": mask})
            expected = np.isin(w.labels, ids)
            np.testing.assert_array_equal(parse_mask({1: line}).masks[0], expected)


@row("io/masks.py", "the mask is {} of shape {}; {}")
def _(w: World) -> None:
    labels = w.labels
    layers = np.stack([labels == 3, labels == 7]).astype(np.uint8)
    for mask, pattern in (
        (labels[None], "Write (.*)"),
        (labels[..., None], "Write (.*)"),
        (layers, "Write (mask > 0) with object_ids"),
    ):
        with w.refused():
            parse_mask(mask)
        read = eval(w.advice(pattern), {"mask": mask})
        parse_mask(read, object_ids=[3, 7])


@row("io/masks.py", "the mask is {} of shape {}; {}")
def _(w: World) -> None:
    with w.refused():
        parse_mask(np.zeros((1, 2, 3, 4), np.uint8))
    accepted_masks(w)


@row("io/masks.py", "Write object_ids=np.unique(mask)[1:{}] for fewer, or give smaller frames")
def _(w: World) -> None:
    w.patch.setattr("rmnet.io.masks._MAX_PIXELS", w.labels.size)
    for mask in (w.labels, Image.open(w.mask())):
        with w.refused():
            parse_mask(mask)
        ids = eval(w.advice("Write object_ids=(.*) for fewer"), {"np": np, "mask": mask})
        assert parse_mask(mask, object_ids=ids).object_ids == (3,)
    parse_mask(w.labels[::2, ::2])


@row(
    "io/mask_layers.py", "as many ids as layers. Write object_ids=range(1, {}), if any ids will do"
)
def _(w: World) -> None:
    layers = np.stack([w.labels == 3, w.labels == 7])
    with w.refused():
        parse_mask(layers, object_ids=[3])
    parse_mask(layers, object_ids=eval(w.advice(r"Write object_ids=(.*?\))")))


@row("io/mask_layers.py", "px wide, that of object {} {} by {}; accepted: one size. Write")
def _(w: World) -> None:
    masks = {3: w.labels == 3, 7: (w.labels == 7)[::2, ::2]}
    with w.refused():
        parse_mask(masks)
    smaller = int(w.advice(r"Image.NEAREST\) for that of object (\d+)"))
    mask = masks[smaller]
    masks[smaller] = eval(w.advice("Write (.*) for that"), {**NAMES, "mask": mask})
    assert parse_mask(masks).size == w.labels.shape


@row("io/mask_layers.py", "object {} has no pixels{}; accepted: at least one. Leave it out")
def _(w: World) -> None:
    for masks, overlap in (
        ({3: w.labels == 3, 4: w.labels == 4}, "error"),
        ({3: w.labels == 3, 4: w.labels == 3}, "first"),
    ):
        with w.refused():
            parse_mask(masks, overlap=overlap)
        del masks[int(w.advice(r"object (\d+) has"))]
        assert parse_mask(masks, overlap=overlap).object_ids == (3,)


@row("io/mask_layers.py", "objects {} and {} overlap in {} pixels; accepted: each pixel one object")
def _(w: World) -> None:
    both = np.roll(w.labels == 3, 3, axis=1)
    masks = {i: (w.labels == i) | both for i in (3, 7)}
    with w.refused():
        w.segmenter.track(w.frames, masks)
    for pattern in (r"Write overlap=(.*), if object 3 is", r"overlap=(\"\w+\"), if object 7 is"):
        w.segmenter.track(w.frames, masks, overlap=eval(w.advice(pattern)))
    first = eval(w.advice("or (rmnet.*) for a session"), {"rmnet": rmnet, "mask": masks})
    assert w.segmenter.start().step(w.frames[0], first).object_ids == (3, 7)


@row(
    "io/mask_layers.py",
    'overlap is {}; accepted: "error", "first" or "last". Write overlap="first"',
)
def _(w: World) -> None:
    masks = {3: w.labels == 3, 7: w.labels > 0}
    with w.refused():
        parse_mask(masks, overlap="front")
    parse_mask(masks, overlap=eval(w.advice('Write overlap=("first")')))
    parse_mask({3: w.labels == 3}, overlap="error")
    parse_mask(masks, overlap="last", allow_empty=True)
