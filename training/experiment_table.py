"""The table in `EXPERIMENTS.md`, made from the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from training.changes import EXPERIMENTS

FOLDER = Path(__file__).parent
RESULTS, PAGE = FOLDER / "results", FOLDER / "EXPERIMENTS.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
NOT_RUN = "not run"


def update_page(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Write the table of all results between the two marks of the page."""
    text = page.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    table = draw_table(read_results(results))
    page.write_text(f"{before}{BEGIN}\n{table}{END}{after}", encoding="utf-8")


def read_results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each experiment, in order of their seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(result["name"], []).append(result)
    return {name: sorted(some, key=lambda x: x["seed"]) for name, some in found.items()}


def draw_table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table with one row per experiment, run or not."""
    base = results.get("base", [])
    rows = [
        "| experiment | change | why | J, by seed | against base | training J | size | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for experiment in EXPERIMENTS:
        some = results.get(experiment.name, [])
        cells = [experiment.name, experiment.what, experiment.why]
        rows.append(f"| {' | '.join(cells + _numbers(some, base))} |")
    return "\n".join(rows) + "\n"


def _numbers(some: list[dict[str, Any]], base: list[dict[str, Any]]) -> list[str]:
    if not some:
        return [NOT_RUN] * 5
    scores = {result["seed"]: result["J"] for result in some}
    shared = [(x["J"], scores[x["seed"]]) for x in base if x["seed"] in scores]
    same = some[0]["name"] == "base" or not shared
    trained = [x["training J"] for x in some if x["training J"] is not None]
    return [
        ", ".join(f"{score:.3f}" for score in scores.values()),
        "" if same else f"{np.mean([b - a for a, b in shared]):+.3f}",
        f"{np.mean(trained):.3f}" if trained else "",
        f"{some[0]['parameters'] / 1e6:.2f} M",
        f"{np.mean([x['seconds'] for x in some]) / 60:.1f}",
    ]
