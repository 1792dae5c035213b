import numpy as np
import pytest

from rmnet.errors import ConfigError, MaskError, VideoError
from rmnet.io.label_folder import frame_name, read_label_folder, write_label_folder
from rmnet.io.label_png import read_label_png

NAMES = ["f2", "f10", "f11"]
MAPS = [np.full((4, 5), number, np.int32) for number in (1, 2, 3)]


def test_frames_without_names_are_numbered():
    assert [frame_name(index, None) for index in (0, 123456)] == ["00000", "123456"]
    assert frame_name(1, NAMES) == "f10"


def test_written_folder_is_read_back_by_name(tmp_path):
    paths = write_label_folder(tmp_path / "new" / "folder", NAMES, iter(MAPS))
    assert [path.name for path in paths] == ["f2.png", "f10.png", "f11.png"]
    read = read_label_folder(tmp_path / "new" / "folder", NAMES)
    assert list(read) == NAMES
    np.testing.assert_array_equal(np.stack([*read.values()]), np.stack(MAPS))


def test_frames_may_lack_a_map(tmp_path):
    write_label_folder(tmp_path, NAMES[1:2], MAPS[1:2])
    assert list(read_label_folder(tmp_path, NAMES)) == ["f10"]


def test_as_many_maps_as_frames_are_matched_in_natural_order(tmp_path):
    write_label_folder(tmp_path, ["9", "10", "11"], MAPS)
    read = read_label_folder(str(tmp_path), NAMES)
    assert {name: labels[0, 0] for name, labels in read.items()} == {"f2": 1, "f10": 2, "f11": 3}


def test_maps_of_other_frames_are_refused(tmp_path):
    write_label_folder(tmp_path, ["f2", "f3"], MAPS[:2])
    with pytest.raises(ConfigError, match=r"2 label maps for 3 frames, and 'f3' is not the name"):
        read_label_folder(tmp_path, NAMES)


def test_folder_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder '.*gone'; accepted: one of label"):
        read_label_folder(tmp_path / "gone", NAMES)
    with pytest.raises(VideoError, match="holds no images"):
        read_label_folder(tmp_path, NAMES)


def test_protected_files_are_not_overwritten(tmp_path):
    (tmp_path / "f10.png").write_bytes(b"a frame")
    with pytest.raises(ConfigError, match="the video's own images, which would be overwritten"):
        write_label_folder(tmp_path, NAMES, MAPS, protected=[tmp_path / "f10.png"])
    assert [path.name for path in tmp_path.iterdir()] == ["f10.png"]


def test_all_files_of_a_video_are_of_one_kind(tmp_path):
    write_label_folder(tmp_path, NAMES, MAPS, object_ids=(1, 300))
    assert read_label_png(tmp_path / "f2.png").dtype == np.uint16
    with pytest.raises(MaskError, match="object 255 cannot be saved"):
        write_label_folder(tmp_path, NAMES, MAPS, object_ids=(255,))
