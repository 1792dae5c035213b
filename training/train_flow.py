"""Train TinyFlowNet on motions that are known.

    python training/train_flow.py training/configs/rmnet-small.json --out runs/flow

The run goes on from the checkpoint in --out if there is one, as `train.py` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
from batches import Batch, Schedule, load
from draw_curves import draw_if_possible
from held_out import carried_jaccard
from loop import train_loop
from parallel import WHOLE
from phases import Optimiser, TrainingConfig, read_config
from render import Clips
from rmnet.image import normalise
from rmnet.network.flow import TinyFlowNet
from runs import Log, Run
from sources import Sources

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


def mirrored_pairs(clips: Clips) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames (B, 2, 3, H, W) and flow (B, 2, H, W) as they are, left-right, and upside down.

    A pair costs more to make than to learn from, so each is used three times.
    """
    frames, flow = clips.frames, clips.flow[:, 0]
    yield frames, flow
    for axis, signs in ((-1, (-1.0, 1.0)), (-2, (1.0, -1.0))):
        yield frames.flip(axis), flow.flip(axis) * flow.new_tensor(signs).view(2, 1, 1)


def train_flow(
    sources: Sources,
    config: TrainingConfig,
    out: Path,
    *,
    clips: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    bfloat16: bool = True,
    check_every: int = 4000,
    workers: int = 1,
    stop_after: int | None = None,
) -> TinyFlowNet:
    """Train until the planned pairs are seen; arguments as `train.train`. Returns the average."""
    phase, device = config.flow, torch.device(device)
    planned = clips or phase.clips
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = TinyFlowNet(config.network)
    initialise_flow(network)
    network = network.to(device, memory_format=torch.channels_last).train()
    settings = Optimiser(
        weight_decay=phase.weight_decay, betas=config.optimiser.betas,
        clip_norm=phase.clip_norm, average_decay=config.optimiser.average_decay,
    )  # fmt: skip
    facts = {"phase": "flow", "network": config.network.to_json(), "flow_trained": True}
    run, log = Run(network, settings, out, facts), Log(out)
    run.resume()
    schedule = Schedule("flow", phase.recipes, planned, phase.span, seed, with_flow=True)

    def step(batch: Batch) -> dict[str, Tensor | float]:
        rate = phase.rate(schedule.progress(batch.before))
        losses = []
        for frames, truth in mirrored_pairs(batch.clips):
            previous, current = normalise(frames).unbind(1)
            pair = F.avg_pool2d(torch.cat([current, previous], 1), 2)  # as TinyFlowNet halves it
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                levels = network.pyramid(pair.contiguous(memory_format=torch.channels_last))
            loss = flow_loss(levels, truth)
            run.update(loss, rate)
            losses.append(loss.detach())
        motion = batch.clips.flow.norm(dim=2).mean()
        return {"loss": torch.stack(losses).mean(), "mean_motion": motion, "rate": rate}

    batches = load(
        sources, schedule, seen=run.seen, part=WHOLE, workers=workers, device=device
    )  # fmt: skip
    finished = train_loop(
        run, batches, step,
        lambda: carried_jaccard(run.average.module, sources.held_out, device=device),
        log, planned=planned, check_every=check_every, part=WHOLE, stop_after=stop_after,
    )  # fmt: skip
    if finished:
        draw_if_possible(out)
    return run.average.module


def main() -> None:
    """Run the command line."""
    given = training_parser(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    device = chosen_device(given.device)
    train_flow(
        read_sources(given),
        read_config(given.config),
        given.out,
        clips=given.clips,
        seed=given.seed,
        device=device,
        bfloat16=given.precision == "bfloat16",
        check_every=given.check_every,
        workers=number_of_workers(given.workers, device),
    )


if __name__ == "__main__":
    run_command(main)
