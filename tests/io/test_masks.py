import contextlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rmnet.errors import MaskError, OutputError
from rmnet.io.label_png import davis_palette, label_image, read_label_png, write_label_png
from rmnet.io.masks import ObjectMasks, parse_mask

LABELS = np.zeros((6, 8), np.uint8)
LABELS[0, :3], LABELS[2:4, 4:], LABELS[5] = 1, 7, 255
ONE = LABELS == 1
SEVEN = LABELS == 7


def check(objects: ObjectMasks, expected: dict[int, np.ndarray], void: np.ndarray) -> None:
    """Every field of the value, against masks written down by hand."""
    assert objects.object_ids == tuple(expected)
    assert all(type(i) is int for i in objects.object_ids)
    assert objects.masks.dtype == objects.void.dtype == torch.bool
    np.testing.assert_array_equal(objects.masks.numpy(), np.stack(list(expected.values())))
    np.testing.assert_array_equal(objects.void.numpy(), void)
    assert objects.size == void.shape


def palette_image(labels):
    image = Image.fromarray(labels)
    image.putpalette(list(range(256)) * 3)
    return image


# --- what is accepted --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("kind", ["array", "view", "tensor"])
def test_label_map_gives_its_ids_and_255_is_void(dtype, kind):
    mask = LABELS.astype(dtype)
    if kind == "view":
        mask = np.repeat(mask, 2, axis=1)[:, ::2]
    elif kind == "tensor":
        mask = torch.from_numpy(mask)
    check(parse_mask(mask), {1: ONE, 7: SEVEN}, LABELS == 255)


@pytest.mark.parametrize("mode", ["P", "PA", "L", "LA", "I;16", "I"])
def test_pil_label_map_gives_its_ids_in_every_mode(mode):
    if mode in ("P", "PA"):
        image = palette_image(LABELS).convert(mode)
    elif mode in ("L", "LA"):
        image = Image.fromarray(LABELS).convert(mode)
    else:
        image = Image.fromarray(LABELS.astype(np.uint16 if mode == "I;16" else np.int32))
    assert image.mode == mode
    check(parse_mask(image), {1: ONE, 7: SEVEN}, LABELS == 255)


@pytest.mark.parametrize("as_path", [str, Path])
def test_file_gives_its_ids(tmp_path, as_path):
    palette_image(LABELS).save(tmp_path / "mask.png")
    check(parse_mask(as_path(tmp_path / "mask.png")), {1: ONE, 7: SEVEN}, LABELS == 255)


@pytest.mark.parametrize("image", [Image.fromarray(ONE), np.asarray(Image.fromarray(ONE))])
def test_1_bit_image_gives_bool_that_torch_counts_right(image):
    masks = parse_mask(image).masks
    assert masks.sum() == masks.float().sum() == 3
    assert masks.view(torch.uint8).max() == 1


def test_binary_masks_are_object_1():
    nothing = np.zeros_like(ONE)
    for mask in (
        ONE,
        torch.from_numpy(ONE),
        ONE.astype(np.uint8) * 255,
        ONE.astype(np.int64) * 255,
        Image.fromarray(ONE),
        Image.fromarray(ONE.astype(np.uint8) * 255),
        Image.fromarray(ONE.astype(np.uint8) * 255).convert("LA"),
    ):
        check(parse_mask(mask), {1: ONE}, nothing)
    check(parse_mask(ONE, object_ids=[5]), {5: ONE}, nothing)


def test_255_in_a_palette_image_is_void_even_alone():
    with pytest.raises(MaskError, match=r"no object pixel.*255 \(void\).*Write \{1: mask\}"):
        parse_mask(palette_image(ONE.astype(np.uint8) * 255))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_255_is_an_object_where_object_ids_say_so(dtype):
    nothing = np.zeros_like(ONE)
    check(parse_mask(LABELS.astype(dtype), object_ids=[255]), {255: LABELS == 255}, nothing)


def test_object_ids_choose_from_a_label_map():
    check(parse_mask(LABELS, object_ids=[7]), {7: SEVEN}, LABELS == 255)
    check(parse_mask(LABELS, object_ids=np.array([7, 1])), {1: ONE, 7: SEVEN}, LABELS == 255)


def test_dict_and_stack_come_back_in_ascending_order():
    nothing = np.zeros_like(ONE)
    expected = {3: ONE, 300: SEVEN}
    check(parse_mask({300: SEVEN, 3: torch.from_numpy(ONE)}), expected, nothing)
    check(parse_mask({np.int64(300): SEVEN, 3: ONE}), expected, nothing)
    check(parse_mask(np.stack([SEVEN, ONE]), object_ids=(300, 3)), expected, nothing)
    check(parse_mask(torch.tensor(np.stack([ONE, SEVEN])), object_ids=[3, 300]), expected, nothing)


