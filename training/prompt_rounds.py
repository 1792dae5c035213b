"""What the prompt network is trained on: looks at a picture, each with more prompts than before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from rmnet.network import Features, PromptNetwork
from rmnet.prompting import SIDE, box_planes, click_planes
from training.prompt_pictures import PromptBatch

BOX, CLICK, MEND = range(3)  # what a sample begins with: a box, a click, or a wrong mask
SHARES = (0.45, 0.35, 0.2)
_LOOKS = 3  # at the first view, with a click on an error between them
_CLICK_WEIGHT = 4.0  # of a pixel that is clicked, beyond 1
_LEAST_ERROR = 12  # px of a view; smaller errors get no click


@dataclass
class Looks:
    """The prompts of B samples, in pixels of the picture.

    Attributes:
        boxes: (B, 4), of samples that begin with a box.
        has_box: (B,) bool.
        clicks: Points (B, 2), whether each is on the object (B,), and whether it counts (B,).
    """

    boxes: Tensor
    has_box: Tensor
    clicks: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def planes(self, views: Tensor, masks: Tensor) -> Tensor:
        """Return the prompts as planes (B, 4, SIDE, SIDE) of views; masks are planes already."""
        box = box_planes(to_views(self.boxes, views)) * self.has_box.view(-1, 1, 1, 1)
        on, off = torch.zeros_like(box), torch.zeros_like(box)
        for points, is_on, counts in self.clicks:
            blob = click_planes(to_views(points, views)) * counts.view(-1, 1, 1, 1)
            on = torch.maximum(on, blob * is_on.view(-1, 1, 1, 1))
            off = torch.maximum(off, blob * ~is_on.view(-1, 1, 1, 1))
        return torch.cat((box, on, off, masks), dim=1)


def rounds(
    network: PromptNetwork,
    trunk: Callable[[Tensor], tuple[Tensor, Features]],
    batch: PromptBatch,
    seed: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield logits, truth and weight (B, 1, SIDE, SIDE) of look after look.

    Two looks see the same view, with a click on the largest error between them; the last one sees
    a view around the mask found, with everything that was known before.
    """
    rng = torch.Generator().manual_seed(seed)
    count = len(batch.images)
    kinds = torch.multinomial(torch.tensor(SHARES), count, replacement=True, generator=rng)
    loose = _uniform(rng, (count, 4), -0.06, 0.06) * _uniform(rng, (count, 1), 0.5, 2.0)
    widths = (batch.boxes[:, 2:] - batch.boxes[:, :2]).repeat(1, 2)
    looks = Looks(batch.boxes + loose * widths, kinds == BOX)
    has_click = kinds == CLICK
    looks.clicks.append((batch.clicks, torch.ones(count, dtype=torch.bool), has_click))
    wrong = _wrong_masks(batch.truth, batch.boxes, rng) * (kinds == MEND).view(-1, 1, 1, 1)

    views = squares_around(looks.boxes, _uniform(rng, (count,), 1.2, 1.7))
    views = torch.where(has_click[:, None], _wide_views(batch, rng), views)
    picture, truth, weight = _view(batch, views)
    with torch.no_grad():
        image, features = trunk(picture)
    masks = sample_views(wrong, views)
    mend = kinds == MEND
    looks.clicks.append(_click_on_error(masks, truth, weight, views, rng, mend))
    logits = None
    for _ in range(_LOOKS):
        if logits is not None:
            masks = _as_mask(logits, rng)
            looks.clicks.append(_click_on_error(masks, truth, weight, views, rng, None))
        prompts = looks.planes(views, masks)
        logits = network(image, features, prompts)
        yield logits, truth, _stressed(weight, prompts)

    assert logits is not None
    found = logits.detach()[:, 0] > 0
    near = squares_around(
        _boxes_or(found, views, looks.boxes, truth), _uniform(rng, (count,), 1.25, 1.6)
    )
    picture, truth, weight = _view(batch, near)
    # Of the last look, at the new view: logits far below 0 outside of the old one.
    masks = _as_mask(_between(logits.detach(), views, near), rng)
    with torch.no_grad():
        image, features = trunk(picture)
    extra = torch.rand(count, generator=rng) < 0.5
    looks.clicks.append(_click_on_error(masks, truth, weight, near, rng, extra))
    prompts = looks.planes(near, masks)
    yield network(image, features, prompts), truth, _stressed(weight, prompts)


