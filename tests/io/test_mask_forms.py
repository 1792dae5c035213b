"""Every form of mask that people bring, with the right value; and remedies that run."""

import io
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import fuzz_files
import rmnet.io
from rmnet.errors import MaskError, MissingDependencyError
from rmnet.export import encode_rle
from rmnet.io import open_frames, parse_mask, read_label_png, write_label_png
from rmnet.io.label_png import davis_palette
from rmnet.tracking import annotations_by_frame

SIZE = (40, 60)
ONE = np.zeros(SIZE, bool)
ONE[5:30, 10:37] = True
TWO = np.zeros(SIZE, bool)
TWO[20:38, 30:55] = True
LABELS = np.where(ONE, 1, np.where(TWO, 2, 0)).astype(np.uint8)
WHITE = ONE.astype(np.uint8) * 255
RGB = np.stack([WHITE] * 3, axis=2)
OPAQUE = np.full(SIZE, 255, np.uint8)


def is_one(mask, **options):
    parsed = parse_mask(mask, **options)
    assert parsed.object_ids == (1,)
    assert parsed.is_binary
    assert not parsed.void.any()
    np.testing.assert_array_equal(parsed.masks[0].numpy(), ONE)


def cut_out(colour, alpha=WHITE):
    return np.dstack([np.broadcast_to(np.uint8(colour), (*SIZE, 3)), alpha])


def jpeg(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=100, subsampling=0)
    return Image.open(buffer)


def blocks():
    """Return a mask of whole JPEG blocks, which stays clean."""
    mask = np.zeros((48, 64), bool)
    mask[8:32, 16:40] = True
    return mask


# --- binary masks --------------------------------------------------------------------------------

BINARY = {
    "RGB": RGB,
    "RGBA": np.dstack([RGB, OPAQUE]),
    "RGBA, transparent background": np.dstack([RGB, WHITE]),
    "white, object in alpha": cut_out((255, 255, 255)),
    "black, object in alpha": cut_out((0, 0, 0)),
    "red, object in alpha": cut_out((200, 30, 40)),
    "floats": ONE.astype(np.float64),
    "halves": torch.from_numpy(ONE).half(),
    "bfloat16": torch.from_numpy(ONE).to(torch.bfloat16),
    "float image": Image.fromarray(ONE.astype(np.float32)),
    "grey with alpha, object in alpha": Image.fromarray(np.dstack([OPAQUE, WHITE])),
    "compressed run lengths": encode_rle(ONE),
    "bytes": {**encode_rle(ONE), "counts": encode_rle(ONE)["counts"].encode()},
}


@pytest.mark.parametrize("mask", BINARY.values(), ids=BINARY)
def test_binary_mask_in_any_form_is_object_1(mask, tmp_path):
    is_one(mask, size=SIZE)
    named = parse_mask({7: mask}, size=SIZE)
    assert named.object_ids == (7,)
    np.testing.assert_array_equal(named.masks[0].numpy(), ONE)
    assert parse_mask(mask, object_ids=[5]).object_ids == (5,)
    if isinstance(mask, np.ndarray) and mask.dtype == np.uint8:
        Image.fromarray(mask).save(tmp_path / "mask.png")
        is_one(tmp_path / "mask.png")
        is_one(Image.fromarray(mask))
        np.testing.assert_array_equal(read_label_png(tmp_path / "mask.png"), ONE)


def test_clean_jpeg_is_binary_in_grey_and_in_colour(tmp_path):
    white = blocks().astype(np.uint8) * 255
    for pixels in (white, np.stack([white] * 3, axis=2)):
        jpeg(pixels).save(tmp_path / "mask.jpg", quality="keep")
        for mask in (jpeg(pixels), tmp_path / "mask.jpg"):
            np.testing.assert_array_equal(parse_mask(mask).masks[0].numpy(), blocks())


def test_stack_of_floats_is_layers():
    stack = np.stack([ONE, TWO & ~ONE]).astype(np.float32)
    parsed = parse_mask(stack, object_ids=[4, 9])
    np.testing.assert_array_equal(parsed.masks.numpy(), stack == 1)


