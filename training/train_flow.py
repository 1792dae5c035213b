"""Train TinyFlowNet on known motions.

    python -m training.train_flow training/configs/rmnet-small.json --out runs/flow

Draws pairs of frames into OUT/pairs first (0.9 GB), then learns from views of them. Like
`training.train`, a run resumes from the checkpoint in --out if there is one.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rmnet.geometry import normalise
from rmnet.network import TinyFlowNet
from training.arguments import (
    chosen_device,
    number_of_workers,
    read_sources,
    run_command,
    training_parser,
)
from training.draw_curves import draw_if_possible
from training.held_out import carried_jaccard
from training.loop import train_loop
from training.pair_bank import PairBank, open_bank
from training.parallel import WHOLE
from training.phases import FlowPhase, Optimiser, TrainingConfig, read_config
from training.runs import CHECKPOINT, Log, Run
from training.sources import Sources
from training.start import start_flow
from training.views import look, noise_plane, random_view

# Weights of the flows at strides 4, 8, 16 and 32 of the halved pair. FlowNetS gives coarse levels
# larger weights; here the finest, which inference uses, has the largest.
LEVEL_WEIGHTS = (1.0, 0.5, 0.25, 0.25)
# px; errors are divided by this plus the motion, so that slow objects are followed exactly and the
# few fastest ones do not dominate the gradient.
SLOW = 4.0


def initialise_flow(network: TinyFlowNet) -> None:
    """Keep the variance through leaky ReLUs, and start with bilinear enlarging of flows."""
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.1)
        elif isinstance(module, nn.ConvTranspose2d):
            # With stride 2, an output depends on a quarter of the 4x4 kernel.
            nn.init.normal_(module.weight, std=(2 / (4 * module.in_channels)) ** 0.5)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for layer in (network.enlarge5, network.enlarge4, network.enlarge3):
        with torch.no_grad():
            layer.weight.copy_(torch.eye(2)[:, :, None, None] * torch.outer(ramp, ramp))


def flow_loss(levels: tuple[Tensor, ...], flow: Tensor) -> Tensor:
    """Compute the relative end-point error at all levels.

    Args:
        levels: Flows (B, 2, H/s, W/s) px, the finest first.
        flow: True flow (B, 2, H, W) px, NaN where unknown.
    """
    known = flow.isfinite().all(1, keepdim=True).float()
    flow = flow.nan_to_num(0.0)
    total = flow.new_zeros(())
    for found, weight in zip(levels, LEVEL_WEIGHTS, strict=True):
        size = found.shape[-2], found.shape[-1]
        share = F.adaptive_avg_pool2d(known, size)
        wanted = F.adaptive_avg_pool2d(flow, size) / share.clamp(min=1e-6)
        counts = (share[:, 0] > 0.5).float()
        error = (found.float() - wanted).square().sum(1).add(1e-4).sqrt()
        part = counts * SLOW / (SLOW + wanted.norm(dim=1))
        total = total + weight * (part * error).sum() / counts.sum().clamp(min=1)
    return total / sum(LEVEL_WEIGHTS)


@dataclass(frozen=True)
class Views:
    """A batch of `views.look`: frames (B, 2, 3, h, w), the later first, and flow (B, 2, h, w)."""

    frames: Tensor
    flow: Tensor
    before: int
    after: int


def view_batches(
    bank: PairBank, phase: FlowPhase, *, planned: int, seen: int, seed: int, device: torch.device
) -> Generator[Views, None, None]:
    """Yield batches from `seen` views on; each depends only on the seed, `seen` and progress."""
    noise, source = noise_plane(device), (bank.flow.shape[2], bank.flow.shape[3])
    while seen < planned:
        rng, progress = np.random.default_rng([seed, seen]), seen / planned
        among = max(1, round(phase.easiest(progress) * len(bank.by_speed)))
        numbers = bank.by_speed[rng.integers(among, size=phase.batch)]
        camera = phase.camera(progress)
        views = [
            random_view(rng, source, phase.size, zoom=phase.zoom, camera=camera) for _ in numbers
        ]
        frames, flow = bank.take(numbers, device)
        if device.type == "cpu":  # one by one, to stay in the cache of the processor
            parts = [
                look([view], frames[k : k + 1], flow[k : k + 1], noise, phase.size)
                for k, view in enumerate(views)
            ]
            frames, flow = (torch.cat(part) for part in zip(*parts, strict=True))
        else:
            frames, flow = look(views, frames, flow, noise, phase.size)
        yield Views(frames, flow, seen, seen + phase.batch)
        seen += phase.batch


def train_flow(
    sources: Sources,
    config: TrainingConfig,
    out: Path,
    *,
    origin: str | None = None,
    clips: int | None = None,
    real: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    bfloat16: bool = True,
    check_every: int = 20000,
    workers: int = 1,
    stop_after: int | None = None,
) -> TinyFlowNet:
    """Train TinyFlowNet.

    Args:
        sources: The images.
        config: The network and the training of its flow.
        out: Folder of the pairs, the checkpoint and the log.
        origin: Initial weights: the folder of a run, or weights; None for random ones.
        clips: Number of views to learn from; None for that of the config.
        real: Number of pairs of real frames; None for that of the config.
        seed: Seed for the weights, the pairs and all batches.
        device: Device to train on.
        bfloat16: Whether convolutions run in bfloat16.
        check_every: Views between two checks on held-out clips, each with a checkpoint.
        workers: Number of processes that draw pairs.
        stop_after: Number of views seen after which to leave, with a checkpoint.

    Returns:
        The averaged network.
    """
    phase = config.flow if real is None else replace(config.flow, real=real)
    device = torch.device(device)
    planned = clips or phase.clips
    out.mkdir(parents=True, exist_ok=True)
    bank = open_bank(out / "pairs", sources, phase, seed=seed, device=device, workers=workers)
    torch.manual_seed(seed)
    network = TinyFlowNet(config.network)
    if origin is None:
        initialise_flow(network)
    elif not (out / CHECKPOINT).is_file():
        start_flow(network, origin)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    settings = Optimiser(
        weight_decay=phase.weight_decay, betas=config.optimiser.betas,
        clip_norm=phase.clip_norm, average_decay=phase.average_decay,
    )  # fmt: skip
    facts = {"phase": "flow", "network": config.network.to_json(), "flow_trained": True}
    run, log = Run(network, settings, out, facts), Log(out)
    run.resume()

    def step(batch: Views) -> dict[str, Tensor | float]:
        rate = phase.rate(batch.before / planned)
        pair = normalise(batch.frames).flatten(1, 2)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            levels = network.pyramid(pair.contiguous(memory_format=torch.channels_last))
        loss = flow_loss(levels, batch.flow)
        run.update(loss, rate)
        motion = batch.flow.norm(dim=1).nanmean()
        return {"loss": loss.detach(), "mean_motion": motion, "rate": rate}

    batches = view_batches(bank, phase, planned=planned, seen=run.seen, seed=seed, device=device)
    finished = train_loop(
        run, batches, step,
        lambda: carried_jaccard(
            run.average.module, sources.held_out, device=device, size=config.network.size
        ),
        log, planned=planned, check_every=check_every, part=WHOLE, stop_after=stop_after,
        check_first=origin is not None,
    )  # fmt: skip
    if finished:
        draw_if_possible(out)
    return run.average.module


def main() -> None:
    """Run the command line."""
    parser = training_parser(__doc__)
    parser.add_argument(
        "--from", dest="origin", metavar="WEIGHTS_OR_RUN",
        help="initial weights: the folder of another run, or weights; default: random ones",
    )  # fmt: skip
    parser.add_argument(
        "--real", type=int, metavar="PAIRS",
        help="number of further pairs of real frames, with the flow of OpenCV's DIS; default: the "
        "config's",
    )  # fmt: skip
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = chosen_device(given.device)
    train_flow(
        read_sources(given),
        read_config(given.config),
        given.out,
        origin=given.origin,
        clips=given.clips,
        real=given.real,
        seed=given.seed,
        device=device,
        bfloat16=given.precision == "bfloat16",
        check_every=given.check_every,
        workers=number_of_workers(given.workers, device),
    )


if __name__ == "__main__":
    run_command(main)
