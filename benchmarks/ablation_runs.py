"""Run one setting on one clip: J and F an object, and the milliseconds of each part."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch

import rmnet.tracking.step
from ablations import Setting
from rmnet import RMNetSegmenter
from rmnet.config import USE_FIELDS
from rmnet.errors import ConfigError
from rmnet.evaluation.clip import EvaluationClip
from rmnet.evaluation.davis_protocol import evaluate_sequence
from rmnet.io import open_frames, read_label_png
from rmnet.network import RMNet
from rmnet.network.flow import TinyFlowNet
from rmnet.tracking.step import FlowCallable

PARTS = ("read", "region", "flow", "step")  # region: with the flow; step: everything
Measured = dict[str, Any]  # one clip under one setting, as JSON


class Flow(NamedTuple):
    """A flow function, and what exactly it is."""

    source: str
    function: FlowCallable


class Ablations:
    """A network under many settings.

    Args:
        network: Its weights.
        device: Where it runs.
        size: Shorter side inside the network, px; None for the network's own.
        annotations: Folder with a folder of label PNGs a clip.
        max_frames: Frames of each clip that are tracked; None for all.
        flows: Flow functions by the name of `Setting.flow`.
    """

    def __init__(
        self,
        network: RMNet,
        *,
        device: str | None,
        size: int | None,
        annotations: Path,
        max_frames: int | None,
        flows: Mapping[str, Flow],
    ) -> None:
        self.segmenter = RMNetSegmenter(network, device=device)
        self._size = size
        self._annotations = annotations
        self._max_frames = max_frames
        self._flows = flows
        # One thread's own time does not count what else the machine does.
        alone = self.segmenter.device.type == "cpu" and torch.get_num_threads() == 1
        self.clock = time.process_time if alone else time.perf_counter

    def why_not(self, setting: Setting) -> str | None:
        """Why a setting cannot be run here; None if it can."""
        if setting.flow is None:
            return "not implemented"
        if setting.flow != "TinyFlowNet" and setting.flow not in self._flows:
            return "no weights" if setting.flow == "RAFT" else "not installed"
        return None

    def key(self, setting: Setting) -> str:
        """What a setting comes to with this network: JSON; rows of two tables may be one run."""
        config = self.segmenter.with_config(**setting.fields).config
        used = {name: getattr(config, name) for name in USE_FIELDS if name != "size"}
        used |= {"every": setting.memory.every, "max_frames": setting.memory.max_frames}
        if config.search_uses_flow and setting.flow is not None:
            flow = self._flows.get(setting.flow)
            used["flow"] = flow.source if flow else setting.flow
        return json.dumps(used, sort_keys=True)

    def measure(self, setting: Setting, clip: EvaluationClip) -> Measured:
        """Track a clip."""
        images = clip.images[: self._max_frames]
        truth = [read_label_png(self._annotations / clip.name / f"{x.stem}.png") for x in images]
        segmenter = self.segmenter.with_config(**setting.fields)
        flow = self._flows.get(setting.flow or "") if segmenter.config.search_uses_flow else None
        function = flow.function if flow else None
        labels = []
        with self._timed(function) as (watched_flow, step, times):
            session = segmenter.start(size=self._size, memory=setting.memory, flow=watched_flow)
            given = dict(clip.given())
            for t, (frame, _) in enumerate(open_frames(list(images)).timed()):
                labels.append(step(session.step)(frame, given.get(t)).labels)
        scores = evaluate_sequence(labels, truth, year=2017)
        objects = [
            {"id": i, "J": region.mean, "F": contour.mean}
            for i, region, contour in zip(
                scores.object_ids, scores.jaccard_statistics, scores.contour_statistics, strict=True
            )
        ]
        ms = {part: 1e3 * statistics.median(s) for part, s in times.items() if s}
        return {"frames": len(images), "objects": objects, "ms": ms}

    @contextmanager
    def _timed(
        self, flow: FlowCallable | None
    ) -> Iterator[tuple[Any, Any, dict[str, list[float]]]]:
        """The flow function and a step under watch, and what the parts took so far, s a call."""
        times: dict[str, list[float]] = {part: [] for part in PARTS}

        def watch(function: Callable[..., Any], part: str) -> Callable[..., Any]:
            @wraps(function)
            def watched(*args: object, **options: object) -> object:
                self._wait()
                start = self.clock()
                result = function(*args, **options)
                self._wait()
                times[part].append(self.clock() - start)
                return result

            return watched

        steps = rmnet.tracking.step
        patches = (
            (steps, "regional_read", "read"),
            (steps, "best_match_read", "read"),
            (steps, "_search_boxes", "region"),
            (TinyFlowNet, "forward", "flow"),
        )
        started = [patch.object(o, name, watch(getattr(o, name), p)) for o, name, p in patches]
        for one in started:
            one.start()
        try:
            yield (
                None if flow is None else watch(flow, "flow"),
                lambda step: watch(step, "step"),
                times,
            )
        finally:
            for one in started:
                one.stop()
            del times["step"][:1]  # it only takes the mask

    def _wait(self) -> None:
        if self.segmenter.device.type == "cuda":
            torch.cuda.synchronize(self.segmenter.device)


class Results:
    """What was measured so far, in a JSON file that is rewritten after every clip.

    Args:
        path: Of the file.
        options: What all its numbers depend on; a file of other ones is refused.
        facts: Recorded beside, such as the machine.
    """

    def __init__(self, path: Path, options: dict[str, Any], facts: dict[str, Any]) -> None:
        self._path = path
        self._runs: dict[str, dict[str, Measured]] = {}
        self._head = {"options": options, **facts}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["options"] != options:
                raise ConfigError(
                    f"{str(path)!r} is of the options {found['options']}, not {options}; accepted: "
                    "the same ones, to go on. Write --json with another file"
                )
            for run in found["runs"]:
                self._runs[json.dumps(run["setting"], sort_keys=True)] = run["clips"]

    def get(self, key: str, clip: str) -> Measured | None:
        """One clip under one setting, if it was measured."""
        return self._runs.get(key, {}).get(clip)

    def add(self, key: str, clip: str, measured: Measured) -> None:
        """Keep it, and write the file."""
        self._runs.setdefault(key, {})[clip] = measured
        runs = [{"setting": json.loads(k), "clips": clips} for k, clips in self._runs.items()]
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({**self._head, "runs": runs}, indent=1) + "\n", "utf-8")
        unfinished.replace(self._path)

    def mean(self, key: str, clips: list[str]) -> Measured:
        """J and F over the objects of the clips, the milliseconds of a step over the clips."""
        measured = [self._runs[key][clip] for clip in clips]
        objects = [one for clip in measured for one in clip["objects"]]
        row = {name: statistics.mean(one[name] for one in objects) for name in ("J", "F")}
        row["J&F"] = (row["J"] + row["F"]) / 2
        row["ms"] = {
            part: statistics.mean(clip["ms"][part] for clip in measured)
            for part in PARTS
            if all(part in clip["ms"] for clip in measured)
        }
        return row
