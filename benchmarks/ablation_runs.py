"""Run one setting on one clip: J and F of each object, and milliseconds of each part."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.ablations import Setting
from benchmarks.watching import Function, exchanged
from rmnet import RMNetSegmenter
from rmnet.config import NetworkUse
from rmnet.errors import ConfigError
from rmnet.evaluation import EvaluationClip, evaluate_sequence
from rmnet.io import open_frames, read_label_png
from rmnet.network import RMNet, TinyFlowNet
from rmnet.options import FlowFunction
from rmnet.runtime import Executor
from rmnet.tracking import search_boxes

PARTS = ("read", "region", "flow", "step")  # a region includes its flow; a step is everything
WATCHED: tuple[tuple[Function, str], ...] = (
    (Executor.read, "read"),
    (search_boxes, "region"),
    (TinyFlowNet.forward, "flow"),
)
Measured = dict[str, Any]  # one clip under one setting, as JSON


class Flow(NamedTuple):
    """A flow function, and a description that tells it from others."""

    source: str
    function: FlowFunction


class Ablations:
    """One network, run under many settings.

    Args:
        network: The weights.
        device: Device to run on; None for a GPU where there is one.
        size: Shorter side inside the network, px; None for the network's own.
        annotations: Folder that holds one folder of label PNGs per clip.
        max_frames: Number of frames tracked of each clip; None for all.
        flows: Flow functions, by the names that `Setting.flow` gives them.
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
        # Processor time of a single thread leaves out what other programs do.
        alone = self.segmenter.device.type == "cpu" and torch.get_num_threads() == 1
        self.clock = time.process_time if alone else time.perf_counter

    def why_not(self, setting: Setting) -> str | None:
        """Return why a setting cannot be run here; None if it can."""
        if setting.flow is None:
            return "not implemented"
        if setting.flow != "TinyFlowNet" and setting.flow not in self._flows:
            return "no weights" if setting.flow == "RAFT" else "not installed"
        return None

    def key(self, setting: Setting) -> str:
        """Return what a setting means for this network, as JSON.

        Rows of different tables may share a key, and so a run.
        """
        config = self.segmenter.with_config(**setting.fields).config
        names = [field.name for field in fields(NetworkUse) if field.name != "size"]
        used = {name: getattr(config, name) for name in names}
        used |= {"every": setting.memory.every, "max_frames": setting.memory.max_frames}
        if config.search_uses_flow and setting.flow is not None:
            flow = self._flows.get(setting.flow)
            used["flow"] = flow.source if flow else setting.flow
        return json.dumps(used, sort_keys=True)

    def measure(self, setting: Setting, clip: EvaluationClip) -> Measured:
        """Track a clip under a setting, and score it."""
        images = clip.images[: self._max_frames]
        truth = [read_label_png(self._annotations / clip.name / f"{x.stem}.png") for x in images]
        segmenter = self.segmenter.with_config(**setting.fields)
        flow = self._flows.get(setting.flow or "") if segmenter.config.search_uses_flow else None
        function = flow.function if flow else None
        labels = []
        times: dict[str, list[float]] = defaultdict(list)  # s a call
        with self._watched(times):
            session = segmenter.start(
                size=self._size,
                memory=setting.memory,
                flow=None if function is None else self._timed(function, times["flow"]),
            )
            step = self._timed(session.step, times["step"])
            given = dict(clip.given())
            for t, frame in enumerate(open_frames(list(images))):
                labels.append(step(frame, given.get(t)).labels)
        del times["step"][:1]  # the first frame only takes its mask
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
    def _watched(self, times: Mapping[str, list[float]]) -> Iterator[None]:
        """Time the parts of every step into `times`."""
        with ExitStack() as stack:
            for function, part in WATCHED:
                stack.enter_context(
                    exchanged(function, lambda f, seconds=times[part]: self._timed(f, seconds))
                )
            yield

    def _timed(self, function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
        """Return a function that adds the time of each call to `seconds`."""

        @wraps(function)
        def timed(*args: object, **options: object) -> object:
            self._wait()
            start = self.clock()
            result = function(*args, **options)
            self._wait()
            seconds.append(self.clock() - start)
            return result

        return timed

    def _wait(self) -> None:
        if self.segmenter.device.type == "cuda":
            torch.cuda.synchronize(self.segmenter.device)


class Results:
    """Measurements in a JSON file, which is rewritten after every clip.

    Args:
        path: The file; measurements that it holds are kept.
        options: Settings that all numbers depend on. A file with other options is refused.
        facts: Further facts to record, such as the machine.
    """

    def __init__(self, path: Path, options: dict[str, Any], facts: dict[str, Any]) -> None:
        self._path = path
        self._runs: dict[str, dict[str, Measured]] = {}
        self._head = {"options": options, **facts}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["options"] != options:
                raise ConfigError(
                    f"{str(path)!r} holds results for the options {found['options']}, not "
                    f"{options}; accepted: a file with the same options. Write --json with another"
                )
            for run in found["runs"]:
                self._runs[json.dumps(run["setting"], sort_keys=True)] = run["clips"]

    def get(self, key: str, clip: str) -> Measured | None:
        """Return the measurements of a clip under a setting, if there are any."""
        return self._runs.get(key, {}).get(clip)

    def add(self, key: str, clip: str, measured: Measured) -> None:
        """Record measurements, and write the file."""
        self._runs.setdefault(key, {})[clip] = measured
        runs = [{"setting": json.loads(k), "clips": clips} for k, clips in self._runs.items()]
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps({**self._head, "runs": runs}, indent=1) + "\n", "utf-8")
        unfinished.replace(self._path)

    def mean(self, key: str, clips: list[str]) -> Measured:
        """Return means of J and F over all objects, and of milliseconds over all clips."""
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