def test_parsed_masks_pass_through_and_are_checked_for_size():
    objects = parse_mask(LABELS)
    assert parse_mask(objects, size=(6, 8)) is objects
    with pytest.raises(MaskError, match="6 px high and 8 px wide"):
        parse_mask(objects, size=(6, 9))


def test_arguments_stay_apart_from_the_result():
    layers, labels = np.stack([ONE, SEVEN]), LABELS.copy()
    for mask, ids in ((layers, [1, 7]), (layers[0], None), (labels, None)):
        before = mask.copy()
        parse_mask(mask, object_ids=ids).masks.fill_(True)
        np.testing.assert_array_equal(mask, before)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.int32]))
def test_any_label_map_is_split_into_disjoint_objects_and_put_together_again(seed, dtype):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, 90, 254, 255], (5, 9)).astype(dtype)
    labels[0, 0] = 1
    objects = parse_mask(labels)
    assert objects.masks.sum(0).max() == 1
    joined = sum(i * mask for i, mask in zip(objects.object_ids, objects.masks.long(), strict=True))
    np.testing.assert_array_equal(joined, np.where(labels == 255, 0, labels))
    np.testing.assert_array_equal(objects.void.numpy(), labels == 255)


# --- what is refused ---------------------------------------------------------------------------

STACK = np.stack([ONE, SEVEN])
COLOURS = davis_palette()[LABELS]
REFUSED = {
    "RGB array": (COLOURS, {}, r"colours \(mode RGB\); accepted: one id a pixel.*np.unique"),
    "RGBA array": (
        np.dstack([COLOURS, ONE.view(np.uint8) * 255]),
        {},
        r"colours \(mode RGBA\).*mask\)\[..., 3\] > 127",
    ),
    "RGB image": (Image.fromarray(COLOURS), {}, r"colours \(mode RGB\).*np.unique"),
    "CMYK image": (Image.new("CMYK", (8, 6)), {}, r'mode CMYK.*mask.convert\("RGB"\)'),
    "black RGB": (np.zeros((6, 8, 3), np.uint8), {}, "no object pixel"),
    "float image": (Image.fromarray(LABELS / np.float32(9)), {}, r"float32; accepted.*> 0.5"),
    "float array": (ONE.astype(np.float32) / 2, {}, r"float32; accepted.*mask > 0.5"),
    "float tensor": (torch.full((6, 8), 0.5, dtype=torch.bfloat16), {}, r"float32.*mask > 0.5"),
    "float NaN": (np.full((6, 8), np.nan), {}, r"float64; accepted.*mask > 0.5"),
    "complex": (np.zeros((6, 8), complex), {}, "complex128; accepted"),
    "other size": (LABELS, {"size": (12, 16)}, r"6 px high and 8 px .*resize\(\(16, 12\).*NEAREST"),
    "turned": (LABELS, {"size": (8, 6)}, r"Write np.asarray\(mask\).T, if"),
    "other size, dict": ({1: ONE}, {"size": (6, 9)}, "8 px wide.*NEAREST"),
    "empty map": (np.zeros((6, 8), int), {}, "no object pixel.*accepted: at least one object"),
    "no rows": (np.zeros((0, 8), np.uint8), {}, "no object pixel"),
    "empty bool": (np.zeros((6, 8), bool), {}, "object 1 has no pixels"),
    "empty layer": ({1: ONE, 4: ~ONE & ONE}, {}, "object 4 has no pixels; accepted.*Leave it out"),
    "absent id": (LABELS, {"object_ids": [1, 3, 9]}, r"no pixels of object_ids \[3, 9\].*0, 1, 7"),
    "id 0": ({0: ONE}, {}, "0 is not an object id; accepted: integers from 1"),
    "negative id": (LABELS, {"object_ids": [-1]}, "-1 is not an object id"),
    "negative label": (-LABELS.astype(int), {}, "-255 is not an object id"),
    "huge label": (
        LABELS.astype(np.int64) << 40,
        {},
        "is not an object id; accepted: integers from 1 to 2147",
    ),
    "bool id": ({True: ONE}, {}, "True is not an object id"),
    "float id": ({1.0: ONE}, {}, r"1.0 is not an object id"),
    "text id": ({"1": ONE}, {}, "'1' is not an object id"),
    "no ids": ({}, {}, "no object ids; accepted: at least one"),
    "empty object_ids": (LABELS, {"object_ids": []}, "no object ids"),
    "same id twice": (STACK, {"object_ids": [4, 4]}, "object id 4 comes twice"),
    "too few ids": (STACK, {"object_ids": [4]}, r"2 layers came with 1 object_ids.*range\(1, 3\)"),
    "two ids for one": (ONE, {"object_ids": [1, 2]}, "1 layers came with 2 object_ids"),
    "stack without ids": (STACK, {}, r"without object_ids.*object_ids=range\(1, 3\)"),
    "stack of integers": (STACK.astype(int), {}, r"shape \(2, 6, 8\); accepted: bool layers"),
    "axis too many": (LABELS[None], {}, r"accepted: \(H, W\). Write mask\[0\]"),
    "axis too many, last": (LABELS[..., None], {}, r"Write mask\[..., 0\]"),
    "four axes": (np.zeros((1, 2, 6, 8), bool), {}, r"shape \(1, 2, 6, 8\); accepted"),
    "layers of two sizes": ({1: ONE, 2: SEVEN[:3]}, {}, "object 2 is 3 px high and 8"),
    "ids in a dict": ({2: LABELS}, {}, r"object 2 holds the values \[1, 7, 255\].*mask\) == 1"),
    "another id in a dict": ({2: ONE * 3}, {}, r"object 2 holds the values \[3\].*mask\) == 3"),
    "stack in a dict": ({2: STACK}, {}, r"object 2 is bool of shape \(2, 6, 8\); accepted: \(H, W"),
    "ids twice over": ({1: ONE}, {"object_ids": [1]}, "object_ids came with a dict.*Leave"),
    "overlap": (
        {2: ONE, 9: ONE | SEVEN},
        {},
        r"2 and 9 overlap in 3 pix.*overlap=\"first\", if object 2 is in front",
    ),
    "list": (LABELS.tolist(), {"size": (6, 8)}, r"list of lists.*np.asarray\(mask\)"),
    "list of lists of lists": ([LABELS.tolist()], {}, "the mask is a list; accepted: a PNG path"),
    "nothing": (None, {}, "the mask is a NoneType; accepted"),
}


