"""Remedies of `rmnet.compat.sam2`."""

from __future__ import annotations

import numpy as np
import torch

from remedies.table import World, filling, row
from rmnet import MemoryPolicy, RMNetSegmenter
from rmnet.compat.sam2 import SAM2VideoPredictor, build_sam2_video_predictor
from rmnet.compat.sam2.frames import VideoFrames
from rmnet.io import open_frames

NAMES = {
    "MemoryPolicy": MemoryPolicy,
    "RMNetSegmenter": RMNetSegmenter,
    "SAM2VideoPredictor": SAM2VideoPredictor,
    "torch": torch,
}


def begun(w: World):
    """Return a predictor and the state of a large clip."""
    w.enlarge()
    predictor = SAM2VideoPredictor(w.segmenter, prompter=filling)
    return predictor, predictor.init_state(w.frames)


@row(
    "compat/sam2/build.py", "config_file is {}; accepted: None, since networks of SAM 2 do not run"
)
def _(w: World) -> None:
    with w.refused():
        build_sam2_video_predictor("sam2.1_hiera_l.yaml")
    names = {"build_sam2_video_predictor": build_sam2_video_predictor, "device": "cpu"}
    eval(w.advice("Write (.*)"), names)


@row("compat/sam2/frames.py", "the frames come from an iterator, which gives them only once; accep")
def _(w: World) -> None:
    predictor, _ = begun(w)
    with w.refused():
        predictor.init_state(iter(w.frames))
    read = eval(w.advice("Write (.*), if"), {"frames": iter(w.frames)})
    for video in (read, w.frames, w.images):
        assert predictor.init_state(video)["num_frames"] == len(w.frames)


@row("compat/sam2/frames.py", "frame {} is missing when the video is read again; accepted: a video")
def _(w: World) -> None:
    predictor, _ = begun(w)
    video_path = list(w.frames)
    frames = VideoFrames(open_frames(video_path))
    del video_path[2:]
    with w.refused():
        frames.read(3)
    names = {"predictor": predictor, "video_path": video_path}
    assert eval(f"predictor.{w.advice('Write (.*) again')}", names)["num_frames"] == 2


@row("compat/sam2/points.py", "{} came without {}; accepted: both or neither")
def _(w: World) -> None:
    predictor, state = begun(w)
    for one in ({"points": [[120, 90]]}, {"labels": [1]}):
        with w.refused():
            predictor.add_new_points_or_box(state, 0, 1, **one)
    predictor.add_new_points_or_box(state, 0, 1, points=[[120, 90]], labels=[1])
    predictor.add_new_points_or_box(state, 0, 1, box=(40, 30, 200, 180))


@row("compat/sam2/points.py", "there is no prompt; accepted: a box, or points with labels. Write ")
def _(w: World) -> None:
    predictor, state = begun(w)
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1)
    for pattern in ("Write (box.*), or", "or (points=.*)"):
        predictor.add_new_points_or_box(state, 0, 1, **eval(f"dict({w.advice(pattern)})"))


@row("compat/sam2/points.py", "box came with clear_old_points=False; accepted: a box that starts")
def _(w: World) -> None:
    predictor, state = begun(w)
    old, box = {"points": [[120, 90]], "labels": [1]}, (40, 30, 200, 180)
    predictor.add_new_points_or_box(state, 0, 1, **old)
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, box=box, clear_old_points=False)
    assert w.advice("(Leave clear_old_points out)")
    predictor.add_new_points_or_box(state, 0, 1, box=box, **old)


@row("compat/sam2/points.py", "box has {} numbers; accepted: four, (x0, y0, x1, y1) in pixels")
def _(w: World) -> None:
    predictor, state = begun(w)
    boxes = [(40, 30, 90, 80), (110, 30, 200, 180)]
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, box=boxes)
    assert w.advice("(one call for each object)")
    for obj_id, box in enumerate(boxes):
        predictor.add_new_points_or_box(state, 0, obj_id, box=box)
    assert state.obj_ids == [0, 1]


