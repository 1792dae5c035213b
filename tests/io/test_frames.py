import numpy as np
import pytest
import torch
from PIL import Image

from rmnet.errors import FrameError
from rmnet.io.frames import as_frame

RGB = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)


def test_array_comes_back_as_it_is():
    np.testing.assert_array_equal(as_frame(RGB), RGB)


def test_array_view_of_any_strides_keeps_its_pixels():
    flipped = RGB[::-1, ::-2]
    np.testing.assert_array_equal(as_frame(flipped), flipped)


def test_tensor_is_read_channels_first():
    tensor = torch.arange(60, dtype=torch.uint8).reshape(3, 4, 5)
    frame = as_frame(tensor)
    assert frame.shape == (4, 5, 3)
    for y, x, channel in np.ndindex(frame.shape):
        assert frame[y, x, channel] == tensor[channel, y, x]


@pytest.mark.parametrize("width", [1, 3, 7])
def test_where_both_layouts_fit_arrays_are_hwc_and_tensors_chw(width):
    pixels = np.arange(9 * width, dtype=np.uint8).reshape(3, width, 3)
    np.testing.assert_array_equal(as_frame(pixels), pixels)
    tensor = torch.arange(27, dtype=torch.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(as_frame(tensor), tensor.numpy().transpose(1, 2, 0))


@pytest.mark.cuda
def test_tensor_on_the_device_is_fetched():
    tensor = torch.from_numpy(RGB).permute(2, 0, 1)
    np.testing.assert_array_equal(as_frame(tensor.cuda()), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "La", "RGBa", "CMYK"])
def test_pil_modes_of_8_bits_become_rgb(mode):
    frame = as_frame(Image.new(mode, (5, 4)))
    assert (frame.shape, frame.dtype) == ((4, 5, 3), np.uint8)


def test_pil_grey_is_repeated_and_colours_are_kept():
    grey = as_frame(Image.fromarray(RGB[..., 0]))
    np.testing.assert_array_equal(grey, np.stack([RGB[..., 0]] * 3, axis=-1))
    np.testing.assert_array_equal(as_frame(Image.fromarray(RGB)), RGB)


def test_pil_palette_with_transparency_becomes_rgb_without_a_warning(tmp_path):
    image = Image.new("P", (5, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    with Image.open(tmp_path / "p.png") as opened:
        assert as_frame(opened)[0, 0].tolist() == [10, 20, 30]


def test_frame_from_pil_is_writable_so_that_torch_takes_it():
    assert torch.from_numpy(as_frame(Image.fromarray(RGB))).shape == (4, 5, 3)


REFUSED = {
    "float array": (RGB / 255, r"float64.*255 \* frame.*astype\(np.uint8\)"),
    "float tensor": (torch.zeros(3, 4, 5), r"torch.float32.*255 \* frame.*torch.uint8"),
    "wide integers": (RGB.astype(np.int32), "int32"),
    "grey array": (RGB[..., 0], r"np.dstack\(\[gray\] \* 3\)"),
    "grey array with an axis": (RGB[..., :1], r"np.dstack\(\[gray\] \* 3\)"),
    "RGBA array": (np.zeros((4, 5, 4), np.uint8), r"frame\[..., :3\]"),
    "channels-first array": (RGB.transpose(2, 0, 1), r"frame.transpose\(1, 2, 0\)"),
    "channels-last tensor": (torch.from_numpy(RGB), r"frame.permute\(2, 0, 1\)"),
    "grey tensor": (torch.zeros(4, 5, dtype=torch.uint8), "gray.expand"),
    "RGBA tensor": (torch.zeros(4, 6, 5, dtype=torch.uint8), r"frame\[:3\]"),
    "batch": (RGB[None], r"one frame at a time"),
    "five axes": (RGB[None, None], r"shape \(1, 1, 4, 5, 3\)"),
    "no rows": (RGB[:0], "no pixels"),
    "no columns": (torch.zeros(3, 4, 0, dtype=torch.uint8), "no pixels"),
    "empty PIL image": (Image.new("RGB", (0, 4)), "no pixels"),
    "16-bit PIL image": (Image.new("I;16", (5, 4)), r"'I;16'.*8 bits.*// 256"),
    "32-bit PIL image": (Image.new("I", (5, 4)), "'I'.*8 bits"),
    "float PIL image": (Image.new("F", (5, 4)), "'F'.*8 bits"),
    "list": (RGB.tolist(), r"list; accepted.*np.array\(frame, np.uint8\)"),
    "number": (7, "int; accepted"),
    "nothing": (None, "NoneType; accepted"),
}


@pytest.mark.parametrize(("frame", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_frame_is_named_with_the_line_to_write(frame, message):
    with pytest.raises(FrameError, match=rf"frame 7 (is|has) .*{message}|frame 7 has {message}"):
        as_frame(frame, index=7)
    with pytest.raises(ValueError, match="the frame"):
        as_frame(frame)
