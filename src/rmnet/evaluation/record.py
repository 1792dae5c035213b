"""results.json: the results of a run so far, and the network, versions and machine behind them."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rmnet.errors import ConfigError
from rmnet.evaluation.clip import Benchmark, ClipResult
from rmnet.io import make_folder, written_whole
from rmnet.segmenter import RMNetSegmenter

_NAME = "results.json"
_FORMAT_VERSION = 1  # of results.json; raised when an old file would be misread
_REMEDY = "Write -o with another folder, or remove the file to start over"
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
_PACKAGES = ("rmnet", "torch", "torchvision", "numpy", "pillow")


class Record:
    """The results of one run, in a file that is rewritten as a whole after every clip.

    Args:
        output: Folder of results.json; made if it does not exist.
        benchmark: Benchmark whose clips are recorded.
        options: JSON of all else that decides the numbers, such as the weights. Only a run of the
            same options can be resumed.
        facts: JSON of further facts, such as versions; not compared.
        resume: Whether to continue an existing file rather than replace it.

    Raises:
        ConfigError: The file has other options or is malformed, or the folder holds other files.
        OutputError: The folder cannot be made.
    """

    def __init__(
        self,
        output: Path,
        benchmark: Benchmark,
        *,
        options: Mapping[str, Any],
        facts: Mapping[str, Any],
        resume: bool = True,
    ) -> None:
        self.path = output / _NAME  # of the file
        self._benchmark, self._facts = benchmark, facts
        # As they come back from the file: lists for tuples.
        self._options = json.loads(json.dumps({**benchmark.options, **options}))
        self._results: dict[str, ClipResult] = {}
        if resume and self.path.exists():
            self._read()
        elif resume and output.is_dir() and any(one.name[0] != "." for one in output.iterdir()):
            raise ConfigError(  # a clip replaces its folder, which may be somebody's own
                f"{str(output)!r} holds files, but no {_NAME}; accepted: a new or empty folder, or "
                "that of an earlier run"
            )
        make_folder(output)

    def get(self, name: str) -> ClipResult | None:
        """Return the result of a clip; None if it failed or was not run yet."""
        result = self._results.get(name)
        return None if result is None or result.error is not None else result

    def add(self, result: ClipResult) -> None:
        """Add a result and write the file."""
        self._results[result.clip] = result
        self.write()

    def average(self) -> dict[str, float]:
        """Return the means over the objects of the clips so far."""
        return self._benchmark.average([row for one in self._ordered() for row in one.objects])

    def write(self) -> None:
        """Write the file, as a whole or not at all."""
        results = self._ordered()
        clips = [dataclasses.asdict(result) for result in results]
        for clip in clips:
            del clip["recorded"]
            clip["objects"] = [_null_for_nan(row) for row in clip["objects"]]
        content = {
            "format_version": _FORMAT_VERSION,
            "complete": len(results) == len(self._benchmark.clips),
            "options": self._options,
            **self._facts,
            "mean": _null_for_nan(self.average()),
            "failed": [one.clip for one in results if one.error is not None],
            "not_scored": [one.clip for one in results if not one.scored],
            "clips": clips,
        }
        with written_whole(self.path) as unfinished:
            unfinished.write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    def _ordered(self) -> list[ClipResult]:
        names = [clip.name for clip in self._benchmark.clips]
        return [self._results[name] for name in names if name in self._results]

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if content["format_version"] != _FORMAT_VERSION:
                raise ValueError(f"its format_version is not {_FORMAT_VERSION}")
            recorded = dict(content["options"])
            for clip in content["clips"]:
                clip["objects"] = [_nan_for_null(row) for row in clip["objects"]]
                self._results[clip["clip"]] = ClipResult(**clip, recorded=True)
            # Fails if a number that the means need is missing.
            self._benchmark.average([row for one in self._results.values() for row in one.objects])
        except _DAMAGE as error:
            raise ConfigError(
                f"{str(self.path)!r} is not a record of an evaluation that can be resumed "
                f"({type(error).__name__}: {error}). {_REMEDY}"
            ) from error
        differences = []
        for name in {**self._options, **recorded}:
            before, now = recorded.get(name, "nothing"), self._options.get(name, "nothing")
            if before != now:
                differences.append(f"{name} was {before!r} and is {now!r}")
        if differences:
            raise ConfigError(
                f"{str(self.path)!r} is from a run with other options: {'; '.join(differences)}. "
                f"Accepted: the same options, to resume the run. {_REMEDY}"
            )


def describe_network(segmenter: RMNetSegmenter) -> dict[str, Any]:
    """Describe in JSON what decides the numbers of a segmenter, with hashes of its weights."""
    return {
        "rmnet": version("rmnet"),
        **segmenter.fingerprint._asdict(),
        "device": str(segmenter.device),
        "dtype": str(segmenter.dtype).removeprefix("torch."),
    }


def describe_run(segmenter: RMNetSegmenter | None = None) -> dict[str, Any]:
    """Describe a run for the record: JSON of versions, machine and the segmenter's configuration."""
    facts: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads()},
    }
    if segmenter is not None:
        facts["config"] = json.loads(segmenter.config.to_json())
        if segmenter.device.type == "cuda":
            facts["machine"]["gpu"] = torch.cuda.get_device_name(segmenter.device)
    return facts


def _null_for_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with null for NaN, which JSON does not have."""
    nan = [name for name, value in row.items() if isinstance(value, float) and math.isnan(value)]
    return {**row, **dict.fromkeys(nan)}


def _nan_for_null(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with NaN for the null of a decay; other nulls mean no number."""
    nan = [name for name, value in row.items() if value is None and name.endswith("-Decay")]
    return {**row, **dict.fromkeys(nan, math.nan)}
