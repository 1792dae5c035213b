"""Doors that resume work: a saved session, and a stopped `rmnet track`."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from argparse import Namespace
from copy import deepcopy
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file

import tiny
from fuzz_files import mutated
from fuzz_values import segmenter
from rmnet.cli.track_resume import FOLDER, Checkpoint
from rmnet.io.frame_source import open_frames
from rmnet.io.label_png import write_label_png
from rmnet.tracking.session_file import HEADER

NUM_FRAMES = 3
ODD = (
    None, True, -1, 0, 2, 2**31, 2**62, 10**4000, 1.5, float("nan"), "", "tiny", "x" * 9999,
    [], [[]], [None], [3], [3, 3], [2**40, 2**40], {}, {"a": 1},
)  # fmt: skip


@functools.cache
def session_seed():
    """Return a saved session: its bytes, header and tensors."""
    frames, labels = tiny.clip(NUM_FRAMES)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "session"
        session = segmenter().start(keep_probabilities=True)
        for t, frame in enumerate(frames):
            session.step(frame, labels if t == 0 else None)
        content = session.save(path).read_bytes()
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 no mapping
            header = json.loads(file.metadata()[HEADER].partition(" ")[2])
    return content, header, tensors


def changed(random, content):
    """Return the JSON value with one to three values replaced, at any depth."""
    content = json.loads(json.dumps(content))
    for _ in range(random.randrange(1, 4)):
        place = content
        while True:
            keys = [*place] if isinstance(place, dict) else [*range(len(place))]
            key = random.choice([*keys, "more"] if isinstance(place, dict) else keys)
            inside = place[key] if key in keys else None
            if not (isinstance(inside, dict | list) and inside and random.random() < 0.6):
                place[key] = deepcopy(random.choice(ODD))
                break
            place = inside
    return content


def door_session_file(random, folder):
    """RMNetSegmenter.load_session: a damaged file, or a changed header with a valid hash."""
    from rmnet.weights.hashes import tensors_sha256

    content, header, tensors = session_seed()
    path = folder / "session"
    if random.random() < 0.6:
        text = json.dumps(changed(random, header))
        digest = tensors_sha256(tensors, start=text.encode())
        save_file(tensors, path, metadata={HEADER: f"{digest} {text}"})
    else:
        path.write_bytes(mutated(random, content))
    session = segmenter().load_session(path)
    frames, _ = tiny.clip(1)
    yield lambda: session.step(frames[0])
    yield lambda: session.remove_objects(session.objects[:1])
    yield lambda: session.step(frames[0])


@functools.cache
def checkpoint_seed():
    """Write `out` and `first.png` of a stopped `rmnet track`; return their folder, read only."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-seed-"))
    frames, labels = tiny.clip(NUM_FRAMES)
    write_label_png(folder / "first.png", labels)
    session = segmenter().start()
    made = checkpoint(folder / "out", folder / "first.png")
    with made.recording():
        for t, frame in enumerate(frames):
            result = session.step(frame, labels if t == 0 else None)
            write_label_png(folder / "out" / f"{t}.png", result.labels.astype(np.int64))
            made.add(result, session)
    return folder


def checkpoint(folder, mask):
    """Make a checkpoint as the command does, except that the frames are not files."""
    args = Namespace(
        video=mask, masks=[(0, mask)], fps=None, object_ids=None, output=folder, overlay=None,
        rle=None, checkpoint=0, size=None, every=5, max_frames=40, flow="tiny", regional=False,
        box=[], point=[], direction="forward",
    )  # fmt: skip
    return Checkpoint(args, open_frames(tiny.clip(NUM_FRAMES)[0]), segmenter())


def door_checkpoint(random, folder):
    """A run to resume whose description, lines, mask or session is damaged."""
    folder = shutil.copytree(checkpoint_seed() / "out", folder / "out")
    place = folder / FOLDER
    name = random.choice(("run.json", "frames.jsonl", "frames.jsonl", "session.safetensors", "png"))
    path = folder / "1.png" if name == "png" else place / name
    if path.suffix in (".json", ".jsonl") and random.random() < 0.6:
        lines = path.read_text().splitlines()
        if name == "run.json":
            lines = [json.dumps(changed(random, json.loads("".join(lines))))]
        else:
            number = random.randrange(len(lines))
            lines[number] = json.dumps(changed(random, json.loads(lines[number])))
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_bytes(mutated(random, path.read_bytes()))
    run = checkpoint(folder, checkpoint_seed() / "first.png")
    run.load()
    with run.recording():
        for result in run.results(lambda index: folder / f"{index}.png"):
            yield result.to_rle
            yield lambda result=result: result.overlay(np.zeros((*result.labels.shape, 3), "uint8"))


DOORS = (door_session_file, door_checkpoint)


def make_seeds():
    """Make, once, the files that the doors damage."""
    session_seed()
    checkpoint_seed()
