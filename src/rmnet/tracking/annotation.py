"""What a caller says about one frame: masks, boxes and clicks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rmnet.errors import MaskError, SessionError
from rmnet.geometry import resize
from rmnet.io import MaskLike, ObjectMasks, Overlap, parse_mask
from rmnet.prompting import BoxLike, PointsLike, Prompter, Prompts, parse_prompts
from rmnet.tracking.last_frame import LastFrame

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """Masks, boxes and clicks of one frame, checked; made by `parse_annotation`.

    Attributes:
        masks: Masks as they were given; None without any.
        prompts: Boxes and clicks, of other objects than those of `masks`.
    """

    masks: ObjectMasks | None
    prompts: Prompts

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects, ascending."""
        given = () if self.masks is None else self.masks.object_ids
        return tuple(sorted({*given, *self.prompts.object_ids}))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the masks in pixels; None without masks."""
        return None if self.masks is None else self.masks.size

    def fitted(self, size: tuple[int, int], tracked: Sequence[int]) -> Annotation:
        """Return the annotation for a frame of (H, W) pixels, beside the objects tracked so far.

        Raises:
            MaskError: it does not fit the frame or the objects.
        """
        if self.masks is not None:
            parse_mask(self.masks, size=size)
            _check_masks(self.masks, tracked)
        _check_clicks(self.prompts, tracked)
        return Annotation(self.masks, self.prompts.fitted(size))

    def usable(self, known: Collection[int]) -> Annotation:
        """Return the annotation for a pass that tracks the objects `known`.

        An empty mask, or clicks beside an object alone, correct an object that is tracked. They
        are left out for one that is not.
        """
        masks = self.masks
        if masks is not None:
            found = masks.masks.flatten(1).any(dim=1).tolist()
            rows = [row for row, i in enumerate(masks.object_ids) if found[row] or i in known]
            ids = tuple(masks.object_ids[row] for row in rows)
            masks = replace(masks, object_ids=ids, masks=masks.masks[rows]) if rows else None
        points = {
            i: clicks
            for i, clicks in self.prompts.points.items()
            if i in known or i in self.prompts.boxes or any(inside for *_, inside in clicks)
        }
        return Annotation(masks, Prompts(self.prompts.boxes, points))

    def resolved(
        self,
        frame: NDArray[np.uint8],
        size: tuple[int, int],
        present: Mapping[int, Mask],
        prompter: Prompter,
    ) -> ObjectMasks:
        """Return the masks given, and those that a prompter finds for boxes and clicks.

        Where found masks overlap, the smaller one is taken to be in front. Given masks are in
        front of all of them.

        Args:
            frame: RGB uint8 (h, w, 3), of the video's or a smaller size.
            size: (H, W) of the video, to which the prompts refer.
            present: Object id -> (h, w), masks of the objects tracked so far.
            prompter: Turns boxes and clicks into masks.

        Raises:
            MaskError: the prompter finds no pixel of an object, or returns something else.
        """
        if not self.prompts.object_ids and self.masks is not None:
            return self.masks
        prompts = self.prompts.scaled(frame.shape[1] / size[1], frame.shape[0] / size[0])
        known = {i: mask for i, mask in present.items() if i in prompts.object_ids}
        answer = prompter(frame, prompts.boxes, prompts.points, known)
        found = {i: _found_mask(answer, i, frame.shape[:2], size) for i in prompts.object_ids}
        layers: dict[int, torch.Tensor] = {}
        if self.masks is not None:
            layers = dict(zip(self.masks.object_ids, self.masks.masks, strict=True))
        taken = torch.zeros(size, dtype=torch.bool, device="cpu")
        for layer in layers.values():
            taken |= layer
        for object_id in sorted(found, key=lambda i: int(found[i].sum())):
            layers[object_id] = found[object_id] & ~taken
            taken |= layers[object_id]
            if not layers[object_id].any():
                raise MaskError(
                    f"no pixel of object {object_id} was found; accepted: a box around it, clicks on "
                    f"it, or its mask. Write points={{{object_id}: [(x, y, True)]}} with x and y of a "
                    "pixel of the object"
                )
        ids = tuple(sorted(layers))
        void = torch.zeros_like(taken) if self.masks is None else self.masks.void & ~taken
        return ObjectMasks(ids, torch.stack([layers[i] for i in ids]), void)


def parse_annotation(
    mask: MaskLike | Annotation | None,
    object_ids: Sequence[int] | None = None,
    boxes: Mapping[int, BoxLike] | None = None,
    points: Mapping[int, PointsLike] | None = None,
    overlap: Overlap = "error",
    *,
    size: tuple[int, int] | None = None,
) -> Annotation | None:
    """Check what is given for a frame, as far as the frame is not needed; None for nothing.

    See `parse_mask` and `parse_prompts` for arguments and errors. An annotation is returned as it
    is.
    """
    if isinstance(mask, Annotation):
        return mask
    if mask is None and object_ids is not None:
        raise MaskError(
            "object_ids came without a mask; accepted: both, or neither. Leave object_ids out; boxes "
            "and points name their own"
        )
    masks = None
    if mask is not None:
        masks = parse_mask(
            mask, size=size, object_ids=object_ids, allow_empty=True, overlap=overlap
        )
    prompts = parse_prompts(boxes, points)
    if masks is not None:
        twice = sorted(set(masks.object_ids) & set(prompts.object_ids))
        if twice:
            raise MaskError(
                f"objects {twice} have a mask and a box or clicks; accepted: one of the two. Leave "
                "boxes and points out, or write correct(boxes=boxes, points=points) after step(frame, "
                "mask)"
            )
    return Annotation(masks, prompts) if masks is not None or prompts.object_ids else None


def annotate(
    frame: LastFrame, annotation: Annotation, pixels: NDArray[np.uint8], prompter: Prompter
) -> LastFrame:
    """Return a frame with an annotation; `pixels` (h, w, 3) are what the prompter sees of it."""
    present: dict[int, Mask] = {}
    if annotation.prompts.object_ids:
        present = frame.estimate.masks((pixels.shape[0], pixels.shape[1]))
    given = annotation.resolved(pixels, frame.video_size, present, prompter)
    return replace(frame, estimate=frame.estimate.give(given))


def required(annotation: Annotation | None) -> Annotation:
    """Return the annotation, or raise a SessionError if there is none."""
    if annotation is None:
        raise SessionError(
            "there is nothing to track yet, or to change: no mask, box or click was given. Write "
            "step(frame, mask), correct(mask), or boxes={1: (40, 30, 200, 180)} instead of a mask"
        )
    return annotation


def of_new_objects(annotation: Annotation, tracked: Collection[int]) -> Annotation:
    """Return the annotation, a binary mask of which stands for a new object 1.

    Raises:
        SessionError: one of the objects is tracked already.
    """
    known = sorted(set(annotation.object_ids) & set(tracked))
    if known:
        raise SessionError(
            f"objects {known} are already tracked; accepted: new ids. Write correct(mask) to "
            "change an object"
        )
    masks = None if annotation.masks is None else replace(annotation.masks, is_binary=False)
    return Annotation(masks, annotation.prompts)


def _check_masks(masks: ObjectMasks, tracked: Sequence[int]) -> None:
    if masks.is_binary and tracked and 1 not in tracked:
        raise MaskError(
            f"the mask is binary, which stands for object 1, but the tracked objects are "
            f"{list(tracked)}; accepted: a mask with ids. Write {{{tracked[0]}: mask}} to correct "
            "an object, or object_ids=[...] for a new one"
        )
    has_pixels = masks.masks.any(dim=2).any(dim=1).tolist()
    pairs = zip(masks.object_ids, has_pixels, strict=True)
    empty = [i for i, found in pairs if not found and i not in tracked]
    if empty:
        raise MaskError(
            f"objects {empty} have no pixels and are not tracked yet; accepted: at least one "
            "pixel for a new object. Leave them out"
        )


def _check_clicks(prompts: Prompts, tracked: Collection[int]) -> None:
    for object_id, clicks in prompts.points.items():
        is_known = object_id in tracked or object_id in prompts.boxes
        if not is_known and not any(inside for *_, inside in clicks):
            raise MaskError(
                f"object {object_id} has only clicks beside it, and is not tracked yet; accepted: "
                f"a click on a new object, or a box around it. Write points={{{object_id}: [(x, y, "
                "True)]} with x and y of a pixel of the object"
            )


def _found_mask(
    answer: Mapping[int, Mask], object_id: int, shape: tuple[int, int], size: tuple[int, int]
) -> torch.Tensor:
    """Return a prompter's mask at the video's size, or raise if it is none."""
    mask = answer.get(object_id) if isinstance(answer, Mapping) else None
    is_mask = isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == shape
    if not is_mask:
        came = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise MaskError(
            f"the prompter returned {came} for object {object_id}; accepted: a mapping id -> bool "
            f"(H, W) = {shape} for every object asked for"
        )
    found = torch.from_numpy(np.array(mask))
    return found if shape == size else resize(found[None, None].float(), size)[0, 0] > 0.5
