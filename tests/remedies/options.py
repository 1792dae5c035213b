"""Remedies of `rmnet.config` and `rmnet.options`."""

from __future__ import annotations

import json
from dataclasses import replace

import tiny
from remedies.table import World, row
from rmnet import MemoryPolicy, RMNetConfig
from rmnet.options import TrackingOptions


@row("config.py", "{} is {}; accepted: an integer of at least {}")
def _(w: World) -> None:
    with w.refused():
        MemoryPolicy(every=0)
    MemoryPolicy(every=int(w.advice(r"at least (\d+)")))


@row("config.py", "{} is {}; accepted: {}")
def _(w: World) -> None:
    with w.refused():
        replace(tiny.CONFIG, read="somehow")
    for choice in w.advice("accepted: (.*)").split(", "):
        replace(tiny.CONFIG, read=choice.strip("'"))


@row("config.py", "{} is {}; accepted: true or false")
def _(w: World) -> None:
    with w.refused():
        replace(tiny.CONFIG, others_input=1)
    replace(tiny.CONFIG, others_input=True)
    replace(tiny.CONFIG, others_input=False)


@row("config.py", "{} is {}; accepted: a number in (0, 1)")
def _(w: World) -> None:
    with w.refused():
        replace(tiny.CONFIG, mask_threshold=2)
    replace(tiny.CONFIG, mask_threshold=0.5)


@row("config.py", "accepted for backbone 'resnet50': multiples of 4")
def _(w: World) -> None:
    with w.refused():
        replace(tiny.CONFIG, backbone="resnet50", stage_widths=(8, 12, 18))
    replace(tiny.CONFIG, backbone="resnet50", stage_widths=(8, 12, 20))


@row("config.py", "config.json holds a {}; accepted: an object")
def _(w: World) -> None:
    with w.refused():
        RMNetConfig.from_json("[]")
    RMNetConfig.from_json(tiny.CONFIG.to_json())


@row("config.py", "Accepted: a file written by save_pretrained or `rmnet convert`")
def _(w: World) -> None:
    with w.refused():
        RMNetConfig.from_json('{"format_version": 99}')
    w.cli("convert", w.weights, w.folder / "converted")
    for folder in (w.weights, w.folder / "converted"):
        RMNetConfig.from_json((folder / "config.json").read_text(encoding="utf-8"))


@row("config.py", "config.json: unknown fields {}, missing fields {}")
def _(w: World) -> None:
    fields = json.loads(tiny.CONFIG.to_json())
    with w.refused():
        RMNetConfig.from_json(json.dumps({**fields, "colour": 3}))
    RMNetConfig.from_json(json.dumps(fields))


@row("config.py", "config.json is not JSON: {}")
def _(w: World) -> None:
    with w.refused():
        RMNetConfig.from_json(tiny.CONFIG.to_json()[:-9])
    RMNetConfig.from_json(tiny.CONFIG.to_json())


@row("config.py", "{} is {}; accepted: {} integers")
def _(w: World) -> None:
    with w.refused():
        replace(tiny.CONFIG, stage_widths=(8, 12))
    replace(tiny.CONFIG, stage_widths=(8,) * int(w.advice(r"(\d) integers")))


@row("config.py", "backbone is {}, and {} is {}; accepted: {}")
def _(w: World) -> None:
    lite = {"backbone": "efficientnet_lite0", "stage_widths": (24, 40, 112)}
    lite |= {"stage_depths": (3, 2, 6)}
    with w.refused():
        replace(tiny.CONFIG, **lite, stem_width=8)
    replace(tiny.CONFIG, **lite, stem_width=int(w.advice(r"accepted: (\d+)")))


@row("options.py", "memory is {}; accepted: MemoryPolicy(every=5, max_frames=40)")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.start(memory=5)
    w.segmenter.start(memory=eval(w.advice("accepted: (.*)"), {"MemoryPolicy": MemoryPolicy}))


@row("options.py", 'flow is {}; accepted: None, "none", or a function')
def _(w: World) -> None:
    with w.refused():
        w.segmenter.start(flow="raft")
    for flow in (None, "none", lambda *_: None):
        w.segmenter.start(flow=flow)


@row("options.py", "flow is a function, but search_region {} uses no flow; accepted: None.")
def _(w: World) -> None:
    still = w.segmenter.with_config(search_region="frame")
    with w.refused():
        still.start(flow=lambda *_: None)
    still.start(flow=None)
    eval(f"still.{w.advice('Write (.*)')}", {"still": still}).start(flow=lambda *_: None)


@row("options.py", 'accepted: None, "native", or the shorter side in pixels')
def _(w: World) -> None:
    with w.refused():
        w.segmenter.start(size=0)
    for size in (None, "native", 48):
        w.segmenter.start(size=size)


@row("options.py", "{} is {}; accepted: True or False")
def _(w: World) -> None:
    with w.refused():
        TrackingOptions(regional="yes")
    TrackingOptions(regional=True)
    TrackingOptions(regional=False)