@row("compat/sam2/points.py", "points has the shape {} and labels {}; accepted: (n, 2) and (n,)")
def _(w: World) -> None:
    predictor, state = begun(w)
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, points=[120, 90], labels=1)
    one = eval(f"dict({w.advice('Write (.*) for a single')})")
    predictor.add_new_points_or_box(state, 0, 1, **one)


@row(
    "compat/sam2/points.py", "labels holds {}; accepted: 1 on the object and 0 beside it. Write box"
)
def _(w: World) -> None:
    predictor, state = begun(w)
    corners = [[40, 30], [200, 180]]
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, points=corners, labels=[2, 3])
    names = dict(zip(("x0", "y0", "x1", "y1"), np.ravel(corners), strict=True))
    box = eval(w.advice("Write box=(.*) for the corners"), names)
    predictor.add_new_points_or_box(state, 0, 1, box=box)


@row("compat/sam2/points.py", "the prompter returned masks of {}; accepted: of object {}, which it")
def _(w: World) -> None:
    _, state = begun(w)
    predictor = SAM2VideoPredictor(w.segmenter, prompter=lambda *_: {})
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, box=(40, 30, 200, 180))
    found = {int(w.advice(r"of object (\d+),")): np.ones(state.frames.size, np.bool_)}
    predictor = SAM2VideoPredictor(w.segmenter, prompter=lambda *_: found)
    predictor.add_new_points_or_box(state, 0, 1, box=(40, 30, 200, 180))


@row(
    "compat/sam2/points.py", "the prompter found nothing for object {}; nothing has changed. Write"
)
def _(w: World) -> None:
    predictor, state = begun(w)
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, points=[[120, 90]], labels=[0])
    assert w.advice("(Write a box around the object, or add clicks on it)")
    predictor.add_new_points_or_box(state, 0, 1, box=(40, 30, 200, 180))
    clicks = {"points": [[120, 90], [20, 30]], "labels": [0, 1]}
    predictor.add_new_points_or_box(state, 0, 2, **clicks)


@row("compat/sam2/points.py", "{} is {}; accepted: {}")
def _(w: World) -> None:
    predictor, state = begun(w)
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, box="here")
    assert w.advice(r"accepted: (four numbers \(x0, y0, x1, y1\) in pixels)")
    predictor.add_new_points_or_box(state, 0, 1, box=(40, 30, 200, 180))


@row("compat/sam2/points.py", "{} is {}; accepted: {}, all finite")
def _(w: World) -> None:
    predictor, state = begun(w)
    with w.refused():
        predictor.add_new_points_or_box(state, 0, 1, points=[[120, np.nan]], labels=[1])
    assert w.advice(r"accepted: (\(n, 2\), each point \(x, y\) in pixels)")
    predictor.add_new_points_or_box(state, 0, 1, points=[[120, 90]], labels=[1])


@row("compat/sam2/prompts.py", "mask is {}; accepted: (H, W), bool or numbers")
def _(w: World) -> None:
    predictor, state = begun(w)
    with w.refused():
        predictor.add_new_mask(state, 0, 1, "mask.png")
    for mask in (w.labels == 3, (w.labels == 3) * 255.0):
        predictor.add_new_mask(state, 0, 1, mask)


@row("compat/sam2/prompts.py", "mask has the shape {}; accepted: (H, W). Write mask[0], if the obj")
def _(w: World) -> None:
    predictor, state = begun(w)
    mask = w.labels[None] == 3
    with w.refused():
        predictor.add_new_mask(state, 0, 1, mask)
    predictor.add_new_mask(state, 0, 1, eval(w.advice("Write (.*), if"), {"mask": mask}))


@row("compat/sam2/prompts.py", "mask is {} with {} values from {} to {}; accepted: bool, or 0")
def _(w: World) -> None:
    predictor, state = begun(w)
    logits = np.where(w.labels == 3, 5.5, -4.25)
    for mask, pattern in ((logits, "Write (mask.*?), if"), (w.labels, "or (labels == .) for")):
        with w.refused():
            predictor.add_new_mask(state, 0, 1, mask)
        one = eval(w.advice(pattern), {"mask": mask, "labels": w.labels})
        predictor.add_new_mask(state, 0, 1, one)