def test_dict_takes_integers_of_one_value_in_each_layer():
    layers = {1: ONE.astype(int), 2: (TWO & ~ONE).astype(np.uint8) * 255}
    parsed = parse_mask({**layers, 9: (~ONE & ~TWO).astype(np.int64) * 9})
    np.testing.assert_array_equal(parsed.masks.numpy(), [ONE, TWO & ~ONE, ~ONE & ~TWO])


def test_black_image_is_an_empty_truth_and_no_first_mask(tmp_path):
    Image.new("RGB", (9, 7)).save(tmp_path / "black.png")
    assert not read_label_png(tmp_path / "black.png").any()
    with pytest.raises(MaskError, match="no object pixel"):
        parse_mask(tmp_path / "black.png")


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_become_ids_by_the_line_in_the_error(channels):
    labels = LABELS
    mask = np.dstack([davis_palette()[labels], OPAQUE])[..., :channels]
    with pytest.raises(MaskError, match=r"image of colours.*black the background") as refused:
        parse_mask(mask)
    parsed = parse_mask(eval(remedy(refused, ", if each"), {"np": np, "mask": mask}))
    assert parsed.object_ids == (1, 2)
    assert {m.sum().item() for m in parsed.masks} == {(labels == i).sum() for i in (1, 2)}


def test_cut_out_becomes_a_mask_by_the_line_in_the_error():
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    mask = Image.fromarray(np.dstack([photo, WHITE]))
    with pytest.raises(MaskError, match="what is not transparent") as refused:
        parse_mask(mask)
    is_one(eval(remedy(refused, ", if the"), {"np": np, "mask": mask}))


def test_grey_ids_in_three_channels_become_ids_by_the_line_in_the_error():
    mask = np.stack([LABELS] * 3, axis=2)
    with pytest.raises(MaskError, match="if the values are ids") as refused:
        parse_mask(mask)
    ids = eval(remedy(refused, ", if the"), {"np": np, "mask": mask})
    assert parse_mask(ids).object_ids == (1, 2)


def remedy(refused, end):
    return str(refused.value).rpartition("Write ")[2].partition(end)[0]


# --- COCO ----------------------------------------------------------------------------------------


def test_uncompressed_run_lengths_are_read():
    flat = ONE.T.ravel()
    changes = np.flatnonzero(np.diff(flat.astype(int)))
    counts = np.diff([0, *(changes + 1), flat.size]).tolist()
    is_one({"size": list(SIZE), "counts": counts})
    is_one({"size": np.array(SIZE), "counts": np.array(counts)})


def test_run_lengths_of_any_mask_are_read_back():
    rng = np.random.default_rng(0)
    for _ in range(30):
        mask = rng.random(rng.integers(1, 40, 2)) < rng.random()
        mask[0, 0] = True
        np.testing.assert_array_equal(parse_mask(encode_rle(mask)).masks[0].numpy(), mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 2], "counts": "1"}, "cover 1 pixels of 2 x 2"),
        ({"size": [2, 2], "counts": ""}, "cover 0 pixels"),
        ({"size": [2, 2], "counts": "o"}, "in the middle of a number"),
        ({"size": [2, 2], "counts": "\t"}, "hold the character"),
        ({"size": [2, 2], "counts": [5]}, "other than numbers of pixels"),
        ({"size": [2, 2], "counts": [5, -1]}, "other than numbers of pixels"),
        ({"size": [2, 2], "counts": 4}, "counts of int"),
        ({"size": [2], "counts": [4]}, "have the size"),
        ({"size": [2**20, 2**20], "counts": [2**40]}, "at most"),
        ({"counts": [4]}, "have the size None"),
    ],
)
def test_wrong_run_lengths_are_refused(rle, message):
    with pytest.raises(MaskError, match=message):
        parse_mask(rle)


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools with NumPy 2
def test_polygons_fill_as_in_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    polygons = [[10.5, 5.2, 36.8, 5, 36, 29.5, 11, 30], [40, 2, 50, 2, 45, 9]]
    expected = coco.decode(coco.merge(coco.frPyObjects(polygons, *SIZE))).astype(bool)
    for mask, ids in (
        (polygons, (1,)),
        ({3: polygons}, (3,)),
        ([tuple(p) for p in polygons], (1,)),
    ):
        parsed = parse_mask(mask, size=SIZE)
        assert parsed.object_ids == ids
        np.testing.assert_array_equal(parsed.masks[0].numpy(), expected)


