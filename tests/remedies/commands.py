"""Remedies of `rmnet.cli`: what to type instead."""

from __future__ import annotations

import shlex

import pytest

from remedies.table import World, filling, row
from rmnet.io import read_label_png
from rmnet.prompting import NetworkPrompter


def typed(w: World, pattern: str) -> list[str]:
    """Return what the message says to type, split as a shell does."""
    return shlex.split(w.advice(pattern))


@row("cli/arguments.py", "{} is not an integer of at least 1")
def _(w: World) -> None:
    with w.refused():
        w.track(w.images, w.mask(), "--size", "0")
    w.track(w.images, w.mask(), "--size", "48")


@row(
    "cli/track.py",
    "the first object is given in frame {}, but the video has {} frames, from 0",
)
def _(w: World) -> None:
    mask = w.mask()
    w.patch.setattr("warnings.warn", lambda *_, **__: None)
    with w.refused():
        w.track(w.images, f"9:{mask}")
    last = int(w.advice(r"has (\d+) frames")) - 1
    w.track(w.images, f"{last}:{mask}")


@row("cli/track_input.py", "{} is not a list of ids such as 1,3")
def _(w: World) -> None:
    with w.refused():
        w.track(w.images, w.mask(), "--object-ids", "3;7")
    w.track(w.images, w.mask(), "--object-ids", "3,7")


@row("cli/track.py", "{} is not a number of frames per second")
def _(w: World) -> None:
    with w.refused():
        w.track(w.images, w.mask(), "--fps", "fast")
    w.track(w.images, w.mask(), "--fps", "25")


@row("cli/track.py", "{} is neither a number of seconds nor none")
def _(w: World) -> None:
    with w.refused():
        w.track(w.images, w.mask(), "--checkpoint", "often")
    for interval in ("none", "2.5"):
        w.track(w.images, w.mask(), "--checkpoint", interval)


@row(
    "cli/track_input.py",
    "is named like frame {} of a video, whose frames have no names; accepted: FRAME:",
)
def _(w: World) -> None:
    mask = w.mask("00002.png")
    with w.refused():
        w.track(w.video, mask)
    for argument, frame in ((r"Write (\S+), or", 2), (r"or (\S+) for the first", 0)):
        w.track(w.video, *typed(w, argument))
        assert (read_label_png(w.folder / "masks" / f"{frame:05d}.png") == w.labels).all()


@row("cli/track_input.py", "frame {} has two masks; accepted: one per frame. Write --mask ")
def _(w: World) -> None:
    with w.refused():
        w.track(w.images, w.mask(), "--mask", w.mask("more.png"))
    w.track(w.images, w.mask(), *typed(w, "Write (.*), if"))


@row("cli/track_input.py", "object {} has two boxes in frame {}; accepted: one. Write --box ")
def _(w: World) -> None:
    w.patch.setattr(NetworkPrompter, "__call__", lambda _, *asked: filling(*asked))
    with w.refused():
        w.track(w.images, "--box", "1:4,3,20,18", "--box", "1:40,30,60,58")
    w.track(w.images, "--box", "1:4,3,20,18", *typed(w, "Write (.*) for another"))
    assert {1, 2} <= {*read_label_png(w.folder / "masks" / "00000.png").flat}


@row("cli/track_input.py", "--object-ids came without a MASK; accepted: both, or neither. Leave ")
def _(w: World) -> None:
    w.patch.setattr(NetworkPrompter, "__call__", lambda _, *asked: filling(*asked))
    with w.refused():
        w.track(w.images, "--box", "1:4,3,20,18", "--object-ids", "1")
    w.track(w.images, "--box", "1:4,3,20,18")


@row("cli/track_input.py", "there is nothing to track; accepted: a MASK, or the options --mask")
def _(w: World) -> None:
    w.patch.setattr(NetworkPrompter, "__call__", lambda _, *asked: filling(*asked))
    w.enlarge()
    with w.refused():
        w.track(w.images)
    w.track(w.images, *typed(w, "Write (.*) for a box"))
    for given in ([w.mask()], ["--mask", w.mask()], ["--point", "1:120,90"]):
        w.track(w.images, *given)


@row("cli/track_input.py", "{} is not a box such as 1:40,30,200,180")
def _(w: World) -> None:
    w.patch.setattr(NetworkPrompter, "__call__", lambda _, *asked: filling(*asked))
    w.enlarge()
    with w.refused():
        w.track(w.images, "--box", "1:40,30")
    w.track(w.images, "--box", w.advice(r"such as (\S+)"))


@row("cli/track_input.py", "{} is not {}")
def _(w: World) -> None:
    w.patch.setattr(NetworkPrompter, "__call__", lambda _, *asked: filling(*asked))
    w.enlarge()
    with w.refused():
        w.track(w.images, "--box", "40,30,200,180")
    w.track(w.images, "--box", w.advice(r"a box such as (\S+)"))
    with w.refused():
        w.track(w.images, "--point", "120,90")
    w.track(w.images, "--point", w.advice(r"a click such as (\S+)"))


@row("cli/track_input.py", "{} is not a click such as 1:120,90 or 1:120,90,out")
def _(w: World) -> None:
    w.patch.setattr(NetworkPrompter, "__call__", lambda _, *asked: filling(*asked))
    w.enlarge()
    with w.refused():
        w.track(w.images, "--point", "1:120")
    w.track(w.images, "--point", w.advice(r"such as (\S+) or"))
    w.track(w.images, "--box", "1:40,30,200,180", "--point", w.advice(r"or (\S+,out)"))


@row("cli/track_output.py", "which could be overwritten; accepted: another folder")
def _(w: World) -> None:
    arguments = ("track", w.images, w.mask(), "--weights", w.weights, "--device", "cpu")
    for folder in (w.images, w.mask().parent):
        with w.refused():
            w.cli(*arguments, "-o", folder)
    w.cli(*arguments, "-o", w.folder / "another")


@row("cli/track_output.py", "{} {} is an input; accepted: another file")
def _(w: World) -> None:
    with w.refused():
        w.track(w.images, w.mask(), "--rle", w.mask())
    w.track(w.images, w.mask(), "--rle", w.folder / "another.json")


@row("cli/track_resume.py", "Write --restart to begin anew, or -o with another folder")
def _(w: World) -> None:
    from rmnet.cli.track_output import TrackOutput

    def stop(self, result):
        if result.index == 2:
            raise KeyboardInterrupt
        original(self, result)

    original = TrackOutput.write
    for again in ("--restart", "-o"):
        with w.patch.context() as patch:
            patch.setattr(TrackOutput, "write", stop)
            with pytest.raises(RuntimeError, match="interrupted"):
                w.track(w.images, w.mask(), "--checkpoint", "0", "--restart")
        with w.refused():
            w.track(w.images, w.mask(), "--size", "48")
        options = ("--size", "48", "--weights", w.weights, "--device", "cpu")
        if again == "--restart":
            w.track(w.images, w.mask(), "--size", "48", w.advice(r"Write (\S+)"))
        else:
            w.cli("track", w.images, w.mask(), *options, "-o", w.folder / "another")