def squares_around(boxes: Tensor, zoom: Tensor) -> Tensor:
    """Return squares (B, 3) as (x0, y0, side) around boxes (B, 4)."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    side = torch.maximum(x1 - x0, y1 - y0).clamp(min=16) * zoom
    return torch.stack(((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side), dim=-1)


def sample_views(planes: Tensor, views: Tensor) -> Tensor:
    """Cut squares (B, 3) out of planes (B, C, H, W): (B, C, SIDE, SIDE), zeros outside."""
    height, width = planes.shape[-2:]
    steps = (torch.arange(SIDE) + 0.5) / SIDE
    x = views[:, :1] + steps * views[:, 2:]
    y = views[:, 1:2] + steps * views[:, 2:]
    grid = torch.stack(
        (
            (2 * x / width - 1)[:, None, :].expand(-1, SIDE, -1),
            (2 * y / height - 1)[:, :, None].expand(-1, -1, SIDE),
        ),
        dim=-1,
    )
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def to_views(coordinates: Tensor, views: Tensor) -> Tensor:
    """Turn x, y, x, y, ... (B, 2 or 4) of pictures into pixels of views (B, 3)."""
    corners = views[:, :2].repeat(1, coordinates.shape[1] // 2)
    return (coordinates - corners) * (SIDE / views[:, 2:])


def _view(batch: PromptBatch, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures, truth (0 or 1) and weight (0 where the truth is unknown) of views."""
    planes = torch.cat((batch.images, batch.truth, batch.void), dim=1)
    seen = sample_views(planes, views)
    return seen[:, :3], (seen[:, 3:4] > 0.5).float(), (seen[:, 4:] < 0.5).float()


def _stressed(weight: Tensor, prompts: Tensor) -> Tensor:
    """Return weights (B, 1, SIDE, SIDE) that are larger around clicks, which are sure."""
    return weight * (1 + _CLICK_WEIGHT * prompts[:, 1:3].amax(dim=1, keepdim=True))


def _wide_views(batch: PromptBatch, rng: torch.Generator) -> Tensor:
    """Return squares (B, 3) of most of the picture, as one looks at it for a click alone."""
    longer = batch.sizes.max(dim=1, keepdim=True).values
    side = longer * _uniform(rng, (len(longer), 1), 0.6, 1.05)
    corner = (batch.sizes - side) / 2
    # Moved towards the object; the picture's middle stays likely.
    centre = (batch.boxes[:, :2] + batch.boxes[:, 2:]) / 2
    pull = _uniform(rng, (len(longer), 1), 0.0, 1.0) * (side < longer)
    return torch.cat((corner + pull * (centre - batch.sizes / 2), side), dim=1)


