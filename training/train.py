"""Train the small RMNet from random weights: `python training/train.py --out runs/small`.

The run goes on from `OUT/checkpoint.pt` if there is one. `--clips` may be lowered (or raised)
then: the schedule is a function of clips seen / clips planned, so that a late run still ends at
a low learning rate. `--processes` may change then, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from held_out import held_out_jaccard
from layers import Recipe
from objective import initialise, last_jaccard, random_margins, segmentation_loss, unroll
from parallel import WHOLE, Part, run_parts
from rmnet.config import RMNetConfig
from rmnet.network.rmnet import RMNet
from rmnet.weights import save_network
from runs import (
    SMALL,
    Average,
    Log,
    load_checkpoint,
    make_optimiser,
    save_checkpoint,
)
from schedule import Batches, hardest_part, learning_rate, load, segmentation_recipe
from sources import Sources, default_data

PEAK_RATE, END_RATE = 1.5e-3, 1.5e-5
WEIGHT_DECAY = 0.03
CLIP_NORM = 2.0
LOG_EVERY = 50  # steps


def train(
    sources: Sources,
    out: Path,
    *,
    clips: int,
    seed: int = 0,
    config: RMNetConfig = SMALL,
    bfloat16: bool = True,
    check_every: int = 6000,
    workers: int = 1,
    stop_after: int | None = None,
    draw: Callable[[float, np.random.Generator], Recipe] = segmentation_recipe,
    part: Part = WHOLE,
) -> RMNet:
    """Train until `clips` clips are seen.

    Args:
        sources: The images.
        out: Folder of the checkpoint, the log and the exported average.
        clips: Planned clips.
        seed: Of the weights and of every batch.
        config: The network.
        bfloat16: Whether convolutions run in bfloat16.
        check_every: Clips between two checkpoints with the J of the held-out clips.
        workers: 1 to make batches in another process.
        stop_after: Leave (with a checkpoint) once so many clips are seen.
        draw: Recipe of the next batch, from progress.
        part: Which of several processes this is.

    Returns:
        The averaged network.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = RMNet(config)
    initialise(network)
    # TinyFlowNet has a command of its own; see export.py for how they are joined.
    network.flow.requires_grad_(requires_grad=False)
    network = network.to(memory_format=torch.channels_last).train()
    average, optimiser = Average(network), make_optimiser(network, weight_decay=WEIGHT_DECAY)
    checkpoint, log, seen = out / "checkpoint.pt", Log(out / "log.jsonl"), 0
    if checkpoint.exists():
        seen = load_checkpoint(checkpoint, network, average, optimiser)
    batches = Batches(sources, draw, seed=seed, seen=seen, planned=clips, part=part)
    recent: list[tuple[float, float]] = []
    next_check = seen + check_every

    def check() -> None:
        if part.number != 0:
            return
        save_checkpoint(checkpoint, network, average, optimiser, seen)
        save_network(average.module, out, dtype=torch.float16)
        scores = held_out_jaccard(average.module, sources.held_out)
        mean = float(np.mean(list(scores.values()))) if scores else None
        log.write(kind="check", seen=seen, held_out=mean, **scores)

    for batch in load(batches, workers=workers):
        progress = batch.before / clips
        rate = learning_rate(progress, peak=PEAK_RATE, end=END_RATE)
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows = batch.recipe.batch * batch.recipe.objects
        margins = random_margins(np.random.default_rng([seed, batch.before, part.number, 1]), rows)
        logits = unroll(network, batch.clips, margins, bfloat16=bfloat16)
        masks = batch.clips.masks
        loss = segmentation_loss(logits, masks, hardest=hardest_part(progress))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        part.average_gradients(network)
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimiser.step()
        average.update(network)
        seen = batch.after
        recent.append((loss.item(), last_jaccard(logits, masks)))
        if len(recent) == LOG_EVERY:
            losses, scores = zip(*recent, strict=True)
            recent = []
            if part.number == 0:
                log.write(
                    kind="train", seen=seen, rate=rate,
                    loss=float(np.mean(losses)), jaccard=float(np.mean(scores)),
                )  # fmt: skip
        if stop_after is not None and seen >= stop_after:
            break
        if seen >= next_check:
            check()
            next_check = seen + check_every
    check()
    return average.module


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default_data())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--check-every", type=int, default=6000, help="clips")
    given = parser.parse_args()
    sources = Sources(given.data)

    def work(part: Part) -> None:
        torch.set_num_threads(given.threads)
        train(
            sources,
            given.out,
            clips=given.clips,
            seed=given.seed,
            bfloat16=given.precision == "bfloat16",
            check_every=given.check_every,
            part=part,
        )

    run_parts(work, given.processes)


if __name__ == "__main__":
    main()
