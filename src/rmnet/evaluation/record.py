"""results.json: what is known of a run so far, so that it can be taken up again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rmnet.errors import ConfigError
from rmnet.evaluation.clip import Benchmark, ClipResult
from rmnet.io import make_folder, written_whole

RESULTS = "results.json"
_FORMAT_VERSION = 1  # of results.json; raised when an old file would be misread


class Record:
    """The results of one run, in a file that is rewritten whole after every clip.

    Args:
        output: Folder of results.json; made if need be.
        benchmark: Whose clips are recorded.
        options: What the numbers depend on besides, such as the weights: JSON. A file of other
            ones is refused.
        facts: What else is worth knowing, such as versions: JSON, not compared.
        resume: Whether to take up what the file has; otherwise it is written anew.

    Raises:
        ConfigError: the file is of other options, or is no results.json; or the folder holds
            something else.
        OutputError: the folder cannot be made.
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
        self._path, self._benchmark, self._facts = output / RESULTS, benchmark, facts
        self._options = _as_json({**benchmark.options, **options})
        self._results: dict[str, ClipResult] = {}
        if resume and self._path.exists():
            self._read()
        elif resume and output.is_dir() and any(one.name[0] != "." for one in output.iterdir()):
            raise ConfigError(  # folders of clips are replaced, which may not be an evaluation's
                f"{str(output)!r} holds files, but no {RESULTS}; accepted: a new folder, an empty "
                "one, or that of an earlier run"
            )
        make_folder(output)

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._path

    def get(self, name: str) -> ClipResult | None:
        """The result of a clip that an earlier run finished; None of one that failed."""
        result = self._results.get(name)
        return None if result is None or result.error is not None else result

    def add(self, result: ClipResult) -> None:
        """Keep a result, and write the file."""
        self._results[result.name] = result
        self.write()

    def average(self) -> dict[str, float]:
        """Means over the objects of the clips so far."""
        return self._benchmark.average([row for one in self._ordered() for row in one.rows])

    def write(self) -> None:
        """Write the file, whole or not at all."""
        results = self._ordered()
        content = {
            "format_version": _FORMAT_VERSION,
            "complete": len(results) == len(self._benchmark.clips),
            "options": self._options,
            **self._facts,
            "mean": self.average(),
            "failed": [one.name for one in results if one.error is not None],
            "not_scored": [one.name for one in results if not one.scored],
            "clips": [_to_json(one) for one in results],
        }
        with written_whole(self._path) as unfinished:
            unfinished.write_text(json.dumps(_without_nan(content), indent=2) + "\n", "utf-8")

    def _ordered(self) -> list[ClipResult]:
        names = [clip.name for clip in self._benchmark.clips]
        return [self._results[name] for name in names if name in self._results]

    def _read(self) -> None:
        remedy = "Write -o with another folder, or remove the file to begin anew"
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            version, recorded = content["format_version"], dict(content["options"])
            results = [_from_json(clip) for clip in content["clips"]]
            # What the means are made of must be there, and numbers.
            self._benchmark.average([row for one in results for row in one.rows])
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise ConfigError(
                f"{str(self._path)!r} is no record of an evaluation ({type(error).__name__}: "
                f"{error}). {remedy}"
            ) from error
        if version != _FORMAT_VERSION:
            raise ConfigError(
                f"{str(self._path)!r} has format_version {version!r}; this rmnet reads "
                f"{_FORMAT_VERSION}. {remedy}"
            )
        names = [*self._options, *(name for name in recorded if name not in self._options)]
        nothing = "nothing"
        differences = [
            f"{name} was {recorded.get(name, nothing)!r} and is {self._options.get(name, nothing)!r}"
            for name in names
            if recorded.get(name, nothing) != self._options.get(name, nothing)
        ]
        if differences:
            raise ConfigError(
                f"{str(self._path)!r} is of a run with other options: {'; '.join(differences)}. "
                f"Accepted: the same ones, to go on. {remedy}"
            )
        self._results = {one.name: one for one in results}


def _to_json(result: ClipResult) -> dict[str, Any]:
    return {
        "clip": result.name,
        "frames": result.num_frames,
        "seconds_a_frame": result.seconds_a_frame,
        "error": result.error,
        "scored": result.scored,
        "objects": result.rows,
    }


def _from_json(clip: Mapping[str, Any]) -> ClipResult:
    # null is NaN in decays alone, which are numbers always; other nulls say that there is none.
    rows = [
        {
            name: math.nan if value is None and name.endswith("-Decay") else value
            for name, value in row.items()
        }
        for row in clip["objects"]
    ]
    name, error = clip["clip"], clip["error"]
    if not isinstance(name, str) or not (error is None or isinstance(error, str)):
        raise TypeError("a clip's name or error is no text")
    return ClipResult(
        name,
        rows,
        clip["frames"],
        clip["seconds_a_frame"],
        error,
        clip["scored"],
        recorded=True,
    )


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as it comes back from a file: lists for tuples."""
    return json.loads(json.dumps(value))


def _without_nan(value: Any) -> Any:  # noqa: ANN401 any JSON
    """The value with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
