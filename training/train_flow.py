"""Train TinyFlowNet on motions that are known: `python training/train_flow.py --out runs/flow`.

The run goes on from `OUT/checkpoint.pt` if there is one, as `train.py` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from held_out import carried_jaccard
from layers import Clip, Recipe
from rmnet.config import RMNetConfig
from rmnet.image import normalise
from rmnet.network.flow import TinyFlowNet
from runs import SMALL, Average, Log, load_checkpoint, make_optimiser, save_checkpoint
from schedule import Batches, flow_recipe, learning_rate, load
from sources import Sources, default_data

PEAK_RATE, END_RATE = 1.5e-3, 1e-5
WEIGHT_DECAY = 1e-4
CLIP_NORM = 5.0
LOG_EVERY = 50  # steps
# Of the flows at strides 4, 8, 16, 32 of the halved pair, in the loss. FlowNetS weighs coarse
# levels up; the finest is the one in use, and the scale at which errors are small.
LEVEL_WEIGHTS = (1.0, 0.5, 0.25, 0.25)


def initialise_flow(network: TinyFlowNet) -> None:
    """Keep the variance through leaky ReLUs; enlarge flows bilinearly to begin with."""
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.1)
        elif isinstance(module, nn.ConvTranspose2d):
            # Stride 2: an output hears a quarter of the 4x4 kernel.
            nn.init.normal_(module.weight, std=(2 / (4 * module.in_channels)) ** 0.5)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for layer in (network.enlarge5, network.enlarge4, network.enlarge3):
        with torch.no_grad():
            layer.weight.copy_(torch.eye(2)[:, :, None, None] * torch.outer(ramp, ramp))


def flow_loss(levels: tuple[Tensor, ...], flow: Tensor) -> Tensor:
    """End-point error at every level against the true flow (B, 2, H, W), px."""
    total = flow.new_zeros(())
    for found, weight in zip(levels, LEVEL_WEIGHTS, strict=True):
        wanted = F.adaptive_avg_pool2d(flow, found.shape[-2:])
        error = (found.float() - wanted).square().sum(1).add(1e-4).sqrt()
        total = total + weight * error.mean()
    return total / sum(LEVEL_WEIGHTS)


def mirrored(clips: Clip) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames (B, 2, 3, H, W) and flow (B, 2, H, W) as they are, left-right, and upside down.

    A pair costs more to make than to learn from, so each is used three times.
    """
    frames, flow = clips.frames, clips.flow[:, 0]
    yield frames, flow
    yield frames.flip(-1), flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1)
    yield frames.flip(-2), flow.flip(-2) * torch.tensor([1.0, -1.0]).view(2, 1, 1)


def train_flow(
    sources: Sources,
    out: Path,
    *,
    clips: int,
    seed: int = 0,
    config: RMNetConfig = SMALL,
    bfloat16: bool = True,
    check_every: int = 4000,
    workers: int = 1,
    stop_after: int | None = None,
    draw: Callable[[float, np.random.Generator], Recipe] = flow_recipe,
) -> TinyFlowNet:
    """Train until `clips` pairs are seen; arguments as `train.train`. Returns the average."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = TinyFlowNet(config)
    initialise_flow(network)
    network = network.to(memory_format=torch.channels_last).train()
    average, optimiser = Average(network), make_optimiser(network, weight_decay=WEIGHT_DECAY)
    checkpoint, log, seen = out / "checkpoint.pt", Log(out / "log.jsonl"), 0
    if checkpoint.exists():
        seen = load_checkpoint(checkpoint, network, average, optimiser)
    batches = Batches(sources, draw, seed=seed, seen=seen, planned=clips)
    recent: list[tuple[float, float]] = []
    next_check = seen + check_every

    def check() -> None:
        save_checkpoint(checkpoint, network, average, optimiser, seen)
        log.write(kind="check", seen=seen, **carried_jaccard(average.module, sources.held_out))

    for batch in load(batches, workers=workers):
        rate = learning_rate(batch.before / clips, peak=PEAK_RATE, end=END_RATE)
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses = []
        for frames, truth in mirrored(batch.clips):
            previous, current = normalise(frames).unbind(1)
            pair = F.avg_pool2d(torch.cat([current, previous], 1), 2)  # as TinyFlowNet halves it
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                levels = network.pyramid(pair.contiguous(memory_format=torch.channels_last))
            loss = flow_loss(levels, truth)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimiser.step()
            average.update(network)
            losses.append(loss.item())
        seen = batch.after
        recent.append((float(np.mean(losses)), float(batch.clips.flow.norm(dim=2).mean())))
        if len(recent) == LOG_EVERY:
            errors, lengths = zip(*recent, strict=True)
            log.write(
                kind="train", seen=seen, rate=rate,
                loss=float(np.mean(errors)), mean_motion=float(np.mean(lengths)),
            )  # fmt: skip
            recent = []
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
    parser.add_argument("--clips", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--check-every", type=int, default=5000, help="clips")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    train_flow(
        Sources(given.data),
        given.out,
        clips=given.clips,
        seed=given.seed,
        bfloat16=given.precision == "bfloat16",
        check_every=given.check_every,
    )


if __name__ == "__main__":
    main()
