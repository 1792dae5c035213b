"""What `rmnet track` writes: masks, overlay, run lengths, and a summary."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from rmnet.errors import ConfigError
from rmnet.io import FrameSource, VideoWriter, frame_name, write_label_png, written_whole
from rmnet.results import FrameSegmentation

_LISTED = 4  # spans of frames in a line of the summary


class TrackOutput:
    """Writes results one by one into an existing folder.

    `files` finishes overlay and run lengths, or discards them after an exception.
    """

    def __init__(self, args: argparse.Namespace, source: FrameSource, files: ExitStack) -> None:
        self.num_frames = 0  # those of an earlier run included
        self._args, self._names = args, source.names
        self._ids: set[int] = set()
        self._notes: dict[str, list[list[int]]] = {}  # first and last frame of spans, by topic
        self._video: VideoWriter | None = None
        self._rows: TextIO | None = None
        if args.overlay is not None:
            video = VideoWriter(
                args.overlay,
                frames_per_second=source.frames_per_second,
                pixel_aspect=source.pixel_aspect,
            )
            self._video = files.enter_context(video)
        if args.rle is not None:
            self._rows = files.enter_context(_json_list(args.rle))

    def mask_path(self, index: int) -> Path:
        """Return the file of a frame's mask."""
        return self._args.output / f"{frame_name(index, self._names)}.png"

    def write(self, result: FrameSegmentation) -> None:
        """Write a result that holds its frame, unless that was skipped."""
        ids = self._ids.union(result.object_ids)
        write_label_png(self.mask_path(result.index), result.labels, object_ids=ids)
        self.write_past(result)

    def write_past(self, result: FrameSegmentation) -> None:
        """Write a result of an earlier run, whose mask is already there."""
        index = result.index
        self._ids.update(result.object_ids)
        if self._video is not None and result.frame is not None:  # else the last one stays longer
            picture = result.overlay(show_regions=self._args.show_regions)
            self._video.write(picture, result.seconds)
        if self._rows is not None:
            row = {"frame": index, "name": frame_name(index, self._names)}
            row |= {"seconds": result.seconds, "objects": result.to_rle()}
            row |= {} if result.skipped is None else {"skipped": result.skipped}
            self._rows.write(("\n" if self.num_frames == 0 else ",\n") + json.dumps(row))
        self.num_frames += 1
        if result.skipped is not None:
            self._note("skipped as unreadable", index)
        for object_id, status in zip(result.object_ids, result.status, strict=True):
            if status == "lost":
                self._note(f"object {object_id} lost", index)

    def summary(self, seconds_a_frame: float, *, stopped: bool) -> str:
        """Say in one line how much was done, how fast, where it is, and which objects were lost."""
        ids = ", ".join(map(str, sorted(self._ids))) or "none"
        counts = f"{_counted(self.num_frames, 'frame')}, {_counted(len(self._ids), 'object')}"
        places = {"masks": self._args.output, "overlay": self._args.overlay}
        places["run lengths"] = self._args.rle
        parts = [f"{counts} ({ids}), {seconds_a_frame:.3f} s a frame"]
        parts += [", ".join(f"{what} in {path}" for what, path in places.items() if path)]
        parts += [f"{topic} in frames {_listed(spans)}" for topic, spans in self._notes.items()]
        parts += [] if self._notes else ["none lost"]
        return ("stopped after " if stopped else "") + "; ".join(parts)

    def _note(self, topic: str, index: int) -> None:
        """Add a frame to the spans of a topic."""
        spans = self._notes.setdefault(topic, [])
        if not spans or spans[-1][1] != index - 1:
            spans.append([index, index])
        spans[-1][1] = index


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse to overwrite the input: frames or masks may be PNGs of the same names."""
    video = Path(args.video).expanduser()
    masks = [Path(path) for _, path in args.masks]
    folders = [video if video.exists() else video.parent, *(mask.parent for mask in masks)]
    if args.output.resolve() in [folder.resolve() for folder in folders]:
        raise ConfigError(
            f"-o {str(args.output)!r} is the folder of the frames or of a mask, which could be "
            "overwritten; accepted: another folder"
        )
    for option, path in (("--overlay", args.overlay), ("--rle", args.rle)):
        if path is not None and path.resolve() in [given.resolve() for given in (video, *masks)]:
            raise ConfigError(f"{option} {str(path)!r} is an input; accepted: another file")


@contextmanager
def _json_list(path: Path) -> Iterator[TextIO]:
    """Give the file of a list whose brackets are written here."""
    with written_whole(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write("[")
        yield file
        file.write("\n]\n")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _listed(spans: list[list[int]]) -> str:
    """Return such as "3-7, 9"."""
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    return ", ".join(texts[:_LISTED]) + (", ..." if len(texts) > _LISTED else "")
