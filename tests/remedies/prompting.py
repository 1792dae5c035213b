"""Remedies of `rmnet.prompting`, and of boxes and clicks in `rmnet.tracking`."""

from __future__ import annotations

import numpy as np

from remedies.table import World, filling, row
from rmnet.prompting import parse_prompts


@row("prompting/prompts.py", "{} is a {}; accepted: {}. Write {}={}")
def _(w: World) -> None:
    w.enlarge()
    for wrong in ({"boxes": [(40, 30, 200, 180)]}, {"points": [(120, 90, True)]}):
        with w.refused():
            parse_prompts(**{"boxes": None, "points": None, **wrong})
        prompts = eval(f"dict({w.advice('Write (.*)')})")
        w.segmenter.start(prompter=filling).step(w.frames[0], **prompts)


@row("prompting/prompts.py", "the box of object {} is {}; accepted: ")
def _(w: World) -> None:
    w.enlarge()
    with w.refused():
        parse_prompts({1: (40, 30, 200)}, None)
    boxes = eval(w.advice("Write boxes=(.*)"))
    w.segmenter.start(prompter=filling).step(w.frames[0], boxes=boxes)


@row("prompting/prompts.py", "{} is smaller than a pixel; accepted: ")
def _(w: World) -> None:
    height, width = w.labels.shape
    with w.refused():
        parse_prompts({1: (0.25, 0.25, 0.75, 0.5)}, None)
    box = eval(w.advice("Write (.*), if it is in"), {"height": height, "width": width})
    assert parse_prompts({1: box}, None).fitted((height, width)).boxes == {1: (24, 16, 72, 32)}


@row("prompting/prompts.py", "{} is empty or reversed; accepted: ")
def _(w: World) -> None:
    with w.refused():
        parse_prompts({1: (40, 30, 20, 10)}, None)
    box = eval(w.advice("Write (.*), if it holds"))
    assert parse_prompts({1: box}, None).boxes == {1: (40, 30, 60, 40)}


@row("prompting/prompts.py", "does not lie in the frame, which is {} px wide and {} px high")
def _(w: World) -> None:
    rows_first = (10, 80, 30, 95)
    with w.refused():
        parse_prompts({1: rows_first}, None).fitted(w.labels.shape)
    assert w.advice("(x first)")
    y0, x0, y1, x1 = rows_first
    parse_prompts({1: (x0, y0, x1, y1)}, None).fitted(w.labels.shape)


@row("prompting/prompts.py", "the click ({}, {}) of object {} is outside of the frame; accepted: x")
def _(w: World) -> None:
    with w.refused():
        parse_prompts(None, {1: [(10, 80, True)]}).fitted(w.labels.shape)
    parse_prompts(None, {1: [(80, 10, True)]}).fitted(w.labels.shape)
    last = int(w.advice(r"x from 0 to (\d+)")), int(w.advice(r"y from 0 to (\d+)"))
    for x, y in ((0, 0), last):
        parse_prompts(None, {1: [(x, y, True)]}).fitted(w.labels.shape)


@row("prompting/prompts.py", "the clicks {} of object {} are fractions of the frame; accepted: ")
def _(w: World) -> None:
    height, width = w.labels.shape
    with w.refused():
        parse_prompts(None, {1: [(0.25, 0.5, False), (0.5, 0.5, True)]})
    click = eval(w.advice("Write (.*) for the first"), {"height": height, "width": width})
    prompts = parse_prompts(None, {1: [click]}).fitted((height, width))
    assert prompts.points == {1: ((24, 32, False),)}


@row("prompting/prompts.py", "the clicks of object {} are {}; accepted: a list of ")
def _(w: World) -> None:
    w.enlarge()
    with w.refused():
        parse_prompts(None, {1: []})
    points = eval(w.advice("Write points=(.*)"))
    w.segmenter.start(prompter=filling).step(w.frames[0], points=points)


