"""Draw the loss and the held-out J of runs.

    python -m training.draw_curves runs/clips [more runs]

Writes curves.png (needs matplotlib) and curves.json into the folder of the first run. Several runs
are drawn one after another, in the order given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.runs import LOG

CURVES = {
    "train": ("loss", "jaccard", "rate", "mean_motion"),
    "check": ("held_out", "carried", "photometric"),
}


def read_curves(folders: Sequence[Path]) -> dict[str, list[tuple[int, float]]]:
    """Return the points (clips seen, value) of each curve, one run after another."""
    curves: dict[str, list[tuple[int, float]]] = {}
    before = 0
    for folder in folders:
        last = before
        for line in (folder / LOG).read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            seen = before + fields["seen"]
            last = max(last, seen)
            for name in CURVES.get(fields["kind"], ()):
                if fields.get(name) is not None:
                    curves.setdefault(name, []).append((seen, fields[name]))
        before = last
    return curves


def draw(folders: Sequence[Path]) -> None:
    """Write curves.json and curves.png into the first folder."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = read_curves(folders)
    write_curves(curves, folders[0])
    figure = Figure(figsize=(7, 5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    _plot(above, curves, {"loss": "loss"})
    _plot(below, curves, {"jaccard": "J in training", "held_out": "J held out", "carried": "J"})
    below.set_xlabel("clips seen")
    figure.savefig(folders[0] / "curves.png", dpi=120)


def write_curves(curves: dict[str, list[tuple[int, float]]], folder: Path) -> None:
    """Write the points as JSON."""
    (folder / "curves.json").write_text(json.dumps(curves) + "\n", encoding="utf-8")


def draw_if_possible(folder: Path) -> None:
    """Draw the curves of a run; without matplotlib, write only their JSON."""
    try:
        draw([folder])
    except ImportError:
        write_curves(read_curves([folder]), folder)


def _plot(axes: Any, curves: dict[str, Any], names: dict[str, str]) -> None:  # noqa: ANN401
    for name, label in names.items():
        if name in curves:
            axes.plot(*zip(*curves[name], strict=True), label=label, marker=".", markersize=3)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, in order")
    draw(parser.parse_args().runs)


if __name__ == "__main__":
    main()