@pytest.mark.parametrize(("mask", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_mask_is_named_with_the_line_to_write(mask, options, message):
    with pytest.raises(MaskError, match=message):
        parse_mask(mask, **options)


def test_overlap_in_a_stack_names_the_two_that_overlap():
    third = np.zeros_like(ONE)
    third[2, 4:6] = True
    with pytest.raises(MaskError, match="objects 7 and 8 overlap in 2 pixels"):
        parse_mask(np.stack([ONE, SEVEN, third]), object_ids=[1, 7, 8])


def test_noise_of_wide_integers_is_refused():
    random = np.random.default_rng(0)
    with pytest.raises(MaskError, match="levels above 0, most of which only line contours or lie"):
        parse_mask(random.integers(0, 2**31, (200, 300)))


def test_object_ids_let_a_suspicious_map_through():
    labels = np.random.default_rng(0).integers(0, 200, (80, 90))
    assert parse_mask(labels, object_ids=[3, 4]).object_ids == (3, 4)


def test_many_small_objects_are_not_taken_for_a_soft_mask():
    labels = np.zeros((240, 320), np.uint8)
    for number in range(60):
        y, x = divmod(number, 10)
        labels[40 * y : 40 * y + 4, 32 * x : 32 * x + 4] = number + 1
    assert parse_mask(labels).object_ids == tuple(range(1, 61))


# --- files -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 255, 256, 65536]),
    st.sampled_from([np.uint16, np.int32, np.int64]),
)
def test_written_labels_are_read_back(tmp_path_factory, seed, highest, dtype):
    labels = np.random.default_rng(seed).integers(0, highest, (5, 7)).astype(dtype)
    path = tmp_path_factory.mktemp("labels") / "00000.png"
    write_label_png(path, labels[::-1])
    np.testing.assert_array_equal(read_label_png(path), labels[::-1])
    with Image.open(path) as image:
        assert image.mode == ("P" if labels.max() < 256 else "I;16")
    assert os.listdir(path.parent) == ["00000.png"]  # noqa: PTH208 hidden files too


def test_palette_is_that_of_davis_and_no_other_colour_is_black():
    palette = davis_palette()
    assert (palette.shape, palette.dtype) == ((256, 3), np.uint8)
    assert len(np.unique(palette, axis=0)) == 256
    # Source: the first and the last colour of the VOC development kit.
    first = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert palette[:6].tolist() == first
    assert palette[255].tolist() == [224, 224, 192]


def test_written_file_shows_the_colours_of_davis(tmp_path):
    write_label_png(tmp_path / "m.png", np.arange(256).reshape(16, 16))
    colours = np.asarray(Image.open(tmp_path / "m.png").convert("RGB")).reshape(256, 3)
    np.testing.assert_array_equal(colours, davis_palette())


def test_label_image_is_what_the_file_holds():
    assert label_image(LABELS).mode == "P"
    np.testing.assert_array_equal(np.asarray(label_image(LABELS)), LABELS)


def test_davis_2016_files_are_read_as_0_and_1(tmp_path):
    binary = Image.fromarray(ONE.astype(np.uint8) * 255)
    for name, image in {"L": binary, "LA": binary.convert("LA"), "1": binary.convert("1")}.items():
        image.save(tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as file:
            assert file.mode == name
        labels = read_label_png(tmp_path / f"{name}.png")
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, ONE.astype(np.uint8))


def test_read_keeps_void_and_takes_an_empty_mask(tmp_path):
    write_label_png(tmp_path / "void.png", LABELS)
    np.testing.assert_array_equal(read_label_png(tmp_path / "void.png"), LABELS)
    Image.new("L", (8, 6)).save(tmp_path / "empty.png")
    assert not read_label_png(tmp_path / "empty.png").any()


def test_real_davis_files_are_read(data_root):
    annotations = data_root / "davis480" / "Annotations" / "480p"
    with Image.open(annotations / "bear" / "00077.png") as image:
        assert image.mode == "LA"
    assert parse_mask(annotations / "bear" / "00077.png", size=(480, 854)).object_ids == (1,)
    assert parse_mask(annotations / "bmx-trees" / "00000.png").object_ids == (1, 2)


@pytest.mark.parametrize("labels", [LABELS.astype(int) * 300, -LABELS.astype(int)])
def test_ids_that_no_png_holds_are_refused(tmp_path, labels):
    with pytest.raises(MaskError, match=r"a PNG takes 0 to 65535. Write COCO RLE .* or np.save"):
        write_label_png(tmp_path / "m.png", labels)


@pytest.mark.parametrize("labels", [LABELS / 2, ONE, LABELS[None], LABELS[:0]])
def test_what_is_no_label_map_is_not_written(tmp_path, labels):
    with pytest.raises(MaskError, match=r"accepted: integers \(H, W\). Write labels.astype"):
        write_label_png(tmp_path / "m.png", labels)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"sub/m.png' cannot be written: No such file or dir"):
        write_label_png(tmp_path / "sub" / "m.png", LABELS)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_label_png(tmp_path / "m.png", LABELS)

    def full(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space left"):
        write_label_png(tmp_path / "m.png", LABELS + 1)
    np.testing.assert_array_equal(read_label_png(tmp_path / "m.png"), LABELS)
    assert len(list(tmp_path.iterdir())) == 1


def test_written_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "other").write_bytes(b"")
    write_label_png(tmp_path / "m.png", LABELS)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(MaskError, match=r"the mask '.*nothing.png' does not exist"):
        parse_mask(tmp_path / "nothing.png")


