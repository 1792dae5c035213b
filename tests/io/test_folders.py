import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rmnet.errors import VideoError
from rmnet.io import open_frames


def save(folder, names, kind=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (8, 6), (20 * number,) * 3).save(folder / name, format=kind)
    return folder


def order_of(source):
    return [round(frame[0, 0, 0] / 20) for frame in source]


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("jfif", "JPEG"),
        ("jpe", "JPEG"),
        ("JPG", None),
        ("pnm", "PPM"),
        ("tiff", None),
        ("bmp", None),
    ],
)
def test_every_suffix_of_a_decoded_format_is_a_frame(tmp_path, suffix, kind):
    folder = save(tmp_path / "clip", [f"{number}.{suffix}" for number in range(3)], kind)
    opened = open_frames(folder)
    assert opened.names == ["0", "1", "2"]
    assert order_of(opened) == [0, 1, 2]


def test_pictures_that_are_left_out_are_named(tmp_path):
    folder = save(tmp_path / "clip", ["0.jpg", "1.jpg"])
    for name in ("2.heic", "3.AVIF", "4.jp2", "5.tga", "6.gif", "7.dng"):
        (folder / name).write_bytes(b"a picture")
    with pytest.warns(UserWarning, match=r"not read: 2.heic, 3.AVIF, 4.jp2, 5.tga and 2 more; acc"):
        opened = open_frames(folder)
    assert opened.names == ["0", "1"]


def test_other_files_of_a_folder_are_left_out_in_silence(tmp_path):
    folder = save(tmp_path / "clip", ["0.jpg", "1.jpg"])
    for name in ("notes.txt", "Thumbs.db", ".hidden.heic", ".2.jpg", "desktop.ini", "clip.mp4"):
        (folder / name).write_bytes(b"none")
    (folder / "masks").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_frames(folder).names == ["0", "1"]


def test_folder_of_other_pictures_alone_is_refused_by_their_names(tmp_path):
    folder = save(tmp_path / "clip", [])
    (folder / "0.heic").write_bytes(b"a picture")
    with pytest.raises(VideoError, match=r"holds no images; it holds 0.heic; accepted: .bmp"):
        open_frames(folder)


NAMES = ["clip [1080p]", "[x]", "a*b", "what?", "[", "]", "[!a]", "[[]", "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_advice_for_two_files_of_one_name_runs(tmp_path, name):
    folder = save(tmp_path / name, ["0.jpg", "1.jpg", "0.png", "1.png"])
    with pytest.raises(VideoError, match="holds both") as caught:
        open_frames(folder)
    pattern = ast.literal_eval(str(caught.value).partition("Write ")[2])
    assert sorted(open_frames(pattern).paths) == [folder / "0.jpg", folder / "1.jpg"]


@pytest.mark.parametrize("name", NAMES)
def test_globs_in_any_folder_match_as_written(tmp_path, name):
    folder = save(tmp_path / name / "sub", ["9.png", "10.png", "x.jpg"])
    for pattern in (f"{folder}/*.png", f"{folder.parent}/*/*.png", f"{folder.parent}/**/*.png"):
        assert order_of(open_frames(pattern)) == [0, 1]
    assert order_of(open_frames(f"{folder}/[0-9]*.png")) == [0, 1]
    assert order_of(open_frames(f"{folder}/?.png")) == [0]


def test_brackets_in_names_of_files_are_found(tmp_path):
    folder = save(tmp_path, ["shot [1]_0.png", "shot [1]_1.png", "shot 1_9.png"])
    assert order_of(open_frames(f"{folder}/shot [1]_*.png")) == [0, 1]
    assert order_of(open_frames(folder / "shot [1]_1.png")) == [1]
    assert order_of(open_frames(f"{folder}/shot [12]_*.png")) == [2]


def test_paths_of_other_classes_are_paths(tmp_path):
    class Named:
        def __fspath__(self):
            return str(tmp_path)

    save(tmp_path, ["0.png", "1.png"])
    assert order_of(open_frames(Named())) == [0, 1]
    assert order_of(open_frames([*tmp_path.iterdir()][:1])) in ([0], [1])


@pytest.mark.parametrize("in_file", [True, False])
def test_files_are_turned_by_exif_and_images_in_memory_are_not(tmp_path, in_file):
    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = Path(tmp_path / "0.png")
    Image.fromarray(frame).save(path, exif=exif)
    with Image.open(path) as image:
        sources = [path, [path], path.read_bytes(), iter([path])] if in_file else [[image]]
        for source in sources:
            (found,) = open_frames(source)
            np.testing.assert_array_equal(found, np.rot90(frame, -1) if in_file else frame)
