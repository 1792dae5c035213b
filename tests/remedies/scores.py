"""Remedies of `rmnet.evaluation`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from evaluation_data import davis_root, write_maps, youtube_vos_root
from remedies.table import World, row
from rmnet.evaluation import (
    Record,
    evaluate_sequence,
    open_davis,
    open_folders,
    open_youtube_vos,
    read_meta,
    run_benchmark,
    score_objects,
    summarise_davis,
)
from rmnet.io import read_label_png


def davis(w: World) -> Path:
    return davis_root(w.folder / "davis")[0]


def youtube_vos(w: World) -> Path:
    return youtube_vos_root(w.folder / "youtube")[0]


def only(results):
    """Return the error of the one clip, raised as a user reads it."""
    [result] = results
    if result.error is not None:
        raise RuntimeError(result.error)


def tracked(w: World, benchmark):
    """Track the clips with small weights into a new folder."""
    folder = w.folder / f"out{len(list(w.folder.iterdir()))}"
    record = Record(folder, benchmark, options={}, facts={})

    def track(images, masks):
        yield from w.segmenter.stream(images, masks=masks)

    only(run_benchmark(benchmark, track, record=record))


def maps(w: World, name: str, numbers=range(4), labels=None) -> Path:
    labels = w.labels if labels is None else labels
    write_maps(w.folder / name, {f"{number:05d}": labels for number in numbers})
    return w.folder / name


@row("evaluation/clip.py", "there are no clips; accepted: a data set with at least one")
def _(w: World) -> None:
    root = davis(w)
    (root / "ImageSets" / "2017" / "empty.txt").write_text("")
    with w.refused():
        open_davis(root, split="empty")
    open_davis(root)


@row("evaluation/clip.py", "there is no folder {}; accepted: {}")
def _(w: World) -> None:
    with w.refused():
        open_folders(w.folder / "nowhere", w.folder)
    truth = maps(w, "truth")
    open_folders(truth, truth)


@row("evaluation/clip.py", "a clip is called {}; accepted: names of folders, at most {} bytes")
def _(w: World) -> None:
    root = davis(w)
    for name in ("..", "bee"):
        (root / "ImageSets" / "2017" / "val.txt").write_text(name)
        if name == "bee":
            open_davis(root)
        else:
            with w.refused():
                open_davis(root)


@row("evaluation/clip.py", "there is no clip {}; accepted: {}")
def _(w: World) -> None:
    root = davis(w)
    with w.refused():
        open_davis(root, clips=["be"])
    open_davis(root, clips=w.advice("accepted: (.*)").split(", "))


@row("evaluation/davis.py", "got {} label maps for {} true ones; accepted: one for each frame")
def _(w: World) -> None:
    with w.refused():
        evaluate_sequence([w.labels] * 2, [w.labels] * 3)
    evaluate_sequence([w.labels] * 3, [w.labels] * 3)


@row("evaluation/davis.py", "Read masks of 0 and 255 with rmnet.io.read_label_png")
def _(w: World) -> None:
    binary = np.where(w.labels, 255, 0).astype(np.uint8)
    with w.refused():
        evaluate_sequence([binary] * 3, [binary] * 3)
    from PIL import Image

    Image.fromarray(binary).save(w.folder / "binary.png")
    read = read_label_png(w.folder / "binary.png")
    assert evaluate_sequence([read] * 3, [read] * 3).object_ids == (1,)


@row("evaluation/davis.py", "year is {}; accepted: 2016 or 2017. Write year=2017")
def _(w: World) -> None:
    root = davis(w)
    with w.refused():
        open_davis(root, year=2018)
    for year in (2016, 2017):
        open_davis(root, year=year)


@row("evaluation/davis.py", "the clip has no annotations; accepted: at least the first frame's PNG")
def _(w: World) -> None:
    root = davis(w)
    folder = root / "Annotations" / "480p" / "bee"
    folder.rename(w.folder / "kept")
    with w.refused():
        tracked(w, open_davis(root, clips=["bee"]))
    folder.mkdir()
    shutil.copy(w.folder / "kept" / "00000.png", folder)
    tracked(w, open_davis(root, clips=["bee"]))


@row("evaluation/davis.py", "accepted: one PNG per image, of the same name")
def _(w: World) -> None:
    root = davis(w)
    folder = root / "Annotations" / "480p" / "bee"
    (folder / "00003.png").rename(w.folder / "00003.png")
    with w.refused():
        tracked(w, open_davis(root, clips=["bee"]))
    (w.folder / "00003.png").rename(folder / "00003.png")
    tracked(w, open_davis(root, clips=["bee"]))


@row("evaluation/davis.py", "a file with one name of a clip per line. Write split=... (--split)")
def _(w: World) -> None:
    root = davis(w)
    with w.refused():
        open_davis(root, split="train")
    open_davis(root, split="val")
    Path(w.advice("'(.*?)' cannot be read")).write_text("bee\n")
    open_davis(root, split="train")


@row("evaluation/davis.py", "like the truth's first. Write labels.astype(np.int32)")
def _(w: World) -> None:
    labels = w.labels.astype(float)
    with w.refused():
        evaluate_sequence([labels] * 3, [w.labels] * 3)
    labels = eval(w.advice("Write (.*)"), {"labels": labels, "np": np})
    evaluate_sequence([labels] * 3, [w.labels] * 3)


@row("evaluation/record.py", "is from a run with other options: {}. Accepted: the same options")
def _(w: World) -> None:
    truth = maps(w, "truth")
    benchmark, out = open_folders(truth, truth), w.folder / "out"
    Record(out, benchmark, options={"size": 1}, facts={}).write()
    with w.refused():
        Record(out, benchmark, options={"size": 2}, facts={})
    Record(out, benchmark, options={"size": 1}, facts={})
    Record(w.folder / "other", benchmark, options={"size": 2}, facts={})
    (out / "results.json").unlink()
    Record(out, benchmark, options={"size": 2}, facts={})


@row("evaluation/record.py", "is not a record of an evaluation that can be resumed")
def _(w: World) -> None:
    truth = maps(w, "truth")
    benchmark, out = open_folders(truth, truth), w.folder / "out"
    out.mkdir()
    (out / "results.json").write_text("{}")
    with w.refused():
        Record(out, benchmark, options={}, facts={})
    Record(w.folder / "other", benchmark, options={}, facts={})
    (out / "results.json").unlink()
    Record(out, benchmark, options={}, facts={})


@row("evaluation/record.py", "{} holds files, but no results.json; accepted: a new or empty folder")
def _(w: World) -> None:
    truth = maps(w, "truth")
    benchmark = open_folders(truth, truth)
    with w.refused():
        Record(truth, benchmark, options={}, facts={})
    (w.folder / "empty").mkdir()
    for name in ("empty", "new"):
        Record(w.folder / name, benchmark, options={}, facts={}).write()
        Record(w.folder / name, benchmark, options={}, facts={})


@row("evaluation/runner.py", "the clip has no images; accepted: a folder of them")
def _(w: World) -> None:
    root = davis(w)
    folder = root / "JPEGImages" / "480p" / "bee"
    folder.rename(w.folder / "kept")
    with w.refused():
        tracked(w, open_davis(root, clips=["bee"]))
    (w.folder / "kept").rename(folder)
    tracked(w, open_davis(root, clips=["bee"]))


@row("evaluation/statistics.py", "there are no sequences to average; accepted: one or more")
def _(w: World) -> None:
    with w.refused():
        summarise_davis([])
    summarise_davis([evaluate_sequence([w.labels] * 3, [w.labels] * 3)])


@row("evaluation/youtube_vos.py", "no annotation shows the objects {}; accepted: each in a PNG")
def _(w: World) -> None:
    root = youtube_vos(w)
    meta = read_meta(root / "valid" / "meta.json")["video"]
    with w.refused():
        score_objects({}, {"00000": w.labels * 0}, meta)
    shown = np.arange(w.labels.size).reshape(w.labels.shape) % 8
    score_objects({}, {"00000": shown}, meta)


@row("evaluation/youtube_vos.py", "frame {} has no prediction; accepted: one per true map")
def _(w: World) -> None:
    root = youtube_vos(w)
    meta = read_meta(root / "valid" / "meta.json")["video"]
    folder = root / "valid" / "Annotations" / "video"
    truth = {path.stem: read_label_png(path) for path in folder.iterdir()}
    with w.refused():
        score_objects({}, truth, meta)
    score_objects(truth, truth, meta)


@row("evaluation/youtube_vos.py", "Write --unseen FILE, or unseen=...")
def _(w: World) -> None:
    root = youtube_vos(w)
    train = root / "train" / "meta.json"
    train.rename(w.folder / "meta.json")
    with w.refused():
        open_youtube_vos(root)
    (w.folder / "unseen.json").write_text('["ape"]')
    open_youtube_vos(root, unseen=w.folder / "unseen.json")
    (w.folder / "meta.json").rename(train)
    open_youtube_vos(root)


@row("evaluation/youtube_vos.py", "{} cannot be understood ({}); accepted: ")
def _(w: World) -> None:
    path = w.folder / "meta.json"
    path.write_text("[]")
    with w.refused():
        read_meta(path)
    example = w.advice("accepted: (.*)").replace("name:", '"name":').replace(", ...", "")
    path.write_text(example.replace('"category": ...', '"category": "ape"'))
    read_meta(path)


@row(
    "evaluation/youtube_vos.py",
    '{} cannot be read: {}; accepted: a JSON list such as ["ape", "box"]',
)
def _(w: World) -> None:
    root, file = youtube_vos(w), w.folder / "unseen.json"
    file.write_text("ape, box")
    with w.refused():
        open_youtube_vos(root, unseen=file)
    file.write_text(w.advice(r"such as (\[.*?\])"))
    assert json.loads(file.read_text()) == ["ape", "box"]
    open_youtube_vos(root, unseen=file)


@row("evaluation/youtube_vos.py", "which have no image; accepted: frames of JPEGImages")
def _(w: World) -> None:
    root = youtube_vos(w)
    images = root / "valid" / "JPEGImages" / "video"
    (images / "00025.jpg").rename(w.folder / "00025.jpg")
    with w.refused():
        tracked(w, open_youtube_vos(root))
    (w.folder / "00025.jpg").rename(images / "00025.jpg")
    tracked(w, open_youtube_vos(root))