@pytest.mark.parametrize("kind", ["text", "cut off", "folder", "empty"])
def test_unreadable_file_is_named(tmp_path, kind):
    path = tmp_path / "mask.png"
    if kind == "folder":
        path.mkdir()
    else:
        noise = np.random.default_rng(0).integers(0, 200, (60, 80), dtype=np.uint8)
        write_label_png(tmp_path / "whole.png", noise)
        whole = (tmp_path / "whole.png").read_bytes()
        path.write_bytes(
            {"text": b"hello", "cut off": whole[: len(whole) // 2], "empty": b""}[kind]
        )
    with pytest.raises(MaskError, match=r"the mask '.*mask.png' cannot be read: .*accepted"):
        parse_mask(path)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_damaged_file_gives_a_mask_error_or_a_mask(tmp_path_factory, seed):
    random = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("damaged") / "mask.png"
    write_label_png(path, LABELS)
    content = bytearray(path.read_bytes())
    for position in random.integers(8, len(content), 4):
        content[position] = random.integers(256)
    path.write_bytes(content)
    with contextlib.suppress(MaskError):
        parse_mask(path)


@pytest.mark.parametrize("limit", [30, 20])  # below 48 pixels: Pillow warns; below 24: it raises
@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_decompression_bomb_is_refused_naming_the_limit(tmp_path, monkeypatch, limit):
    write_label_png(tmp_path / "m.png", LABELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(MaskError, match=rf"too many pixels; accepted: at most {limit}"):
        parse_mask(tmp_path / "m.png")


def test_decompression_warning_as_an_error_is_refused_too(tmp_path, monkeypatch):
    write_label_png(tmp_path / "m.png", LABELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(MaskError, match="too many pixels"):
        parse_mask(tmp_path / "m.png")


def test_file_of_colours_is_refused_by_name(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "m.png")
    for read in (parse_mask, read_label_png):
        with pytest.raises(MaskError, match=r"m.png' is an image of colours \(mode RGB\)"):
            read(tmp_path / "m.png")