def _click_on_error(
    masks: Tensor,
    truth: Tensor,
    weight: Tensor,
    views: Tensor,
    rng: torch.Generator,
    counts: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return points (B, 2) of the pictures in the thick of the largest errors; see `Looks.clicks`."""
    found = masks > 0.5
    errors = torch.cat(((truth > 0.5) & ~found, (truth < 0.5) & found), dim=1) * weight
    # How much of an error lies around a pixel; coarse, since a large window is slow.
    around = F.avg_pool2d(F.avg_pool2d(errors, 4), 7, stride=1, padding=3)
    thick = F.interpolate(around, scale_factor=4, mode="bilinear") * errors
    thick = thick.amax(dim=1).flatten(1)
    noisy = thick * (0.7 + 0.3 * torch.rand(thick.shape, generator=rng))
    place = noisy.argmax(dim=1)
    points = torch.stack((place % SIDE, place // SIDE), dim=1).float() + 0.5
    is_on = truth.flatten(1).gather(1, place[:, None])[:, 0] > 0.5
    enough = errors.sum(dim=(1, 2, 3)) >= _LEAST_ERROR
    in_picture = points * (views[:, 2:] / SIDE) + views[:, :2]
    return in_picture, is_on, enough if counts is None else enough & counts


def _as_mask(logits: Tensor, rng: torch.Generator) -> Tensor:
    """Return present masks (B, 1, H, W) as they are given back: hard or, for half of them, soft."""
    soft = logits.detach().sigmoid()
    is_hard = (torch.rand(len(soft), generator=rng) < 0.5).view(-1, 1, 1, 1)
    return torch.where(is_hard, (soft > 0.5).float(), soft)


def _boxes_or(found: Tensor, views: Tensor, boxes: Tensor, truth: Tensor) -> Tensor:
    """Return boxes (B, 4) around the masks found, or `boxes` where these have little to do with it."""
    is_true = truth[:, 0] > 0.5
    overlap = (found & is_true).sum(dim=(1, 2)) / (found | is_true).sum(dim=(1, 2)).clamp(min=1)
    result = boxes.clone()
    for number in (overlap > 0.2).nonzero()[:, 0].tolist():
        x = found[number].any(0).nonzero()[[0, -1], 0]
        y = found[number].any(1).nonzero()[[0, -1], 0]
        edges = torch.stack((x[0], y[0], x[1] + 1, y[1] + 1)).float()
        result[number] = edges * (views[number, 2] / SIDE) + views[number, :2].repeat(2)
    return result


def _between(logits: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """Resample logits (B, 1, SIDE, SIDE) of views at other views; -20 outside of the old ones."""
    scale = SIDE / old[:, 2:]
    corner = (new[:, :2] - old[:, :2]) * scale
    return sample_views(logits + 20, torch.cat((corner, new[:, 2:] * scale), dim=1)) - 20


def _wrong_masks(truth: Tensor, boxes: Tensor, rng: torch.Generator) -> Tensor:
    """Return masks (B, 1, H, W) as a tracker gets them wrong: moved, cut off, or spilt over."""
    size = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
    side = float(truth.shape[-1])
    scale = _uniform(rng, (len(truth), 1), 0.85, 1.15)
    shift = size * _uniform(rng, (len(truth), 2), -0.12, 0.12)
    whole = torch.cat((shift, torch.full((len(truth), 1), side) * scale), dim=1)
    moved = F.interpolate(sample_views(truth, whole), size=truth.shape[-2:], mode="bilinear")
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    middle = middle + size * _uniform(rng, (len(truth), 2), -0.25, 0.25)
    angle = _uniform(rng, (len(truth), 1), 0, 6.2832)
    steps = torch.arange(truth.shape[-1]).float()
    beyond = (
        (steps[None, None, :] - middle[:, 0, None, None]) * angle.cos()[..., None]
        + (steps[None, :, None] - middle[:, 1, None, None]) * angle.sin()[..., None]
    )[:, None] > 0
    centre = boxes[:, :2] + torch.rand(len(truth), 2, generator=rng) * (boxes[:, 2:] - boxes[:, :2])
    reach = size * _uniform(rng, (len(truth), 1), 0.15, 0.45)
    spilt = ((steps[None, None, :] - centre[:, 0, None, None]).abs() < reach[..., None]) & (
        (steps[None, :, None] - centre[:, 1, None, None]).abs() < reach[..., None]
    )
    dice = torch.rand(len(truth), generator=rng).view(-1, 1, 1, 1)
    mask = (moved > 0.5).float()
    mask = torch.where(dice < 0.55, mask * beyond, mask)
    return torch.where(dice > 0.45, torch.maximum(mask, spilt[:, None].float()), mask)


def _uniform(rng: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=rng)
