"""Rows of the catalogue, and what they find at hand."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cached_property
from importlib.metadata import requires
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import tiny
from rmnet import RMNetSegmenter, TrackingSession
from rmnet.cli import main
from rmnet.io import VideoWriter, write_label_png

SEGMENTER = tiny.segmenter()
FRAMES, LABELS = tiny.clip(4)


class World:
    """An empty folder, a clip of four frames with objects 3 and 7, and a segmenter for it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.frames, self.labels = FRAMES.copy(), LABELS.copy()
        self.segmenter: RMNetSegmenter = SEGMENTER
        self.message: str | None = None

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Keep the message of the error that the block must raise."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 the row names the message
            yield
        self.message = str(caught.value)

    def advice(self, pattern: str) -> str:
        """Return what the group of a pattern finds in the message."""
        found = re.search(pattern, self.message or "")
        assert found, f"{pattern!r} is not in {self.message!r}"
        return found[1]

    def session(self) -> TrackingSession:
        """Return a session after its first frame."""
        session = self.segmenter.start()
        session.step(self.frames[0], self.labels)
        return session

    def enlarge(self, num_frames: int = 4) -> None:
        """Take a larger clip, in which the boxes and clicks of messages lie."""
        self.frames, self.labels = tiny.clip(num_frames, size=(192, 256))

    def cli(self, *argv: object) -> str:
        """Run the command line; return what it prints, or raise what it says."""
        output, error = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(error):
            try:
                code = main([str(argument) for argument in argv])
            except SystemExit as stop:
                code = stop.code
        if code:
            raise RuntimeError(error.getvalue())
        return output.getvalue()

    def track(self, *argv: object) -> str:
        """Run `rmnet track` on the CPU with small weights, masks going to `masks`."""
        options = ("-o", self.folder / "masks", "--weights", self.weights, "--device", "cpu")
        return self.cli("track", *argv, *options)

    @cached_property
    def weights(self) -> Path:
        """Return a folder of weights."""
        return self.segmenter.save_pretrained(self.folder / "weights")

    @cached_property
    def images(self) -> Path:
        """Return a folder of 00000.jpg to 00003.jpg."""
        folder = self.folder / "images"
        folder.mkdir()
        for index, frame in enumerate(self.frames):
            Image.fromarray(frame).save(folder / f"{index:05d}.jpg")
        return folder

    @cached_property
    def video(self) -> Path:
        """Return a video file, or skip the row without PyAV."""
        pytest.importorskip("av")
        with VideoWriter(self.folder / "clip.mp4", frames_per_second=25) as writer:
            for frame in self.frames:
                writer.write(frame)
        return self.folder / "clip.mp4"

    def without(self, package: str) -> None:
        """Make imports of a package fail, as if it were not installed."""
        for name in [name for name in sys.modules if name.split(".")[0] == package]:
            self.patch.delitem(sys.modules, name)
        self.patch.setitem(sys.modules, package, None)

    def assert_extra(self, extra: str, package: str) -> None:
        """Check that an extra of rmnet, which a message says to install, has a package."""
        marker = f'extra == "{extra}"'
        found = [one for one in requires("rmnet") or () if one.replace("'", '"').endswith(marker)]
        assert any(re.match(rf"{package}\b", one) for one in found)

    def mask(self, name: str = "first.png", labels: Any = None) -> Path:
        """Write a label PNG, by default that of the first frame."""
        path = self.folder / "given" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        write_label_png(path, self.labels if labels is None else np.asarray(labels))
        return path


def filling(
    frame: Any, boxes: Mapping[int, Any], points: Mapping[int, Any], masks: Mapping[int, Any]
) -> dict[int, Any]:
    """Fill boxes, and squares around clicks on the object, and cut those beside it: a prompter."""
    found = {}
    for i in {*boxes, *points}:
        mask = np.array(masks.get(i, np.zeros(frame.shape[:2], np.bool_)))
        if i in boxes:
            x0, y0, x1, y1 = (round(x) for x in boxes[i])
            mask[y0:y1, x0:x1] = True
        for x, y, inside in points.get(i, ()):
            mask[max(int(y) - 4, 0) : int(y) + 5, max(int(x) - 4, 0) : int(x) + 5] = inside
        found[i] = mask
    return found


class Row(NamedTuple):
    """A message and its remedy.

    Attributes:
        file: Module within src/rmnet that makes the message.
        text: The message, or a part of it that no other of this module has; `{}` for values.
        run: Provokes it inside of `world.refused()`, then does what it says.
    """

    file: str
    text: str
    run: Callable[[World], object]

    def matches(self, message: str) -> bool:
        """Whether the message is the row's, with values in it."""
        pattern = ".*".join(map(re.escape, self.text.split("{}")))
        return re.search(pattern, message, re.DOTALL) is not None


ROWS: list[Row] = []


def row(file: str, text: str) -> Callable[[Callable[[World], object]], None]:
    """Add a function to the catalogue."""

    def add(run: Callable[[World], object]) -> None:
        ROWS.append(Row(file, text, run))

    return add
