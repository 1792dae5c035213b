"""Data folders, laid out as data sets are unpacked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from training.layouts import EXPECTED, LayoutError, read_folder
from training.pictures import MOST_PART, read_image
from training.sources import Sources
from training_tools import write_clip, write_folder, write_still


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_own_layout_has_packs_and_clips(tmp_path):
    write_folder(tmp_path)
    for root in (tmp_path, tmp_path / "train"):
        found = read_folder(root, side=None)
        assert {name: len(stills) for name, stills in found.packs.items()} == {"blobs": 4}
        assert set(found.videos) == {"ball", "bus"}
        assert len(found.videos["ball"].pictures) == 8


def test_users_own_clips_are_read_from_clips(tmp_path, rng):
    write_clip(tmp_path / "clips" / "dog", rng, objects=2)
    (tmp_path / "clips" / "dog" / "00003.png").unlink()  # a frame without a mask is left out
    found = read_folder(tmp_path, side=None)
    assert len(found.videos["dog"].pictures) == 7
    assert set(found.videos["dog"].pictures[0].areas) == {1, 2}


def test_webp_images_are_read_wherever_jpegs_are(tmp_path, rng):
    for folder in ("stills/cats", "clips/davis16-dog"):
        for number in range(3):
            path = tmp_path / "train" / folder / f"{number:05}.webp"
            write_still(path, rng, centres=[(60 + 8 * number, 70)])
    davis_root(tmp_path / "davis", rng, ("cow",))
    for path in (tmp_path / "davis").rglob("*.jpg"):
        Image.open(path).save(path.with_suffix(".webp"))
        path.unlink()
    found = read_folder(tmp_path, side=None)
    assert {name: len(stills) for name, stills in found.packs.items()} == {"cats": 3}
    # Named as in DAVIS, so that a held-out clip is held out in every copy.
    assert set(found.videos) == {"dog"}
    assert set(read_folder(tmp_path / "davis", side=None).videos) == {"cow"}


def test_ecssd_layout_is_read(tmp_path, rng):
    for number in range(3):
        mask = tmp_path / "ground_truth_mask" / f"{number:04}.png"
        image = tmp_path / "images" / f"{number:04}.jpg"
        write_still(image, rng, centres=[(70, 60)], mask=mask)
        as_grey(mask)
    stills = read_folder(tmp_path, side=None).packs[tmp_path.name]
    assert [set(still.areas) for still in stills] == [{1}] * 3


@pytest.mark.parametrize("folder", [".", "Imgs"])
def test_msra10k_layout_is_read(tmp_path, rng, folder):
    for number in range(3):
        path = tmp_path / folder / f"{number}.jpg"
        write_still(path, rng, centres=[(70, 60)])
        as_grey(path.with_suffix(".png"))
    stills = read_folder(tmp_path, side=None, max_stills=2).packs[tmp_path.name]
    assert [set(still.areas) for still in stills] == [{1}] * 2


def as_grey(path):
    """Rewrite a mask as in saliency data: 0..255, with grey edges."""
    mask = np.array(Image.open(path)) * 250
    mask[0, 0] = 60
    Image.fromarray(mask.astype(np.uint8)).save(path)


@pytest.mark.parametrize("images", ["train2017", "images"])
def test_coco_layout_is_read(tmp_path, rng, images):
    pytest.importorskip("pycocotools")
    name = "instances_train2017.json" if images == "train2017" else "instances.json"
    write_still(tmp_path / images / "7.jpg", rng, centres=[(70, 60)], mask=tmp_path / "unused.png")
    square = [20.0, 30.0, 60.0, 30.0, 60.0, 70.0, 20.0, 70.0]
    run_lengths = {"size": [128, 160], "counts": [128 * 100, 128 * 40, 128 * 20]}
    annotations = [
        {"image_id": 7, "segmentation": [square], "iscrowd": 0},
        {"image_id": 7, "segmentation": run_lengths, "iscrowd": 0},
        {"image_id": 7, "segmentation": run_lengths, "iscrowd": 1},
        {"image_id": 8, "segmentation": [square], "iscrowd": 0},  # no such image
    ]
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": 128, "width": 160} for i in (7, 8)],
        "annotations": annotations,
    }
    path = tmp_path / ("annotations" if images == "train2017" else ".") / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    (stills,) = read_folder(tmp_path, side=None).packs.values()
    assert len(stills) == 1
    assert stills[0].boxes == {1: (20, 30, 60, 70), 2: (100, 0, 140, 128)}


def davis_root(root, rng, clips, *, objects=1):
    """Write clips in DAVIS's layout: JPEGImages/480p and Annotations/480p."""
    for clip in clips:
        write_clip(root / "JPEGImages" / "480p" / clip, rng, objects=objects)
        for mask in (root / "JPEGImages" / "480p" / clip).glob("*.png"):
            target = root / "Annotations" / "480p" / clip / mask.name
            target.parent.mkdir(parents=True, exist_ok=True)
            mask.rename(target)


