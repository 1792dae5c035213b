"""Train TinyFlowNet on motions that are known.

    python training/train_flow.py training/configs/rmnet-small.json --out runs/flow

Pairs of frames are drawn first, into OUT/pairs (0.9 GB); then views of them are learned from. The
run goes on from the checkpoint in --out if there is one, as `train.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arguments import (
    chosen_device,
    number_of_workers,
    read_sources,
    run_command,
    training_parser,
)
from draw_curves import draw_if_possible
from held_out import carried_jaccard
from loop import train_loop
from pair_bank import PairBank, open_bank
from parallel import WHOLE
from phases import FlowPhase, Optimiser, TrainingConfig, read_config
from rmnet.geometry import normalise
from rmnet.network.flow import TinyFlowNet
from runs import CHECKPOINT, Log, Run
from sources import Sources
from start import start_flow
from views import look, noise_plane, random_view

# Of the flows at strides 4, 8, 16, 32 of the halved pair, in the loss. FlowNetS weighs coarse
# levels up; the finest is the one in use, and the scale at which errors are small.
LEVEL_WEIGHTS = (1.0, 0.5, 0.25, 0.25)
# px; an error counts as a part of this and the motion: what is slow is to be followed exactly,
# and without it the gradient is that of the few fastest things.
SLOW = 4.0


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
    """Relative end-point error at every level against the true flow (B, 2, H, W), px, or NaN."""
    known = flow.isfinite().all(1, keepdim=True).float()
    flow = flow.nan_to_num(0.0)
    total = flow.new_zeros(())
    for found, weight in zip(levels, LEVEL_WEIGHTS, strict=True):
        share = F.adaptive_avg_pool2d(known, found.shape[-2:])
        wanted = F.adaptive_avg_pool2d(flow, found.shape[-2:]) / share.clamp(min=1e-6)
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
) -> Iterator[Views]:
    """The batches from `seen` views on; each depends on the seed, `seen` and progress alone."""
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
        if device.type == "cpu":  # one by one: what a view needs fits into the processor's cache
            parts = [
                look([view], frames[k : k + 1], flow[k : k + 1], noise, phase.size)
                for k, view in enumerate(views)
            ]
            drawn = [torch.cat(part) for part in zip(*parts, strict=True)]
        else:
            drawn = look(views, frames, flow, noise, phase.size)
        yield Views(*drawn, seen, seen + phase.batch)
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
    """Train until the planned views are seen; returns the averaged network.

    Args:
        sources: The images.
        config: The network and how its flow is trained.
        out: Folder of the pairs, the checkpoint and the log.
        origin: What to begin with: a run's folder or weights; None for random numbers.
        clips: Planned views; None for the config's.
        real: Pairs of real frames; None for the config's.
        seed: Of the weights, the pairs and every batch.
        device: Where to train.
        bfloat16: Whether convolutions run in bfloat16.
        check_every: Views between two checkpoints with a check on the held-out clips.
        workers: Processes that draw pairs.
        stop_after: Leave (with a checkpoint) once so many views are seen.
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
    network = network.to(device, memory_format=torch.channels_last).train()
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
        help="what to begin with: another run's folder, or weights; default: random numbers",
    )  # fmt: skip
    parser.add_argument(
        "--real", type=int, metavar="PAIRS",
        help="pairs of real frames besides, whose flow OpenCV's DIS finds; default: the config's",
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