@row("compat/sam2/propagation.py", "{}; accepted: a prompt for every object. Write add_new_mask(")
def _(w: World) -> None:
    predictor, state = begun(w)
    names = {"predictor": predictor, "state": state, "frame_idx": 0, "mask": w.labels == 3}
    for obj_id in (1, 2):
        with w.refused():
            predictor.propagate_in_video(state)
        eval(f"predictor.{w.advice('Write (.*) first')}", {**names, "obj_id": obj_id})
        list(predictor.propagate_in_video(state))
        predictor.add_new_mask(state, 0, 2, w.labels == 99)


@row(
    "compat/sam2/state.py", "there is no object {}; accepted: {}. Write add_new_mask(state, frame_"
)
def _(w: World) -> None:
    predictor, state = begun(w)
    predictor.add_new_mask(state, 0, 1, w.labels == 7)
    with w.refused():
        predictor.clear_all_prompts_in_frame(state, 0, "dog")
    for obj_id in eval(w.advice(r"accepted: (\[.*?\])")):
        predictor.clear_all_prompts_in_frame(state, 0, obj_id)
    names = {"predictor": predictor, "state": state, "frame_idx": 0, "mask": w.labels == 3}
    eval(f"predictor.{w.advice('Write (.*) first')}", names)
    predictor.clear_all_prompts_in_frame(state, 0, "dog")


@row("compat/sam2/state.py", "obj_id is {}; accepted: an integer or a string. Write int(obj_id)")
def _(w: World) -> None:
    predictor, state = begun(w)
    with w.refused():
        predictor.add_new_mask(state, 0, torch.tensor(3), w.labels == 3)
    obj_id = eval(w.advice("Write (.*)"), {"obj_id": torch.tensor(3)})
    for one in (obj_id, "dog"):
        predictor.add_new_mask(state, 0, one, w.labels == 3)


@row(
    "compat/sam2/state.py", "the state has no {}, which belongs to the inside of SAM 2; accepted: "
)
def _(w: World) -> None:
    _, state = begun(w)
    with w.refused():
        state["output_dict"]
    for key in w.advice("accepted: (.*)").split(", "):
        state[key]


@row("compat/sam2/refused.py", "{} is no option of the predictor; write ")
def _(w: World) -> None:
    with w.refused():
        SAM2VideoPredictor(w.segmenter, image_size=512)
    eval(w.advice("write (.*)"), NAMES)


@row(
    "compat/sam2/refused.py", "names weights of SAM 2, which do not run here; accepted: weights of"
)
def _(w: World) -> None:
    with w.refused():
        SAM2VideoPredictor.from_pretrained("facebook/sam2.1-hiera-large")
    eval(w.advice("Write (.*)"), NAMES)


@row("compat/sam2/refused.py", "{} is {}, an option of SAM 2, but {}")
def _(w: World) -> None:
    for option in (
        {"mode": "train"},
        {"apply_postprocessing": 1},
        {"fill_hole_area": 8},
        {"non_overlap_masks": False},
        {"add_all_frames_to_correct_as_cond": False},
    ):
        with w.refused():
            SAM2VideoPredictor(w.segmenter, **option)
        assert w.advice("(Leave it out)")
    SAM2VideoPredictor(w.segmenter)


@row("compat/sam2/refused.py", "{} is {}, an option of SAM 2, but {}")
def _(w: World) -> None:
    names = {**NAMES, "segmenter": w.segmenter}
    for option in (
        {"hydra_overrides_extra": ["++model.x=1"]},
        {"clear_non_cond_mem_around_input": True},
    ):
        with w.refused():
            SAM2VideoPredictor(w.segmenter, **option)
        eval(w.advice("Write (.*)"), names)


@row("compat/sam2/refused.py", "{} is {}, an option of SAM 2, but {}")
def _(w: World) -> None:
    with w.refused():
        SAM2VideoPredictor.from_pretrained(vos_optimized=True)
    SAM2VideoPredictor.from_pretrained()
    options = eval(f"dict({w.advice('write (.*)')})", NAMES)
    SAM2VideoPredictor.from_pretrained(**options)
