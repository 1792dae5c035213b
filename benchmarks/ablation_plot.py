"""Draws ablations: one column per table, J&F above, milliseconds below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.ablations import TABLES, Setting

OURS, PAPER = "#1f77b4", "#b0b0b0"


def draw(tables: dict[str, list[tuple[Setting, Any]]], path: Path, *, title: str) -> None:
    """Draw rows as pairs of bars, measured and published.

    Args:
        tables: Rows by table: a setting, and its measurements or why there are none.
        path: PNG to write.
        title: Title of the figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(4.2 * len(tables), 6.2), layout="constrained")
    axes = figure.subplots(2, len(tables), squeeze=False)
    for column, (number, rows) in enumerate(tables.items()):
        table = TABLES[number]
        names = [setting.name for setting, _ in rows]
        found = [None if isinstance(row, str) else row for _, row in rows]
        paper = [setting.published for setting, _ in rows]
        above, below = axes[0, column], axes[1, column]
        _bars(
            above, names,
            [row and row["J&F"] for row in found], [p and p.average for p in paper],
            form="{:.3f}",
        )  # fmt: skip
        label = f"Table {number}: " if number.isdecimal() else ""
        above.set_title(label + table.title.lower(), fontsize=10)
        for place, (_, row) in enumerate(rows):
            if isinstance(row, str):
                above.text(0, place - 0.2, f" {row}", va="center", fontsize=8, color=OURS)
        above.set_xlabel("J&F")
        above.set_xlim(0, 1.12)
        _bars(
            below, names,
            [row and row["ms"].get(table.part) for row in found],
            [p and p.milliseconds for p in paper],
            form="{:.1f}",
        )  # fmt: skip
        below.set_xlabel(f"ms a frame, {table.part}")
        below.margins(x=0.25)
    handles = [
        Patch(color=OURS, label="here"),
        Patch(color=PAPER, label="paper (DAVIS 2017 val; V100)"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title, fontsize=10)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=80)


def _bars(axis: Any, names: list[str], ours: list[Any], paper: list[Any], *, form: str) -> None:  # noqa: ANN401
    """Draw two horizontal bars per name, the first name on top, where there are numbers."""
    for values, offset, colour in ((ours, -0.2, OURS), (paper, 0.2, PAPER)):
        for row, value in enumerate(values):
            if value is not None:
                axis.barh(row + offset, value, height=0.38, color=colour)
                axis.text(value, row + offset, " " + form.format(value), va="center", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.spines[["top", "right"]].set_visible(False)