def test_polygons_without_a_size_name_the_line_to_write():
    pytest.importorskip("pycocotools")
    polygons = [[10, 5, 37, 5, 37, 30, 10, 30]]
    with pytest.raises(MaskError, match="polygons, which have no size") as refused:
        parse_mask(polygons)
    names = {"rmnet": rmnet, "polygons": polygons, "height": 40, "width": 60}
    assert eval(str(refused.value).rpartition("Write ")[2], names).size == SIZE


@pytest.mark.parametrize(
    ("polygons", "message"),
    [
        ([[1, 2, 3, 4]], "a polygon has 4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon has 7 numbers"),
        ([[1, 2, 3, 4, 5, 1e9]], "far outside of the frame"),
        ([[1, 2, 3, 4, 5, float("nan")]], "far outside of the frame"),
        ([[1] * 60] * 40, r"np.asarray\(mask\)"),
    ],
)
def test_wrong_polygons_are_refused(polygons, message):
    with pytest.raises(MaskError, match=message):
        parse_mask(polygons, size=SIZE)


def test_missing_pycocotools_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'rmnet\[coco\]'"):
        parse_mask([[1, 1, 9, 1, 9, 9]], size=SIZE)
    is_one(BINARY["compressed run lengths"])


def test_annotation_of_coco_names_its_segmentation():
    with pytest.raises(MaskError, match=r'Write mask\["segmentation"\]'):
        parse_mask({"segmentation": encode_rle(ONE), "id": 4})


# --- overlap -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dict", "stack"])
def test_overlap_goes_to_the_first_or_the_last_layer(form):
    def parse(overlap):
        if form == "dict":
            return parse_mask({9: ONE, 4: TWO}, overlap=overlap)
        return parse_mask(np.stack([ONE, TWO]), object_ids=[9, 4], overlap=overlap)

    np.testing.assert_array_equal(parse("first").masks.numpy(), [TWO & ~ONE, ONE])
    np.testing.assert_array_equal(parse("last").masks.numpy(), [TWO, ONE & ~TWO])
    with pytest.raises(MaskError, match='overlap="first", if object 9 is in front'):
        parse("error")
    with pytest.raises(MaskError, match="overlap is 'top'; accepted"):
        parse("top")


def test_object_that_others_cover_is_refused():
    with pytest.raises(MaskError, match="object 2 has no pixels that another object does not cov"):
        parse_mask({1: ONE, 2: ONE}, overlap="first")
    parsed = parse_mask({1: ONE, 2: ONE}, overlap="first", allow_empty=True)
    assert parsed.masks.sum(dim=(1, 2)).tolist() == [ONE.sum(), 0]


def test_overlap_holds_for_the_masks_of_all_frames():
    source = open_frames(np.zeros((4, *ONE.shape, 3), np.uint8))
    both = {1: ONE, 2: TWO}
    given = annotations_by_frame(source, both, {3: both}, overlap="last")
    for annotation in given.values():
        np.testing.assert_array_equal(annotation.masks.masks[1].numpy(), TWO)


# --- palettes, void, EXIF ------------------------------------------------------------------------


def test_palette_whose_background_is_not_0_is_refused(tmp_path):
    image = Image.fromarray(1 - ONE.astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "m.png")
    for read, mask in ((parse_mask, image), *((f, tmp_path / "m.png") for f in DOORS)):
        with pytest.raises(MaskError, match=r"index 1 is black.*convert\(\"L\"\)"):
            read(mask)
    is_one(image.convert("L"))
    assert parse_mask(image, object_ids=[1]).masks.sum() == (~ONE).sum()


