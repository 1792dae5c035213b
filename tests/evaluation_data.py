"""Small data sets in the layouts of DAVIS and YouTube-VOS."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from rmnet.demo import make_clip
from rmnet.io.label_png import write_label_png

SIZE = (48, 80)
NUM_FRAMES = 6
IDS = np.array([0, 1, 3, 7], np.uint8)  # for make_clip's objects 1, 2, 3: sparse, as in real data


def make_frames(seed=0):
    """Return frames (T, H, W, 3) and true labels (T, H, W) with ids 1, 3 and 7."""
    clip = make_clip(seed, num_frames=NUM_FRAMES, size=SIZE)
    return np.stack(clip.frames), IDS[clip.labels]


def write_frames(folder, frames, names):
    folder.mkdir(parents=True)
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / f"{name}.jpg", quality=95)


def write_maps(folder, maps):
    folder.mkdir(parents=True)
    for name, labels in maps.items():
        write_label_png(folder / f"{name}.png", labels)


def davis_root(root, clips=("bee", "ant")):
    """Write a DAVIS data set; return its root and each clip's true labels (T, H, W)."""
    truth = {}
    names = [f"{t:05d}" for t in range(NUM_FRAMES)]
    for seed, clip in enumerate(clips):
        frames, truth[clip] = make_frames(seed)
        write_frames(root / "JPEGImages" / "480p" / clip, frames, names)
        write_maps(root / "Annotations" / "480p" / clip, dict(zip(names, truth[clip], strict=True)))
    for year in ("2016", "2017"):
        (root / "ImageSets" / year).mkdir(parents=True)
        (root / "ImageSets" / year / "val.txt").write_text("\n".join(clips) + "\n")
    return root, truth


def youtube_vos_root(root, *, public=False):
    """Write a YouTube-VOS data set of one video; return its root and the true labels by frame name.

    Images are named 00000, 00005, ... Object 7 first appears in the second frame. With `public`,
    only the frames in which an object first appears are annotated; otherwise all are.
    """
    frames, labels = make_frames()
    names = [f"{5 * t:05d}" for t in range(NUM_FRAMES)]
    labels[0][labels[0] == 7] = 0
    assert (labels[1] == 7).any()
    truth = dict(zip(names, labels, strict=True))
    folder = root / "valid"
    write_frames(folder / "JPEGImages" / "video", frames, names)
    shown = {name: truth[name] for name in names[:2]} if public else truth
    write_maps(folder / "Annotations" / "video", shown)
    objects = {
        "1": {"category": "dog", "frames": names},
        "3": {"category": "dog", "frames": names[:4]},
        "7": {"category": "ape", "frames": names[1:]},
    }
    (folder / "meta.json").write_text(json.dumps({"videos": {"video": {"objects": objects}}}))
    (root / "train").mkdir()
    seen = {"videos": {"other": {"objects": {"1": {"category": "dog", "frames": ["00000"]}}}}}
    (root / "train" / "meta.json").write_text(json.dumps(seen))
    return root, truth
