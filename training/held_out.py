"""Checks during a run: J on clips that are not trained on."""

from __future__ import annotations

import torch

from rmnet import RMNetSegmenter
from rmnet.geometry import backward_warp, normalise, resize
from rmnet.metrics import jaccard
from rmnet.network import RMNet, TinyFlowNet
from training.pictures import Video

FRAMES, STRIDE = 40, 2  # every other one of the first 40 frames of a clip


def held_out_jaccard(
    network: RMNet,
    videos: dict[str, Video],
    *,
    device: torch.device | str = "cpu",
    size: int | None = None,
) -> dict[str, float]:
    """Track every clip from its first masks, and return its mean J over objects and frames.

    Tracking uses no flow, since TinyFlowNet is trained separately. Clips whose first frame shows no
    object are left out.
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
    """Measure how well a flow carries the true mask of frame t-1 to frame t.

    Frames are resized to a shorter side of `size` px, even enlarged: what counts is the
    flow at the size of use.

    Returns:
        `carried`, the mean J; `kept`, the same without motion; `photometric`, the mean difference
        (0..255) of the carried frame where it is inside; and `still`, that of the previous frame.
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
