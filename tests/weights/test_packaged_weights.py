"""The weights inside the package: light, and good for something."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import rmnet
from rmnet import RMNetSegmenter
from rmnet.demo import make_clip, score
from rmnet.io.frame_source import open_frames
from rmnet.io.label_png import read_label_png
from rmnet.io.video_writer import VideoWriter
from rmnet.metrics import jaccard

FOLDER = Path(rmnet.__file__).parent / "pretrained" / "rmnet-small"


@pytest.fixture(scope="module")
def segmenter():
    return RMNetSegmenter.from_pretrained(device="cpu")


def test_they_are_small_and_stored_in_half_precision(segmenter):
    file = FOLDER / "model.safetensors"
    assert file.stat().st_size <= 25e6
    assert segmenter.num_parameters <= 12e6
    with safe_open(file, framework="pt") as tensors:
        dtypes = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118 no dict
    assert dtypes == {torch.float16, torch.int64}


def test_they_follow_the_objects_of_the_demo_clip(segmenter):
    clip = make_clip(num_frames=24, size=(180, 320))
    result = segmenter.track(clip.frames, clip.labels[0])
    scores = {one.object_id: one.jaccard for one in score(result.labels, clip.labels)}
    still = {one.object_id: one.jaccard for one in score(clip.labels[[0] * 24], clip.labels)}
    assert min(scores[1], scores[2]) > 0.7
    assert np.mean(list(scores.values())) > 2 * np.mean(list(still.values()))


def clip_of(data_root, name, frames):
    root = data_root / "davis480"
    images = sorted((root / "JPEGImages" / "480p" / name).iterdir())[:frames]
    masks = sorted((root / "Annotations" / "480p" / name).iterdir())[:frames]
    return images, masks


def mean_j(labels, masks, object_id=1):
    truth = [read_label_png(path) for path in masks]
    pairs = list(zip(labels, truth, strict=True))[1:]
    return np.mean([jaccard(a == object_id, b == object_id) for a, b in pairs])


def test_a_real_clip_is_tracked_far_better_than_by_repeating_its_first_mask(segmenter, data_root):
    images, masks = clip_of(data_root, "motorbike", 16)
    result = segmenter.track(images, masks[0])
    first = read_label_png(masks[0])
    assert result.labels.shape == (16, 480, 854)
    assert mean_j(result.labels, masks) > 1.3 * mean_j([first] * 16, masks)


def test_a_video_gives_what_its_images_do(segmenter, data_root, tmp_path):
    images, masks = clip_of(data_root, "bmx-trees", 8)
    with VideoWriter(tmp_path / "clip.mp4", frames_per_second=24) as writer:
        for frame in open_frames(images):
            writer.write(frame)
    still = segmenter.track(images, masks[0])
    moving = segmenter.track(tmp_path / "clip.mp4", masks[0])
    assert moving.object_ids == still.object_ids == (1, 2)
    assert moving.labels.shape == still.labels.shape == (8, 480, 854)
    assert moving[7].seconds == pytest.approx(7 / 24, abs=1e-3)
    for object_id in (1, 2):  # the same but for what the video's compression does to the pixels
        assert mean_j(moving.labels, masks, object_id) == pytest.approx(
            mean_j(still.labels, masks, object_id), abs=0.1
        )
