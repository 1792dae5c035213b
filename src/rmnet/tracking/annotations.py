"""What a caller says about the frames of a video, checked before any of them is tracked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from numbers import Integral
from typing import Any, TypeAlias, TypeVar, cast

from rmnet.errors import ConfigError, MaskError, VideoError, shown
from rmnet.io import (
    FrameSource,
    MaskLike,
    ObjectMasks,
    Overlap,
    check_is_no_frame,
    frame_named_like,
    needs_size,
    parse_mask,
)
from rmnet.prompting import BoxLike, PointsLike
from rmnet.tracking.annotation import Annotation, parse_annotation

P = TypeVar("P")
# Prompts by object id, of frame 0; or by frame number and object id.
ByFrame: TypeAlias = Mapping[int, P] | Mapping[int, Mapping[int, P]]


def annotations_by_frame(
    source: FrameSource,
    first_mask: MaskLike | None,
    masks: Mapping[int, MaskLike] | None,
    *,
    object_ids: Sequence[int] | None = None,
    boxes: ByFrame[BoxLike] | None = None,
    points: ByFrame[PointsLike] | None = None,
    overlap: Overlap = "error",
) -> dict[int, Annotation]:
    """Parse all that is given of a video, by frame number; see `RMNetSegmenter.track`.

    The video's first frame is read where polygons need its size, unless it can be read only once.
    """
    frame_masks = _masks_by_frame(source, first_mask, masks, object_ids, overlap)
    frame_boxes, frame_points = _prompts("boxes", boxes), _prompts("points", points)
    given = joined_by_frame(frame_masks, frame_boxes, frame_points)
    if not given:
        raise MaskError(
            "there is nothing to track: no mask was given. Write track(frames, first_mask), with "
            "a label map (H, W), a PNG path or {id: bool (H, W)} as the mask, or "
            "track(frames, boxes={1: (40, 30, 200, 180)})"
        )
    return given


def joined_by_frame(
    masks: Mapping[int, ObjectMasks],
    boxes: Mapping[int, Mapping[int, BoxLike]],
    points: Mapping[int, Mapping[int, PointsLike]],
) -> dict[int, Annotation]:
    """Put masks, boxes and clicks together, all by frame number."""
    given: dict[int, Annotation] = {}
    for index in sorted({*masks, *boxes, *points}):
        annotation = parse_annotation(
            masks.get(index), boxes=boxes.get(index), points=points.get(index)
        )
        if annotation is not None:
            given[index] = annotation
    return given


def _masks_by_frame(
    source: FrameSource,
    first_mask: MaskLike | None,
    masks: Mapping[int, MaskLike] | None,
    object_ids: Sequence[int] | None,
    overlap: Overlap,
) -> dict[int, ObjectMasks]:
    if masks is not None and not isinstance(masks, Mapping):
        raise ConfigError(
            f"masks is a {type(masks).__name__}; accepted: {{frame number: mask}}. Write "
            "first_mask=masks for a mask of frame 0, or masks=dict(enumerate(masks)) for one of "
            "every frame"
        )
    later = dict(masks or {})
    for mask in (first_mask, *later.values()):
        check_is_no_frame(mask, source)
    named = frame_named_like(first_mask, source)
    if named:  # not frame 0
        path = repr(str(first_mask))
        ids = shown(object_ids)
        both = path if object_ids is None else f"rmnet.io.parse_mask({path}, object_ids={ids})"
        raise MaskError(
            f"first_mask {path} is named like frame {named}; accepted: the mask of frame 0. "
            f"Write masks={{{named}: {both}}}, or masks={{0: {both}}} if it is of frame 0"
        )
    bad = [index for index in later if _is_no_frame_number(index)]
    if bad:
        raise ConfigError(f"masks has the frame numbers {shown(bad)}; accepted: integers from 0")
    if first_mask is not None and 0 in later:
        raise ConfigError(
            "frame 0 has two masks, first_mask and masks[0]; accepted: one of them. Leave one out"
        )
    if first_mask is None and object_ids is not None:
        raise ConfigError(
            "object_ids came without first_mask; accepted: both, or neither. Leave object_ids out, "
            f"or write masks={{0: rmnet.io.parse_mask(mask, object_ids={shown(object_ids)})}}"
        )
    size = None
    if source.reiterable and any(needs_size(mask) for mask in (first_mask, *later.values())):
        size = _frame_size(source)
    parsed = {
        int(index): parse_mask(mask, size=size, allow_empty=True, overlap=overlap)
        for index, mask in later.items()
    }
    if first_mask is not None:
        parsed[0] = parse_mask(first_mask, size=size, object_ids=object_ids, overlap=overlap)
    sizes = {index: masks.size for index, masks in sorted(parsed.items())}
    if len(set(sizes.values())) > 1:
        raise MaskError(f"masks by frame have the sizes {sizes}; accepted: the video's own")
    return parsed


def _prompts(name: str, prompts: ByFrame[Any] | None) -> dict[int, Mapping[int, Any]]:
    """Return prompts by frame number; {id: prompt} is of frame 0."""
    if not isinstance(prompts, Mapping) or not prompts:
        return {0: cast("Mapping[int, Any]", prompts)} if prompts else {}
    nested = [isinstance(prompt, Mapping) for prompt in prompts.values()]
    if not any(nested):
        return {0: cast("Mapping[int, Any]", prompts)}
    if not all(nested) or any(map(_is_no_frame_number, prompts)):
        example = "(40, 30, 200, 180)" if name == "boxes" else "[(120, 90, True)]"
        raise ConfigError(
            f"{name} is {shown(prompts)}; accepted: {{id: prompt}} of frame 0, or {{frame number: "
            f"{{id: prompt}}}}, frames from 0. Write {name}={{0: {{1: {example}}}, 57: {{2: {example}}}}}"
        )
    return {int(index): cast("Mapping[int, Any]", prompts[index]) for index in prompts}


def _is_no_frame_number(index: object) -> bool:
    return isinstance(index, bool) or not isinstance(index, Integral) or index < 0


def _frame_size(source: FrameSource) -> tuple[int, int]:
    with closing(source.attempted()) as frames:
        frame, _ = next(frames)
    if isinstance(frame, VideoError):
        raise frame
    return frame.shape[0], frame.shape[1]