DOORS = (parse_mask, read_label_png)


def test_quantized_picture_is_refused_or_right():
    image = Image.fromarray(RGB).quantize(2)
    colours = np.reshape(image.getpalette()[:6], (2, 3))
    if colours[0].any():
        with pytest.raises(MaskError, match="palette image in which index 0"):
            parse_mask(image)
    else:
        np.testing.assert_array_equal(parse_mask(image).masks[0].numpy(), ONE)


def test_palettes_with_black_at_0_and_without_black_are_label_maps():
    labels = LABELS
    for colours in (
        [0, 0, 0, 255, 255, 255, 9, 99, 0],
        [255, 255, 255, 200, 0, 0, 0, 0, 200],
        [7, 9, 8, 0, 0, 0, 0, 99, 0],
    ):
        image = Image.fromarray(labels)
        image.putpalette(colours)
        assert parse_mask(image).object_ids == (1, 2)


def test_255_in_a_palette_becomes_an_object_that_can_be_saved(tmp_path):
    image = Image.fromarray(WHITE)
    image.putpalette(davis_palette().tobytes())
    path = tmp_path / "mask.png"
    image.save(path)
    with pytest.raises(MaskError, match=r"Write \{1: mask\}, if 255 is object 1, or") as refused:
        parse_mask(path)
    np.testing.assert_array_equal(parse_mask({1: path}).masks[0].numpy(), ONE)
    line = str(refused.value).rpartition("for a file ")[2]
    eval(line, {"Image": Image, "np": np, "path": path})
    np.testing.assert_array_equal(parse_mask(path).masks[0].numpy(), ONE)
    write_label_png(path, read_label_png(path), object_ids=(1,))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_255_is_an_id_in_maps_that_count_beyond_it(dtype, tmp_path):
    labels = np.zeros(SIZE, dtype)
    labels[:10], labels[10:20], labels[20:30] = 254, 255, 256
    masks = [labels]
    if dtype != np.int64:
        Image.fromarray(labels).save(
            tmp_path / "m.png" if dtype == np.uint16 else tmp_path / "m.tif"
        )
        masks.append(next(tmp_path.iterdir()))
    for mask in masks:
        parsed = parse_mask(mask)
        assert parsed.object_ids == (254, 255, 256)
        assert not parsed.void.any()
    parsed = parse_mask(np.minimum(labels, 255))
    assert parsed.object_ids == (254,)
    assert parsed.void.any()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16"])
def test_file_is_turned_by_its_exif_and_an_image_is_not(mode, tmp_path):
    upright = ONE.astype(np.uint8)
    turned = np.rot90(upright)  # orientation 6: rotate by 90 degrees clockwise to show
    if mode == "I;16":
        image = Image.fromarray(turned.astype(np.uint16))
    else:
        image = Image.fromarray(turned * (255 if mode == "RGB" else 1)).convert(
            "RGB" if mode == "RGB" else "L"
        )
    if mode == "P":
        image.putpalette(davis_palette().tobytes())
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "m.png"
    image.save(path, exif=exif)
    np.testing.assert_array_equal(parse_mask(path).masks[0].numpy(), ONE)
    np.testing.assert_array_equal(read_label_png(path), ONE)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(parse_mask(opened).masks[0].numpy(), turned > 0)


def test_warning_names_the_line_that_called():
    soft = np.asarray(Image.fromarray(WHITE).resize((90, 60), Image.Resampling.BILINEAR))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        annotations_by_frame(open_frames(np.zeros((1, 60, 90, 3), np.uint8)), soft, None)
        parse_mask(soft)
    assert [one.filename for one in caught] == [__file__, __file__]


def test_postscript_opened_by_the_caller_is_not_run():
    with Image.open(io.BytesIO(fuzz_files.POSTSCRIPT + b"%%EOF\n")) as image:
        assert image.format == "EPS"
        with pytest.raises(MaskError, match="the mask is PostScript"):
            parse_mask(image)
