"""Which frame a mask file is for, and masks that lie among the frames."""

import numpy as np
import pytest
from PIL import Image

import tiny
from rmnet.errors import MaskError
from rmnet.io import VideoWriter, parse_mask, write_label_png

FRAMES, LABELS = tiny.clip(4)
NAMES = ("00008", "00009", "00010", "00011")


@pytest.fixture(scope="module")
def segmenter():
    return tiny.segmenter()


@pytest.fixture
def folder(tmp_path):
    """A folder of JPEGs, and beside it a folder of masks."""
    for name, frame in zip(NAMES, FRAMES, strict=True):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(frame).save(tmp_path / "frames" / f"{name}.jpg")
    return tmp_path / "frames"


def mask(folder, name):
    (folder / "masks").mkdir(exist_ok=True)
    write_label_png(folder / "masks" / name, LABELS.astype(np.uint8))
    return folder / "masks" / name


def first_labelled(result):
    return next(frame.index for frame in result if frame.labels.any())


@pytest.mark.parametrize("as_type", [str, lambda path: path])
def test_a_first_mask_named_like_a_later_frame_is_refused(as_type, segmenter, folder, tmp_path):
    late = mask(tmp_path, "00010.png")
    with pytest.raises(
        MaskError, match="named like frame 2; accepted: the mask of frame 0"
    ) as told:
        segmenter.track(folder, as_type(late))
    for number, lines in ((2, f"masks={{2: {str(late)!r}}}"), (0, f"masks={{0: {str(late)!r}}}")):
        assert lines in str(told.value)
        assert first_labelled(segmenter.track(folder, masks={number: late})) == number


def test_the_remedy_for_a_mask_with_object_ids_keeps_them(segmenter, folder, tmp_path):
    late = mask(tmp_path, "00010.png")
    with pytest.raises(MaskError, match=r"masks=\{2: rmnet\.io\.parse_mask\('"):
        segmenter.track(folder, late, object_ids=[7])
    result = segmenter.track(folder, masks={2: parse_mask(str(late), object_ids=[7])})
    assert result.object_ids == (7,)


@pytest.mark.parametrize(
    "name", ["00008.png", "first.png", "mask.png", "8.png", "10.png", "00000.png", "00099.png"]
)
def test_other_names_are_masks_of_the_first_frame(name, segmenter, folder, tmp_path):
    assert first_labelled(segmenter.track(folder, mask(tmp_path, name))) == 0


def test_the_names_of_a_list_and_of_a_glob_count_too(segmenter, folder, tmp_path):
    late = mask(tmp_path, "00010.png")
    paths = sorted(folder.iterdir())
    for frames in (paths, str(folder / "*.jpg")):
        with pytest.raises(MaskError, match="named like frame 2"):
            segmenter.track(frames, late)
    # Here it is the first frame's.
    assert first_labelled(segmenter.track(paths[2:], late)) == 0


def test_frames_in_memory_have_no_names(segmenter, tmp_path):
    late = mask(tmp_path, "00002.png")
    for frames in (FRAMES, list(FRAMES), iter(FRAMES)):
        assert first_labelled(segmenter.track(frames, late)) == 0


def test_frames_of_a_video_count_as_named_like_their_masks(segmenter, tmp_path):
    pytest.importorskip("av")
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        for frame in FRAMES:
            writer.write(frame)
    with pytest.raises(MaskError, match="named like frame 2"):
        segmenter.track(tmp_path / "clip.mp4", mask(tmp_path, "00002.png"))
    for name in ("00000.png", "2.png", "mask.png", "00070.png"):  # it has no frame 70
        assert first_labelled(segmenter.track(tmp_path / "clip.mp4", mask(tmp_path, name))) == 0


@pytest.mark.parametrize("given", ["first_mask", "masks"])
def test_a_mask_among_the_frames_is_refused(given, segmenter, folder):
    path = folder / "mask.png"
    write_label_png(path, LABELS.astype(np.uint8))
    arguments = {"first_mask": path} if given == "first_mask" else {"masks": {1: str(path)}}
    images = str(folder / "*.jpg")
    with pytest.raises(MaskError, match="is also one of the frames") as told:
        segmenter.track(folder, **arguments)
    assert f"Write {images!r} for the frames" in str(told.value)
    assert len(segmenter.track(images, **arguments)) == len(FRAMES)


def test_the_glob_of_a_folder_with_brackets_is_escaped(segmenter, folder):
    folder = folder.rename(folder.with_name("clip [1080p]"))
    write_label_png(folder / "mask.png", LABELS.astype(np.uint8))
    with pytest.raises(MaskError) as told:
        segmenter.track(folder, folder / "mask.png")
    images = str(told.value).split("Write '")[1].split("' for")[0]
    assert len(segmenter.track(images, folder / "mask.png")) == len(FRAMES)


def test_a_mask_among_frames_of_its_own_kind_is_to_be_moved(segmenter, tmp_path):
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    write_label_png(tmp_path / "mask.png", LABELS.astype(np.uint8))
    with pytest.raises(MaskError, match=r"Move the mask to another folder"):
        segmenter.track(tmp_path, tmp_path / "mask.png")
    moved = mask(tmp_path, "mask.png")
    (tmp_path / "mask.png").unlink()
    assert len(segmenter.track(tmp_path, moved)) == len(FRAMES)
