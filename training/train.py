"""Train one phase of a network.

    python -m training.train training/configs/rmnet-small.json --phase main --out runs/main
    python -m training.train training/configs/rmnet-small.json --phase fast \
        --from runs/main --out runs/fast

A run resumes from the checkpoint in --out if there is one, with the same results as if it had not
stopped. Ctrl-C and SIGTERM save and leave. --clips may change when a run resumes: the schedule is a
function of clips seen / clips planned, so a shortened run still ends at a low learning rate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rmnet.network import RMNet
from rmnet.weights import save_network
from training.arguments import (
    chosen_device,
    number_of_workers,
    read_sources,
    run_command,
    training_parser,
)
from training.batches import Batch, Schedule, load
from training.clock import Deadline
from training.draw_curves import draw_if_possible
from training.folding import folded
from training.held_out import held_out_jaccard
from training.loop import train_loop
from training.losses import last_jaccard, segmentation_loss
from training.objective import random_margins, set_training, trunk_parameters, unroll
from training.parallel import WHOLE, Part, run_parts
from training.phases import Phase, TrainingConfig, read_config
from training.runs import CHECKPOINT, Log, Run
from training.sources import Sources
from training.start import continue_run, initial_network
from training.strict_json import TrainingConfigError


def train(
    sources: Sources,
    config: TrainingConfig,
    phase: Phase,
    out: Path,
    *,
    origin: str | None = None,
    clips: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    bfloat16: bool = True,
    check_every: int = 6000,
    workers: int = 1,
    stop_after: int | None = None,
    part: Part = WHOLE,
) -> RMNet:
    """Train a phase.

    Args:
        sources: The images.
        config: The network and the optimiser.
        phase: The phase.
        out: Folder of the checkpoint, the log and the exported average.
        origin: Initial weights: the folder of a run, or weights; None for those of the phase.
        clips: Number of clips to train on; None for that of the phase.
        minutes: Time of the whole run, including that before it resumed; None to go by clips.
        seed: Seed for the weights and for all batches.
        device: Device to train on.
        bfloat16: Whether convolutions run in bfloat16.
        check_every: Clips between two checks on held-out clips, each with a checkpoint.
        workers: Number of processes that make clips; 0 makes them here.
        stop_after: Number of clips seen after which to leave, with a checkpoint.
        part: This process's part of every batch.

    Returns:
        The averaged network.
    """
    device, planned = torch.device(device), clips or phase.clips
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT).is_file():
        network, flow_trained = RMNet(config.network), False  # both are in the checkpoint
    else:
        network, flow_trained = initial_network(config.network, phase, origin, seed=seed)
    # training.train_flow trains TinyFlowNet; training.export joins both.
    network.flow.requires_grad_(requires_grad=False)
    network = network.to(device).to(memory_format=torch.channels_last)
    set_training(network, freeze_batchnorm=phase.freeze_batchnorm)
    facts = {
        "phase": phase.name,
        "network": config.network.to_json(),
        "flow_trained": flow_trained,
    }
    run = Run(
        network, config.optimiser, out, facts,
        slow=trunk_parameters(network) if phase.trunk_rate != 1 else (),
        slow_rate=phase.trunk_rate, writes=part.number == 0,
    )  # fmt: skip
    log = Log(out)
    if not run.resume():
        continue_run(run, phase, origin)
    deadline = None if minutes is None else Deadline(run.clock, minutes)
    schedule = Schedule(
        phase.name, phase.recipes, planned, phase.span, seed, deadline=deadline
    )  # fmt: skip
    dtype = torch.bfloat16 if bfloat16 else torch.float32

    def step(batch: Batch) -> dict[str, Tensor | float]:
        progress = schedule.progress(batch.before)
        rows = batch.recipe.batch * batch.recipe.objects
        rng = schedule.generator("margins", batch.before, part.number)
        margins = random_margins(phase.margins, rng, rows, device)
        with folded(network, dtype, wanted=phase.fold_batchnorm):
            logits = unroll(
                network, batch.clips, margins,
                bfloat16=bfloat16, through_estimates=phase.through_estimates,
            )  # fmt: skip
        loss = segmentation_loss(
            logits, batch.clips.masks, name=phase.loss, hardest=phase.hardest(progress)
        )
        run.update(loss, phase.rate(progress), part)
        score = last_jaccard(logits, batch.clips.masks)
        return {"loss": loss.detach(), "jaccard": score, "rate": phase.rate(progress)}

    def check() -> dict[str, Any]:
        save_network(run.average.module, out, dtype=torch.float16)
        scores = held_out_jaccard(
            run.average.module, sources.held_out, device=device, size=config.check_size
        )
        mean = float(np.mean(list(scores.values()))) if scores else None
        return {"held_out": mean, **scores}

    batches = load(
        sources, schedule, seen=run.seen, part=part, workers=workers, device=device
    )  # fmt: skip
    finished = train_loop(
        run, batches, step, check, log,
        planned=planned, deadline=deadline, check_every=check_every, part=part,
        stop_after=stop_after, check_first=phase.start in ("average", "continue"),
    )  # fmt: skip
    if finished and part.number == 0:
        draw_if_possible(out)
    return run.average.module


def main() -> None:
    """Run the command line."""
    parser = training_parser(__doc__)
    parser.add_argument("--phase", required=True, help="name of a phase of the config")
    parser.add_argument(
        "--from", dest="origin", metavar="WEIGHTS_OR_RUN",
        help="initial weights: the folder of another run, or a folder, a file or a name of weights",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, help="time of the whole run, which then goes by the clock"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that train together, on a CPU"
    )
    given = parser.parse_args()
    config = read_config(given.config)
    phase, device = config.phase(given.phase), chosen_device(given.device)
    if given.processes > 1 and device.type != "cpu":
        raise TrainingConfigError("--processes is for CPUs; accepted with a GPU: 1")
    if given.processes > 1 and given.minutes is not None:
        raise TrainingConfigError("--processes share no clock; accepted with --minutes: 1")
    sources = read_sources(given)

    def work(part: Part) -> None:
        torch.set_num_threads(given.threads)
        train(
            sources, config, phase, given.out,
            origin=given.origin,
            clips=given.clips,
            minutes=given.minutes,
            seed=given.seed,
            device=device,
            bfloat16=given.precision == "bfloat16",
            check_every=given.check_every,
            workers=number_of_workers(given.workers, device),
            part=part,
        )  # fmt: skip

    run_parts(work, given.processes)


if __name__ == "__main__":
    run_command(main)
