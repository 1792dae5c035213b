"""Remedies of label maps and of masks in images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageCms, ImageDraw

from remedies.table import World, row
from rmnet.io import label_image, parse_mask, read_label_png

NAMES = {"np": np, "Image": Image}
COLOURED = "{} is an image of colours (mode {}); accepted: one id a pixel (mode P, L, I;16 or I)"
MODE = "{} is an image of mode {}; accepted: one id a pixel (mode P, L, I;16 or I), or white on"
NO_OBJECT = "{} has no object pixel, only 0 (background) or 255 (void); accepted: at least one"
FLOATS = "{} is {}; accepted: ids as integers, bool, or floats of 0 and 1 alone. Write"
PALETTE = "{} is a palette image in which index 0 has the colour {} and index {} is black"
SOFT = "or a soft mask of one white object. Write np.asarray(mask) > {} for one object, Image.N"


@row("io/label_map.py", "{} has no pixels of object_ids {}; accepted: ids that are in it, {}{}")
def _(w: World) -> None:
    with w.refused():
        parse_mask(w.labels, object_ids=[4])
    ids = [int(i) for i in w.advice("in it, (.*)").split(", ")]
    parse_mask(w.labels, object_ids=[i for i in ids if i])


@row("io/label_map.py", NO_OBJECT)
def _(w: World) -> None:
    path = w.folder / "mask.png"
    label_image(np.where(w.labels, 255, 0)).save(path)
    for mask in (path, Image.open(path)):
        with w.refused():
            parse_mask(mask)
        assert parse_mask(eval(w.advice("Write (.*), if"), {"mask": mask})).object_ids == (1,)
    eval(w.advice("or for a file (.*)"), {**NAMES, "path": path})
    assert parse_mask(path).object_ids == (1,)


@row("io/label_map.py", NO_OBJECT)
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, np.zeros_like(w.labels))
    assert w.advice("(Leave the mask out), if there is none")
    w.segmenter.track(w.frames, masks={1: w.labels})


def soft(labels: np.ndarray) -> Image.Image:
    image = Image.fromarray(labels.astype(np.uint8))
    return image.resize((image.width * 3, image.height * 3), Image.Resampling.BICUBIC)


@row("io/softness.py", SOFT)
def _(w: World) -> None:
    labels = (np.searchsorted([0, 3, 7], w.labels) * 90).astype(np.uint8)
    image = soft(labels)
    path = w.folder / "soft.png"
    image.save(path)
    for mask in (image, np.asarray(image), path):
        with w.refused():
            parse_mask(mask)
        ids = eval(w.advice(r"object_ids=(\[.*\]), if"))
        assert parse_mask(mask, object_ids=ids).object_ids == (90, 180)
        if mask is not path:
            line = w.advice(r"Write (.*) for one object")
            assert parse_mask(eval(line, {**NAMES, "mask": mask})).object_ids == (1,)
    assert w.advice("(Image.NEAREST) to resize a label map")
    resized = Image.fromarray(labels).resize(image.size, Image.Resampling.NEAREST)
    assert parse_mask(resized).object_ids == (90, 180)


@row("io/softness.py", SOFT)
def _(w: World) -> None:
    image = Image.new("L", (200, 200))
    ImageDraw.Draw(image).line((10, 20, 180, 150), 255, 2)
    mask = np.asarray(image.resize((50, 50), Image.Resampling.BOX))
    with w.refused():
        parse_mask(mask)
    assert parse_mask(eval(w.advice("Write (.*) for one object"), {**NAMES, "mask": mask}))
    parse_mask(mask, object_ids=eval(w.advice(r"object_ids=(\[.*\]), if")))


def coloured(w: World, background: int = 0) -> np.ndarray:
    """Return the first mask in colours, (H, W, 3)."""
    colours = np.array([[background] * 3, [128, 0, 0], [0, 128, 0]], np.uint8)
    return colours[np.searchsorted([0, 3, 7], w.labels)]


@row("io/mask_image.py", COLOURED)
def _(w: World) -> None:
    for mask in (coloured(w), Image.fromarray(coloured(w))):
        with w.refused():
            parse_mask(mask)
        ids = eval(w.advice("Write (.*), if each"), {**NAMES, "mask": mask})
        assert len(parse_mask(ids).object_ids) == 2


@row("io/mask_image.py", COLOURED)
def _(w: World) -> None:
    mask = np.dstack([w.frames[0], np.where(w.labels, 255, 0).astype(np.uint8)])
    with w.refused():
        parse_mask(mask)
    line = w.advice("Write (.*), if the object is what is not transparent")
    parsed = parse_mask(eval(line, {**NAMES, "mask": mask}))
    np.testing.assert_array_equal(parsed.masks[0], w.labels > 0)


@row("io/mask_image.py", COLOURED)
def _(w: World) -> None:
    mask = np.stack([w.labels.astype(np.uint8)] * 3, axis=2)
    with w.refused():
        parse_mask(mask)
    ids = eval(w.advice("Write (.*), if the values are ids"), {**NAMES, "mask": mask})
    assert parse_mask(ids).object_ids == (3, 7)


@row("io/mask_image.py", MODE)
def _(w: World) -> None:
    white = Image.fromarray(np.where(w.labels == 3, 255, 0).astype(np.uint8))
    rgb = white.convert("RGB")
    lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    images = {mode: rgb.convert(mode) for mode in ("CMYK", "YCbCr", "HSV", "RGBX")}
    images["LAB"] = ImageCms.applyTransform(rgb, lab)
    images["La"] = white.convert("LA").convert("La")
    images["RGBa"] = rgb.convert("RGBA").convert("RGBa")
    for mode, mask in images.items():
        assert mask.mode == mode
        with w.refused():
            parse_mask(mask)
        parsed = parse_mask(eval(w.advice("Write (.*), if"), {"mask": mask}))
        np.testing.assert_array_equal(parsed.masks[0], w.labels == 3)


@row("io/mask_image.py", FLOATS)
def _(w: World) -> None:
    probability = np.where(w.labels == 3, 0.9, 0.2).astype(np.float32)
    ids = w.labels.astype(np.float32)
    for of in (np.asarray, torch.from_numpy, Image.fromarray):
        with w.refused():
            parse_mask(of(probability))
        parsed = parse_mask(eval(w.advice("Write (.*?), if"), {**NAMES, "mask": of(probability)}))
        np.testing.assert_array_equal(parsed.masks[0], w.labels == 3)
        with w.refused():
            parse_mask(of(ids))
        line = w.advice("probabilities; (.*), if it holds ids")
        assert parse_mask(eval(line, {**NAMES, "mask": of(ids)})).object_ids == (3, 7)


@row("io/mask_image.py", PALETTE)
def _(w: World) -> None:
    mask = Image.fromarray((w.labels != 3).astype(np.uint8))
    mask.putpalette([255, 255, 255, 0, 0, 0])
    with w.refused():
        parse_mask(mask)
    parsed = parse_mask(eval(w.advice("Write (.*) of the PIL image"), {"mask": mask}))
    np.testing.assert_array_equal(parsed.masks[0], w.labels == 3)
    ids = eval(w.advice("or (np.*), if the indices are ids"), {**NAMES, "mask": mask})
    np.testing.assert_array_equal(parse_mask(ids).masks[0], w.labels != 3)


@row("io/mask_image.py", "{} is PostScript; accepted: images of pixels. Write mask.convert(")
def _(w: World) -> None:
    white = Image.fromarray(np.where(w.labels == 3, 255, 0).astype(np.uint8))
    white.save(w.folder / "mask.eps")
    if not EpsImagePlugin.has_ghostscript():  # which would draw the same picture
        w.patch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: white.convert("RGB").im)
    with Image.open(w.folder / "mask.eps") as mask:
        with w.refused():
            parse_mask(mask)
        parsed = parse_mask(eval(w.advice("Write (.*), which"), {**NAMES, "mask": mask}))
    np.testing.assert_array_equal(parsed.masks[0], w.labels == 3)


@row("io/mask_image.py", "{} cannot be decoded: {}; accepted: undamaged images")
def _(w: World) -> None:
    path = w.mask()
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"IDAT") + 20])
    with Image.open(path) as image, w.refused():
        parse_mask(image)
    path.write_bytes(content)
    parse_mask(read_label_png(path))


@row("io/label_png.py", "accepted: other ids. Write {{}: labels == {}} as its mask, before")
def _(w: World) -> None:
    pytest.importorskip("pycocotools")
    result = w.segmenter.track(w.frames, {255: w.labels == 3})
    with w.refused():
        result.save_masks(w.folder / "masks")
    eval(w.advice(r"or (result.to_rle\(\))"), {"result": result})
    mask = eval(w.advice("Write (.*) as its mask"), {"labels": result[0].labels})
    w.segmenter.track(w.frames, mask).save_masks(w.folder / "masks")
    assert read_label_png(w.folder / "masks" / "00000.png").max() == 1