def test_davis_root_gives_its_train_split_with_all_objects(tmp_path, rng):
    davis_root(tmp_path, rng, ("dog", "cat", "cow"), objects=2)
    lists = tmp_path / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("dog\ncat\n")
    (lists / "val.txt").write_text("cow\n")
    found = read_folder(tmp_path, side=None)
    assert set(found.videos) == {"dog", "cat"}
    assert set(found.videos["dog"].pictures[3].areas) == {1, 2}


def test_validation_clips_are_never_trained_on(tmp_path, rng):
    davis_root(tmp_path, rng, ("cow",))
    (tmp_path / "ImageSets" / "2016").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2016" / "val.txt").write_text("cow\n")
    with pytest.raises(LayoutError, match="validation split"):
        read_folder(tmp_path, side=None)


def test_packaged_validation_data_is_refused(data_root):
    with pytest.raises(LayoutError, match="never trained on"):
        read_folder(data_root / "davis480", side=256)


@pytest.mark.parametrize("base", [".", "train"])
def test_youtube_vos_root_gives_the_frames_with_masks(tmp_path, rng, base):
    root = tmp_path / base
    for number in range(11):
        name = f"{number:05}"
        mask = root / "Annotations" / "0a1b" / f"{name}.png"
        image = root / "JPEGImages" / "0a1b" / f"{name}.jpg"
        write_still(image, rng, centres=[(44 + 2 * number, 60), (110, 60)], mask=mask)
        if number % 5:
            mask.unlink()
    video = read_folder(tmp_path, side=None).videos["0a1b"]
    assert (len(video.pictures), video.step) == (3, 5)
    assert set(video.pictures[0].areas) == {1, 2}


def test_empty_folder_error_lists_every_layout(tmp_path):
    with pytest.raises(LayoutError) as told:
        read_folder(tmp_path, side=None)
    assert str(tmp_path) in str(told.value)
    for word in ("ECSSD", "MSRA10K", "COCO", "DAVIS", "YouTube-VOS", "stills*"):
        assert word in EXPECTED
        assert word in str(told.value)


def test_large_images_are_shrunk_with_their_masks(tmp_path, rng):
    write_still(tmp_path / "0.jpg", rng, centres=[(70, 60)])
    whole, small = (read_folder(tmp_path, side=side) for side in (None, 64))
    ((before,), (after,)) = (next(iter(found.packs.values())) for found in (whole, small))
    assert after.image.shape == (3, 64, 80)
    assert after.areas[1] == pytest.approx(before.areas[1] / 4, rel=0.1)
    assert read_image(tmp_path / "0.jpg", 500).shape == (3, 128, 160)  # never enlarged


def test_folders_are_joined_and_objects_that_fill_the_picture_left_out(tmp_path, rng):
    write_folder(tmp_path / "a")
    write_clip(tmp_path / "b" / "clips" / "dog", rng)
    still = tmp_path / "c" / "0.jpg"
    write_still(still, rng, centres=[(70, 60)])
    Image.fromarray(np.full((128, 160), 255, np.uint8)).save(still.with_suffix(".png"))
    sources = Sources.read([tmp_path / name for name in "abc"], held_out=["bus"])
    assert MOST_PART < 1
    assert set(sources.films) == {"ball", "dog"}
    assert set(sources.packs) == {"blobs"}
    assert len(sources.backgrounds) == 5


def test_pictures_without_objects_are_an_error(tmp_path, rng):
    write_still(tmp_path / "0.jpg", rng, centres=[])
    with pytest.raises(LayoutError, match="no object that covers"):
        Sources.read([tmp_path])
