"""Train the prompt network on rmnet-small's frozen trunk: `python -m training.train_prompt`."""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from rmnet.network import Features, PromptNetwork
from rmnet.prompting import Trunk
from training.clock import Clock, Deadline
from training.prompt_pictures import HELD_OUT, PromptBatch, draw_batch, find_pictures
from training.prompt_rounds import rounds
from training.sources import default_data

_SAVE_EVERY = 60.0  # seconds
_AVERAGE = 0.998  # of the weights, a step
_AHEAD = 4  # batches read ahead


def main() -> None:
    """Train, or go on from the checkpoint in `--out`."""
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    trunk = Trunk.packaged()
    network = PromptNetwork(trunk.widths).to(memory_format=torch.channels_last)
    if args.start is not None:
        start = load_file(args.start)
        network.load_state_dict({name: x.float() for name, x in start.items()}, strict=False)
    optimiser = torch.optim.AdamW(network.parameters(), args.rate, weight_decay=0.02)
    average, step, seconds = copy.deepcopy(network), 0, 0.0
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        step, seconds = state["step"], state["seconds"]
    deadline = Deadline(Clock(seconds), args.minutes)
    paths, held_out = find_pictures(args.data, args.held_out)
    if not paths:
        raise SystemExit(
            f"{args.data} has no picture to train on beside {len(held_out)} that are held out; "
            "accepted: train/stills/NAME/*.webp and train/clips/NAME/*.webp, a label PNG beside each. "
            "Write --data with another folder, or a smaller --held-out"
        )
    due, losses = deadline.clock.seconds + _SAVE_EVERY, []
    bar = tqdm(_batches(paths, args.seed, step, args.batch), unit=" batches", initial=step)
    for batch in bar:
        if deadline.passed >= 1:
            break
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / 50)
            group["lr"] = (
                args.rate * warm * max(0.01, (1 + math.cos(math.pi * deadline.passed)) / 2)
            )
        losses.append(_step(network, trunk, optimiser, batch, seed=args.seed + step))
        step += 1
        keep = min(_AVERAGE, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        if deadline.clock.seconds >= due or deadline.passed >= 1:
            by_look = np.mean(losses, axis=0).round(4).tolist()
            row = {"step": step, "minutes": round(deadline.clock.seconds / 60, 1), "loss": by_look}
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            bar.set_postfix_str(str(by_look))
            _save(checkpoint, network, average, optimiser, step, deadline.clock.seconds)
            due, losses = deadline.clock.seconds + _SAVE_EVERY, []
    tensors = {k: v.half().contiguous() for k, v in average.state_dict().items()}
    (args.out / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the checkpoint, resumed if there is one")
    add(
        "--data", type=Path, default=default_data(), help="folder with train/stills and train/clips"
    )
    add("--minutes", type=float, default=100, help="length of the whole run (default: 100)")
    add("--start", type=Path, help="weights to begin with, a .safetensors file")
    add("--rate", type=float, default=1.5e-3, help="highest learning rate (default: 0.0015)")
    add("--batch", type=int, default=12, help="pictures a batch (default: 12)")
    add("--threads", type=int, default=1, help="threads of the computation (default: 1)")
    held_out = f"stills that are never trained on (default: {HELD_OUT})"
    add("--held-out", type=int, default=HELD_OUT, help=held_out)
    add("--seed", type=int, default=0)
    return parser.parse_args()


def _batches(paths: list[Path], seed: int, step: int, count: int) -> Iterator[PromptBatch]:
    """Yield batches without end, read ahead; each depends on the seed and its number only."""
    with ThreadPoolExecutor(1) as pool:

        def read(number: int) -> PromptBatch:
            return draw_batch(paths, np.random.default_rng((seed, number)), count)

        ahead = [pool.submit(read, step + number) for number in range(_AHEAD)]
        while True:
            step += 1
            ahead.append(pool.submit(read, step + _AHEAD - 1))
            yield ahead.pop(0).result()


def _step(
    network: PromptNetwork,
    trunk: Callable[[Tensor], tuple[Tensor, Features]],
    optimiser: torch.optim.Optimizer,
    batch: PromptBatch,
    *,
    seed: int,
) -> list[float]:
    """Take one step of the optimiser and return the loss of every look."""
    optimiser.zero_grad()
    losses = []
    for logits, truth, weight in rounds(network, trunk, batch, seed):
        loss = mask_loss(logits, truth, weight)
        loss.backward()  # look by look: the next one takes only the mask, without gradient
        losses.append(loss.item())
    nn.utils.clip_grad_norm_(network.parameters(), 4.0)
    optimiser.step()
    return losses


def mask_loss(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Return cross-entropy, a tenth of it by error, and half the soft Jaccard loss."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weight
    # As in the normalised focal loss: the share of a pixel grows with its error.
    errors = (logits.sigmoid() - truth).detach().square() * weight
    focal = (entropy * errors).sum(dim=(1, 2, 3)) / errors.sum(dim=(1, 2, 3)).clamp(min=1.0)
    known = (weight > 0).float()
    found, truth = logits.sigmoid() * known, truth * known
    both = (found * truth).sum(dim=(1, 2, 3))
    either = (found + truth).sum(dim=(1, 2, 3)) - both
    return entropy.mean() + 0.1 * focal.mean() + 0.5 * (1 - (both + 1) / (either + 1)).mean()


def _save(
    path: Path,
    network: PromptNetwork,
    average: PromptNetwork,
    optimiser: torch.optim.Optimizer,
    step: int,
    seconds: float,
) -> None:
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seconds": seconds,
    }
    unfinished = path.with_suffix(".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
