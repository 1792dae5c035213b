import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmnet.errors import ConfigError, FrameError, MaskError
from rmnet.io.draw import overlay
from rmnet.io.label_png import davis_palette

GREY = np.full((12, 16, 3), 100, np.uint8)


def slow_rim(labels, width):
    rim = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        for step in range(1, width + 1):
            for dy, dx in ((step, 0), (-step, 0), (0, step), (0, -step)):
                inside = 0 <= y + dy < labels.shape[0] and 0 <= x + dx < labels.shape[1]
                if labels[y, x] and inside and labels[y + dy, x + dx] != labels[y, x]:
                    rim[y, x] = True
    return rim


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_overlay_is_the_blend_of_palette_and_frame_with_an_opaque_rim(seed, alpha):
    random = np.random.default_rng(seed)
    frame = random.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    labels = random.integers(0, 3, (7, 9)) * random.integers(0, 2, (7, 9)) * 3
    got = overlay(frame, labels, alpha=alpha)
    rim, palette = slow_rim(labels, 1), davis_palette().astype(float)
    for y, x in np.ndindex(labels.shape):
        colour = palette[labels[y, x]]
        expected = frame[y, x].astype(float)
        if labels[y, x]:
            expected = colour if rim[y, x] else (1 - alpha) * expected + alpha * colour
        np.testing.assert_allclose(got[y, x], expected, atol=0.51)


def test_background_keeps_its_pixels_and_arguments_are_not_written():
    frame, labels = GREY.copy(), np.zeros((12, 16), np.int32)
    labels[2:5, 2:5] = 1
    picture = overlay(frame, labels, boxes={1: (1, 1, 9, 9)})
    assert (frame == GREY).all()
    assert labels.sum() == 9
    assert (picture[10:] == 100).all()


def test_lines_are_two_pixels_wide_on_large_frames():
    frame = np.zeros((720, 720, 3), np.uint8)
    labels = np.zeros((720, 720), np.int32)
    labels[100:110, 100:110] = 1
    rim = (overlay(frame, labels, alpha=0)[..., 0] == 128).sum()
    assert rim == 10 * 10 - 6 * 6


@pytest.mark.parametrize("object_id", [1, 128, 255, 256, 510, 512, 65535, 2**31 - 1])
def test_no_object_is_black_and_large_ids_wrap_round(object_id):
    labels = np.full((12, 16), object_id, np.int64)
    colour = overlay(GREY, labels, alpha=1)[0, 0]
    assert colour.any()
    wrapped = np.full((12, 16), 1 + (object_id - 1) % 255)
    assert (colour == overlay(GREY, wrapped, alpha=1)[0, 0]).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.int64])
def test_labels_of_every_integer_dtype_give_the_same_picture(dtype):
    labels = np.zeros((12, 16), dtype)
    labels[3:6] = 100
    np.testing.assert_array_equal(overlay(GREY, labels), overlay(GREY, labels.astype(np.int32)))


@pytest.mark.parametrize(
    "box", [(2, 3, 7, 9), (2, 3, 3, 4), (-4, -4, 5, 6), (10, 8, 40, 40), (0, 0, 16, 12)]
)
def test_box_is_the_outline_of_its_half_open_range(box):
    x0, y0, x1, y1 = box
    picture = overlay(GREY, np.zeros((12, 16), np.int32), boxes={1: box})
    for y, x in np.ndindex(12, 16):
        inside = x0 <= x < x1 and y0 <= y < y1
        on_edge = inside and (x in (x0, x1 - 1) or y in (y0, y1 - 1))
        assert (picture[y, x].tolist() == [128, 0, 0]) == on_edge


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 9, 2, 2), (-9, -9, -2, -2)])
def test_empty_box_and_box_outside_draw_nothing(box):
    picture = overlay(GREY, np.zeros((12, 16), np.int32), boxes={1: box})
    np.testing.assert_array_equal(picture, GREY)


def test_labels_of_another_size_are_refused():
    with pytest.raises(FrameError, match=r"frame 3 is \(12, 16\), its labels \(12, 15\); accepted"):
        overlay(GREY, np.zeros((12, 15), np.int32), index=3)


def test_labels_that_are_no_integers_are_refused():
    with pytest.raises(MaskError, match=r"bool.*astype"):
        overlay(GREY, np.zeros((12, 16), bool))
    with pytest.raises(MaskError, match="id -1"):
        overlay(GREY, np.full((12, 16), -1))


def test_opacity_outside_0_to_1_is_refused():
    with pytest.raises(ConfigError, match=r"alpha is 1.5; accepted: a number in \[0, 1\]"):
        overlay(GREY, np.zeros((12, 16), np.int32), alpha=1.5)


def test_frame_that_is_none_is_refused():
    with pytest.raises(FrameError, match="float64"):
        overlay(GREY / 255, np.zeros((12, 16), np.int32))
