"""The run's yardstick: J on clips no weights were made from."""

from __future__ import annotations

import torch

from pictures import Video
from rmnet.geometry import backward_warp, normalise, resize
from rmnet.metrics import jaccard
from rmnet.network import RMNet
from rmnet.network.flow import TinyFlowNet
from rmnet.segmenter import RMNetSegmenter

FRAMES, STRIDE = 40, 2  # of each clip: its first 40 frames, every other one


def held_out_jaccard(
    network: RMNet,
    videos: dict[str, Video],
    *,
    device: torch.device | str = "cpu",
    size: int | None = None,
) -> dict[str, float]:
    """Mean J over the objects of every clip's frames 1.., the first masks given, as in use.

    Without flow: TinyFlowNet is trained apart. A clip that begins without an object is left out.
    """
    segmenter = RMNetSegmenter(network, device=device)
    scores = {}
    for name, video in videos.items():
        frames, truth = video.frames[:FRAMES:STRIDE], video.labels[:FRAMES:STRIDE].numpy()
        ids = [int(i) for i in torch.from_numpy(truth[0]).unique() if i > 0]
        if not ids or len(truth) < 2:
            continue
        labels = segmenter.track(frames, truth[0].astype(int), flow="none", size=size).labels
        per_frame = [
            jaccard(labels[t] == i, truth[t] == i) for t in range(1, len(truth)) for i in ids
        ]
        scores[name] = sum(per_frame) / len(per_frame)
    return scores


@torch.inference_mode()
def carried_jaccard(
    flow: TinyFlowNet,
    videos: dict[str, Video],
    *,
    device: torch.device | str = "cpu",
    size: int = 480,
) -> dict[str, float]:
    """How well a flow carries the true mask of frame t-1 to t, neighbours in the clip.

    Frames are resized, enlarged too, to a shorter side of `size` px: what matters is how good the
    flow is at the size it is used at.

    Returns:
        `carried`, the mean J; `kept`, the same with no motion at all; `photometric`, the mean
        difference (0..255) of the carried frame where it is inside, and `still`, of the last one.
    """
    totals: dict[str, list[float]] = {"carried": [], "kept": [], "photometric": [], "still": []}
    for video in videos.values():
        all_frames, labels = video.frames, video.labels
        scale = size / min(all_frames.shape[-2:])
        inner = round(all_frames.shape[-2] * scale), round(all_frames.shape[-1] * scale)
        for t in range(1, min(FRAMES, len(all_frames)), 2 * STRIDE):
            frames = resize(all_frames[t - 1 : t + 1].to(device).float(), inner)
            masks = (labels[t - 1 : t + 1, None] > 0).to(device).float()
            masks = resize(masks, inner)
            images = normalise(frames)
            found = flow(images[1:], images[:1])
            ones = torch.ones_like(masks[:1])
            carried = backward_warp(torch.cat([masks[:1], frames[:1], ones], 1), found)
            for name, mask in (("carried", carried[:, :1]), ("kept", masks[:1])):
                a, b = mask >= 0.5, masks[1:] >= 0.5
                totals[name].append(float((a & b).sum() / (a | b).sum().clamp(min=1)))
            inside = carried[:, 4:] > 0
            for name, frame in (("photometric", carried[:, 1:4]), ("still", frames[:1])):
                difference = (frame - frames[1:]).abs().mean(1, keepdim=True)
                totals[name].append(float(difference[inside].mean()))
    return {name: sum(values) / len(values) for name, values in totals.items() if values}
