#!/usr/bin/env python3
"""Run the paper's ablations with any weights, and print each table beside the published one.

    python -m benchmarks.ablate ROOT --table 5 6 7 --json ablations.json --plot ablations.png

ROOT is the unpacked DAVIS 2017. Tables 5 to 7 are the paper's; `memory`, `regions`, `read` and
`threshold` are further ones. Results in the JSON are not measured again, so an interrupted command
resumes. Times are medians over the steps of a clip, then means over clips. On the CPU with
OMP_NUM_THREADS=1 they are processor times, which other programs hardly affect.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import rmnet
from benchmarks.ablation_plot import draw
from benchmarks.ablation_runs import Ablations, Flow, Measured, Results
from benchmarks.ablations import TABLES, Setting, Table
from benchmarks.machine import describe_machine
from rmnet.ablations import raft_flow
from rmnet.evaluation import describe_network, open_davis
from rmnet.weights import load_network


def main() -> None:
    """Measure missing results, and print all tables."""
    given = parse_arguments()
    ablations = Ablations(
        load_network(given.weights),
        device=given.device,
        size=given.size,
        annotations=given.root / "Annotations" / "480p",
        max_frames=given.max_frames,
        flows=available_flows(given.raft, given.device),
    )
    benchmark = open_davis(given.root, clips=given.clips)
    options = describe_network(ablations.segmenter)
    options |= {"size": given.size or ablations.segmenter.config.size}
    options |= {"max_frames": given.max_frames}
    machine = describe_machine(str(ablations.segmenter.device))
    results = Results(
        given.json,
        options,
        {"weights": given.weights, "clock": ablations.clock.__name__, **machine},
    )
    names = [clip.name for clip in benchmark.clips]
    tables: dict[str, list[tuple[Setting, Measured | str]]] = {}
    for number in given.table:
        rows = tables[number] = []
        for setting in TABLES[number].settings:
            reason = ablations.why_not(setting)
            if reason is not None:
                rows.append((setting, reason))
                continue
            key = ablations.key(setting)
            for clip in benchmark.clips:
                if results.get(key, clip.name) is None:
                    print(f"{number}, {setting.name}: {clip.name}", file=sys.stderr, flush=True)
                    measured = ablations.measure(setting, clip)
                    results.add(key, clip.name, {**measured, "commit": machine["commit"]})
            rows.append((setting, results.mean(key, names)))
        print(as_markdown(number, TABLES[number], rows), flush=True)
    if given.plot:
        draw(tables, given.plot, title=f"{given.weights} on {', '.join(names)}")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="holds JPEGImages, Annotations and ImageSets")
    parser.add_argument("--table", nargs="+", choices=[*TABLES], default=["5", "6", "7"])
    parser.add_argument("--weights", default="rmnet-small")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--size", type=int, help="shorter side inside the network, px (default: the weights')"
    )
    parser.add_argument(
        "--clips", nargs="+", help="names of clips (default: all of DAVIS 2017 val)"
    )
    parser.add_argument(
        "--max-frames", type=int, help="frames of each clip to track, at least 3 (default: all)"
    )
    parser.add_argument(
        "--raft",
        help="file of torchvision's RAFT-large, or a name of its weights, which it downloads",
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--plot", type=Path, help="PNG of the tables; needs rmnet[plot]")
    given = parser.parse_args()
    if given.max_frames is not None and given.max_frames < 3:
        parser.error("--max-frames must be at least 3: the first and the last frame are not scored")
    return given


def available_flows(raft: str | None, device: str) -> dict[str, Flow]:
    """Return the available flow functions, by their names in the tables."""
    flows = {}
    try:
        import cv2

        from benchmarks.floors import dis_flow

        flows["DIS"] = Flow(f"DIS, OpenCV {cv2.__version__}", dis_flow())
    except ImportError:
        print("no DIS: OpenCV is not installed (rmnet[benchmarks])", file=sys.stderr)
    if raft is not None:
        flows["RAFT"] = Flow(f"RAFT {raft}", raft_flow(raft, device=device))
    return flows


def as_markdown(number: str, table: Table, rows: list[tuple[Setting, Any]]) -> str:
    """Format a table, with the paper's numbers where it has any."""
    is_published = number in ("5", "6", "7")
    # A region found by matching costs its time in the read.
    parts = [table.part, *(["read"] if table.part == "region" else []), "step"]
    head = [table.title, "J", "F", "J&F", *(f"ms: {one}" for one in parts)]
    head += ["paper: J", "F", "J&F", f"ms: {table.part}"] if is_published else []
    lines = [head, ["---"] * len(head)]
    for setting, row in rows:
        if isinstance(row, str):
            cells = [row, *[""] * (2 + len(parts))]
        else:
            cells = [f"{row[name]:.3f}" for name in ("J", "F", "J&F")]
            cells += [f"{row['ms'][one]:.1f}" if one in row["ms"] else "" for one in parts]
        if is_published:
            paper = setting.published or ("",) * 4
            cells += [x if isinstance(x, str) else "" if x is None else f"{x:.3f}" for x in paper]
            if setting.published and setting.published.milliseconds is not None:
                cells[-1] = f"{setting.published.milliseconds:.2f}"
        lines.append([setting.name, *cells])
    title = f"Table {number}" if is_published else number.capitalize()
    return f"\n{title} (rmnet {rmnet.__version__})\n\n" + "\n".join(
        "| " + " | ".join(line) + " |" for line in lines
    )


if __name__ == "__main__":
    main()
