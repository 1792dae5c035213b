"""Run experiments.

    python -m training.experiments --list
    python -m training.experiments base zeroed --seed 1

Each is a small training (5,500 clips) from random weights with one change, in one process. It
writes training/results/NAME-SEED.json and updates the table in training/EXPERIMENTS.md. A run that
was stopped resumes.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from training.arguments import chosen_device, number_of_workers, run_command
from training.changes import EXPERIMENTS, Experiment, base_config
from training.experiment_table import RESULTS, update_page
from training.free_data import without_photographs
from training.held_out import held_out_jaccard
from training.layouts import Found, read_folder
from training.phases import read_config
from training.runs import LOG, read_checkpoint
from training.sources import HELD_OUT, SIDE, Sources, default_data
from training.strict_json import TrainingConfigError
from training.train import train

# The first-generation network, which all results so far belong to.
CONFIG = Path(__file__).parent / "configs" / "experiments-small.json"


def run_experiment(
    experiment: Experiment,
    found: Found,
    folder: Path,
    *,
    seed: int = 0,
    clips: int | None = None,
    device: torch.device | str = "cpu",
    workers: int = 1,
) -> dict[str, Any]:
    """Train with a change and measure the result.

    Args:
        experiment: The change.
        found: The images.
        folder: Folder of the run.
        seed: Seed for the weights and the batches.
        clips: Number of clips to train on; None for the full budget.
        device: Device to train on.
        workers: Number of processes that make clips.

    Returns:
        The result, ready to be written as JSON.
    """
    config = experiment.change(base_config(read_config(CONFIG)))
    if not experiment.photographs:
        found = without_photographs(found, held_out=HELD_OUT)
    sources = Sources([found])
    phase = config.phases[0]
    network = train(
        sources, config, phase, folder,
        clips=clips, seed=seed, device=device, check_every=1 << 30, workers=workers,
    )  # fmt: skip
    seen = read_checkpoint(folder)["seen"]
    if seen < (clips or phase.clips):
        raise SystemExit(f"stopped after {seen} clips; the same command resumes")
    scores = held_out_jaccard(network, sources.held_out, device=device, size=config.check_size)
    lines = [json.loads(x) for x in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    return {
        "name": experiment.name,
        "seed": seed,
        "clips": seen,
        "J": sum(scores.values()) / len(scores) if scores else None,
        "J by clip": scores,
        "training J": trained[-1]["jaccard"] if trained else None,
        "parameters": sum(p.numel() for p in network.parameters()),
        # Each process of a resumed run counts from zero.
        "seconds": sum(_seconds_of_parts(lines)),
        "machine": f"{platform.machine()}, torch {torch.__version__}, {device}",
        "commit": _commit(),
    }


def _seconds_of_parts(lines: list[dict[str, Any]]) -> list[float]:
    times = [line["seconds"] for line in lines]
    return [now for now, after in zip(times, [*times[1:], -1], strict=True) if after < now]


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="experiments to run; default: none, only update the table"
    )
    parser.add_argument("--list", action="store_true", help="list the experiments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--runs", type=Path, default=Path("runs/experiments"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    known = {experiment.name: experiment for experiment in EXPERIMENTS}
    if given.list:
        print("\n".join(f"{x.name:<14}{x.what}: {x.why}" for x in EXPERIMENTS))
        return
    unknown = sorted(set(given.names) - set(known))
    if unknown:
        raise TrainingConfigError(f"no experiments {unknown}; accepted: {', '.join(known)}")
    torch.set_num_threads(given.threads)
    device = chosen_device(given.device)
    found = read_folder(given.data, side=SIDE) if given.names else Found()
    RESULTS.mkdir(exist_ok=True)
    for name in given.names:
        result = run_experiment(
            known[name], found, given.runs / f"{name}-{given.seed}",
            seed=given.seed, device=device, workers=number_of_workers(given.workers, device),
        )  # fmt: skip
        text = json.dumps(result, indent=2) + "\n"
        (RESULTS / f"{name}-{given.seed}.json").write_text(text, encoding="utf-8")
        update_page()
    update_page()


if __name__ == "__main__":
    run_command(main)