@row("prompting/prompts.py", "two clicks at ({}, {}), one inside and one outside; accepted: one")
def _(w: World) -> None:
    clicks = [(20, 9, True), (20, 9, False)]
    with w.refused():
        parse_prompts(None, {1: clicks})
    assert w.advice("(Leave one out)")
    for left in clicks:
        parse_prompts(None, {1: [left]})


@row("prompting/prompts.py", "lies outside of its box; accepted: clicks inside of the box")
def _(w: World) -> None:
    box, click = (10, 5, 30, 25), (40, 9, True)
    with w.refused():
        parse_prompts({1: box}, {1: [click]})
    assert w.advice("(Write a larger box, or leave one of the two out)")
    parse_prompts({1: (10, 5, 50, 25)}, {1: [click]})
    parse_prompts({1: box}, None)
    parse_prompts(None, {1: [click]})


@row("tracking/annotation.py", "no pixel of object {} was found; accepted: a box around it, clicks")
def _(w: World) -> None:
    def clicks_only(frame, boxes, points, masks):
        return filling(frame, {}, dict.fromkeys(boxes, ()) | points, masks)

    def start():
        return w.segmenter.start(prompter=clicks_only)

    with w.refused():
        start().step(w.frames[0], boxes={3: (4, 3, 40, 30)})
    points = eval(w.advice("Write points=(.*?) with"), {"x": 20, "y": 9})
    start().step(w.frames[0], points=points)
    start().step(w.frames[0], {3: w.labels == 3})
    w.segmenter.start(prompter=filling).step(w.frames[0], boxes={3: (4, 3, 40, 30)})


@row(
    "tracking/annotation.py", "object {} has only clicks beside it, and is not tracked yet; accept"
)
def _(w: World) -> None:
    with w.refused():
        w.segmenter.start(prompter=filling).step(w.frames[0], points={3: [(60, 40, False)]})
    points = eval(w.advice("Write points=(.*?) with"), {"x": 20, "y": 9})
    w.segmenter.start(prompter=filling).step(w.frames[0], points=points)
    w.segmenter.start(prompter=filling).step(
        w.frames[0], boxes={3: (4, 3, 40, 30)}, points={3: [(30, 20, False)]}
    )


@row("tracking/annotation.py", "objects {} have a mask and a box or clicks; accepted: one of the")
def _(w: World) -> None:
    session, frame, mask = w.segmenter.start(prompter=filling), w.frames[0], w.labels
    boxes, points = None, {3: [(60, 9, True)]}
    with w.refused():
        session.step(frame, mask, points=points)
    names = {"session": session, "frame": frame, "mask": mask, "boxes": boxes, "points": points}
    eval(f"session.{w.advice('after (step.*)')}", names)
    eval(f"session.{w.advice('write (correct.*) after')}", names)


@row("tracking/annotation.py", "the prompter returned {} for object {}; accepted: a mapping id -> ")
def _(w: World) -> None:
    boxes = {3: (4, 3, 40, 30)}
    with w.refused():
        w.segmenter.start(prompter=lambda *_: None).step(w.frames[0], boxes=boxes)
    mask = np.ones(eval(w.advice(r"\(H, W\) = (\(.*?\))")), np.bool_)
    w.segmenter.start(prompter=lambda *_: {3: mask}).step(w.frames[0], boxes=boxes)


@row(
    "tracking/annotations.py", "accepted: {id: prompt} of frame 0, or {frame number: {id: prompt}}"
)
def _(w: World) -> None:
    w.enlarge(58)  # the message speaks of frame 57
    for name, prompt in (("boxes", (4, 3, 40, 30)), ("points", [(20, 9, True)])):
        with w.refused():
            w.segmenter.track(w.frames, prompter=filling, **{name: {0: {1: prompt}, 1: prompt}})
        prompts = eval(f"dict({w.advice('Write (.*)')})")
        result = w.segmenter.track(w.frames, prompter=filling, size=32, **prompts)
        assert result.object_ids == (1, 2)
        w.segmenter.track(w.frames[:2], prompter=filling, **{name: {1: prompt}})
