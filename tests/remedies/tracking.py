"""Remedies of `rmnet.tracking`, `rmnet.segmenter` and `rmnet.results`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

import rmnet
import tiny
from remedies.table import World, filling, row
from rmnet import MemoryPolicy, RMNetSegmenter
from rmnet.prompting import NetworkPrompter
from rmnet.tracking import session_file


def still(current, previous):
    """A flow function: nothing moves."""
    return np.zeros((2, *current.shape[:2]), np.float32)


@row("tracking/full_memory.py", "Write start(size=...) with a smaller size, memory=MemoryPolicy(")
def _(w: World) -> None:
    def full(*_):
        raise MemoryError("no room")

    session = w.segmenter.start(flow=full)
    session.step(w.frames[0], w.labels)
    with w.refused():
        session.step(w.frames[1])
    for options in ({"size": 32}, {"memory": MemoryPolicy(max_frames=2)}):
        smaller = w.segmenter.start(**options)
        smaller.step(w.frames[0], w.labels)
        smaller.step(w.frames[1])
    w.segmenter.start().step(w.frames[0], w.labels, object_ids=[3])


@row("tracking/step.py", "Resize the frame, or start() another session")
def _(w: World) -> None:
    session, small = w.session(), w.frames[1][::2, ::2]
    with w.refused():
        session.step(small)
    session.step(np.asarray(Image.fromarray(small).resize(w.frames[0].shape[1::-1])))
    w.segmenter.start().step(small, w.labels[::2, ::2])


@row("tracking/annotation.py", "object_ids came without a mask; accepted: both, or neither")
def _(w: World) -> None:
    session = w.session()
    with w.refused():
        session.step(w.frames[1], object_ids=[3])
    assert w.advice("(Leave object_ids out)")
    session.step(w.frames[1])
    session.step(w.frames[2], w.labels, object_ids=[3])


@row("tracking/annotation.py", "there is nothing to track yet, or to change: no mask, box or click")
def _(w: World) -> None:
    w.enlarge()
    with w.refused():
        w.segmenter.start().step(w.frames[0])
    session = w.segmenter.start(prompter=filling)
    names = {"session": session, "frame": w.frames[0], "mask": w.labels}
    eval(f"session.{w.advice('Write (.*), correct')}", names)
    eval(f"session.{w.advice(r'(correct.*?), or')}", names)
    for call in ("session.correct(", "session.step(frame, ", "other.step(frame, "):
        other = w.segmenter.start(prompter=filling)
        eval(f"{call}{w.advice('or (boxes=.*) instead')})", {**names, "other": other})


@row(
    "tracking/annotation.py", "already tracked; accepted: new ids. Write correct(mask) to change an"
)
def _(w: World) -> None:
    session, mask = w.session(), {3: w.labels == 7}
    with w.refused():
        session.add_objects(mask)
    eval(f"session.{w.advice('Write (.*) to')}", {"session": session, "mask": mask})
    session.add_objects({9: w.labels == 3})


@row("tracking/session.py", "objects {} are not tracked; accepted: {}")
def _(w: World) -> None:
    session = w.session()
    with w.refused():
        session.remove_objects(4)
    session.remove_objects(eval(w.advice("accepted: (.*)")))


@row(
    "tracking/annotation.py",
    "the mask is binary, which stands for object 1, but the tracked objects",
)
def _(w: World) -> None:
    session, mask = w.session(), w.labels == 3
    with w.refused():
        session.correct(mask)
    session.correct(eval(w.advice("Write (.*) to correct"), {"mask": mask}))
    session.correct(mask, object_ids=[5])
    assert session.objects == (3, 7, 5)


@row(
    "tracking/annotation.py", "have no pixels and are not tracked yet; accepted: at least one pixel"
)
def _(w: World) -> None:
    session, masks = w.session(), {3: w.labels == 3, 8: w.labels == 8}
    with w.refused():
        session.correct(masks)
    session.correct({3: masks[3]})


@row("tracking/session.py", "{} needs a frame; write step(frame, mask) first")
def _(w: World) -> None:
    session = w.segmenter.start()
    with w.refused():
        session.correct(w.labels)
    session.step(w.frames[0], w.labels)
    session.correct(w.labels)


@row("tracking/session_file.py", "but the session was saved with {}; accepted: the same")
def _(w: World) -> None:
    path = w.folder / "session"
    session = w.segmenter.start(flow=still)
    session.step(w.frames[0], w.labels)
    session.save(path)
    with w.refused():
        w.segmenter.load_session(path)
    names = {"segmenter": w.segmenter, "path": path, "flow": still}
    eval(f"segmenter.{w.advice('Write (.*)')}", names)


@row("tracking/session_file.py", "but the session was saved with {}; accepted: the same")
def _(w: World) -> None:
    path = w.folder / "session"
    w.session().save(path)
    with w.refused():
        w.segmenter.load_session(path, flow=still)
    assert w.advice("(Leave flow out)")
    w.segmenter.load_session(path)


@row(
    "tracking/session_file.py",
    "the session {} {}; accepted: a file written by TrackingSession.save",
)
def _(w: World) -> None:
    with w.refused():
        w.segmenter.load_session(w.folder / "session")
    w.session().save(w.folder / "session")
    w.segmenter.load_session(w.folder / "session")


@row("tracking/session_file.py", "this rmnet reads 1 to {}. Finish it with the rmnet that wrote it")
def _(w: World) -> None:
    with w.patch.context() as patch:
        patch.setattr(session_file, "FORMAT_VERSION", 99)
        w.session().save(w.folder / "session")
        w.segmenter.load_session(w.folder / "session")  # with the one that wrote it
    with w.refused():
        w.segmenter.load_session(w.folder / "session")


@row("tracking/session_file.py", "Write from_pretrained(...) with the weights it was saved on")
def _(w: World) -> None:
    w.session().save(w.folder / "session")
    with w.refused():
        tiny.segmenter(seed=1).load_session(w.folder / "session")
    RMNetSegmenter.from_pretrained(w.weights, device="cpu").load_session(w.folder / "session")


@row("tracking/session_file.py", "Write segmenter.to(dtype=torch.{}).load_session(path)")
def _(w: World) -> None:
    w.session().save(w.folder / "session")
    segmenter = w.segmenter.to(dtype=torch.bfloat16)
    with w.refused():
        segmenter.load_session(w.folder / "session")
    names = {"segmenter": segmenter, "torch": torch, "path": w.folder / "session"}
    eval(w.advice("Write (.*)"), names)


@row("tracking/session_file.py", "is another kind of safetensors file; accepted: a file written by")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.load_session(w.weights / "model.safetensors")
    w.session().save(w.folder / "session")
    w.segmenter.load_session(w.folder / "session")


@row(
    "tracking/session_file.py", "is damaged ({}); accepted: a file written by TrackingSession.save"
)
def _(w: World) -> None:
    path = w.folder / "session"
    w.session().save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with w.refused():
        w.segmenter.load_session(path)
    path.write_bytes(content)
    w.segmenter.load_session(path)


@row("tracking/step.py", "the flow function returned {}; accepted: floats (2, H, W) = {}")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, w.labels, flow=lambda *_: None)
    shape = eval(w.advice(r"= (\(.*?\))"))
    w.segmenter.track(w.frames, w.labels, flow=lambda *_: np.zeros(shape))


@row("tracking/step.py", "the flow function returned NaN or infinity; accepted: finite pixels")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, w.labels, flow=lambda *_: still(*_) + np.nan)
    w.segmenter.track(w.frames, w.labels, flow=still)


@row("tracking/annotations.py", "masks is a {}; accepted: {frame number: mask}. Write first_mask=")
def _(w: World) -> None:
    for masks, pattern in (
        (w.labels, "Write (.*) for a mask"),
        ([w.labels] * 4, "or (masks=.*) for one"),
    ):
        with w.refused():
            w.segmenter.track(w.frames, masks=masks)
        names = {"w": w, "masks": masks}
        eval(f"w.segmenter.track(w.frames, {w.advice(pattern)})", names)


@row(
    "tracking/annotations.py",
    "first_mask {} is named like frame {}; accepted: the mask of frame 0.",
)
def _(w: World) -> None:
    mask = w.mask("00002.png")
    with w.refused():
        w.segmenter.track(w.images, mask)
    for line in (w.advice("Write masks=(.*?), or"), w.advice("or masks=(.*?) if")):
        result = w.segmenter.track(w.images, masks=eval(line))
        assert result[min(eval(line))].labels.any()


@row(
    "tracking/annotations.py",
    "first_mask {} is named like frame {}; accepted: the mask of frame 0.",
)
def _(w: World) -> None:
    mask = w.mask("00002.png")
    with w.refused():
        w.segmenter.track(w.images, mask, object_ids=[7])
    for masks in (w.advice("Write masks=(.*?), or"), w.advice("or masks=(.*?) if")):
        assert w.segmenter.track(w.images, masks=eval(masks)).object_ids == (7,)


@row("tracking/annotations.py", "masks has the frame numbers {}; accepted: integers from 0")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, masks={-1: w.labels})
    w.segmenter.track(w.frames, masks={0: w.labels})


@row("tracking/annotations.py", "masks by frame have the sizes {}; accepted: the video's own")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, w.labels, masks={2: w.labels[::2, ::2]})
    w.segmenter.track(w.frames, w.labels, masks={2: w.labels})


@row(
    "tracking/annotations.py",
    "there is nothing to track: no mask was given. Write track(frames, first_mask)",
)
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames)
    for first_mask in (w.labels, str(w.mask()), {3: w.labels == 3}):
        names = {"w": w, "frames": w.frames, "first_mask": first_mask}
        eval(f"w.segmenter.{w.advice('Write (.*?), with')}", names)
    w.patch.setattr(NetworkPrompter, "__call__", lambda _, *asked: filling(*asked))
    w.enlarge()
    eval(f"w.segmenter.{w.advice('or (track.*)')}", {"w": w, "frames": w.frames})


@row("tracking/stream.py", 'on_bad_frame is {}; accepted: "stop" or "skip"')
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, w.labels, on_bad_frame="ignore")
    for choice in ("stop", "skip"):
        w.segmenter.track(w.frames, w.labels, on_bad_frame=choice)


@row("tracking/stream.py", "frame {} is {} (height, width), the masks are {}; accepted: one size a")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, masks={2: w.labels[::2, ::2]})
    w.segmenter.track(w.frames, masks={2: w.labels})


@row("tracking/annotations.py", "frame 0 has two masks, first_mask and masks[0]; accepted: one of")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, w.labels, masks={0: w.labels})
    w.segmenter.track(w.frames, first_mask=w.labels)
    w.segmenter.track(w.frames, masks={0: w.labels})


@row("tracking/annotations.py", "object_ids came without first_mask; accepted: both, or neither")
def _(w: World) -> None:
    mask = np.stack([w.labels == 3, w.labels == 7])
    with w.refused():
        w.segmenter.track(w.frames, masks={0: mask}, object_ids=[5, 2])
    masks = eval(w.advice("write masks=(.*)"), {"rmnet": rmnet, "mask": mask})
    assert w.segmenter.track(w.frames, masks=masks).object_ids == (2, 5)
    assert w.advice("(Leave object_ids out)")
    w.segmenter.track(w.frames, masks={0: w.labels})


@row("tracking/directions.py", 'direction is {}; accepted: "forward", "backward" or "both"')
def _(w: World) -> None:
    with w.refused():
        w.segmenter.track(w.frames, w.labels, direction="sideways")
    for direction in ("forward", "backward", "both"):
        w.segmenter.track(w.frames, w.labels, direction=direction)


@row(
    "tracking/directions.py", "objects {} have no pixels in any of their masks, and no box or click"
)
def _(w: World) -> None:
    masks = {3: w.labels == 3, 8: w.labels == 8}
    with w.refused():
        w.segmenter.track(w.frames, masks={0: masks}, direction="both")
    for object_id in eval(w.advice(r"objects (\[.*?\])")):
        del masks[object_id]
    w.segmenter.track(w.frames, masks={0: masks}, direction="both")


@row("tracking/rewind.py", "{}; accepted: {}. {}")
def _(w: World) -> None:
    session = w.session()
    with w.refused():  # a frame to come
        session.rewind(2)
    eval(f"session.{w.advice('Write (.*)')}", {"session": session})
    assert session.frame_index == 0


@row("tracking/rewind.py", "{}; accepted: {}. {}")
def _(w: World) -> None:
    session = w.session()
    session.skip()
    session.step(w.frames[2])
    with w.refused():
        session.rewind(1)
    for index in w.advice("nearest being (.*?)\\.").split(" and ")[::-1]:
        session.rewind(int(index))
    eval(f"session.{w.advice('Write (.*)')}", {"session": session})


@row("tracking/rewind.py", "{}; accepted: {}. {}")
def _(w: World) -> None:
    def after_all_frames(**options):
        session = w.segmenter.start(**options)
        session.step(w.frames[0], w.labels)
        for frame in w.frames[1:]:
            session.step(frame)
        return session

    session = after_all_frames(history=1)
    with w.refused():
        session.rewind(0)
    eval(f"session.{w.advice('Write (.*), and')}", {"session": session})
    eval(w.advice("and (start.*) to keep"), {"start": after_all_frames}).rewind(0)


@row("segmenter/loaded_network.py", "device is {}, but torch finds {}; accepted: 'cpu' or None")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.to(device="cuda:99")
    for device in ("cpu", None):
        w.segmenter.to(device=device)


@row("segmenter/loaded_network.py", "device is {}; accepted: 'cpu', 'cuda', 'cuda:1', ...")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.to(device="toaster")
    w.segmenter.to(device="cpu")


@row("segmenter/loaded_network.py", "dtype is {}; accepted: {}")
def _(w: World) -> None:
    with w.refused():
        w.segmenter.to(dtype=torch.int8)
    for dtype in w.advice("accepted: (.*)").split(", "):
        w.segmenter.to(dtype=eval(dtype))


@row(
    "segmenter/loaded_network.py", "write RMNetSegmenter(rmnet.network.RMNet(config)) for new ones"
)
def _(w: World) -> None:
    with w.refused():
        w.segmenter.with_config(key_width=4)
    config = dataclasses.replace(w.segmenter.config, key_width=4)
    line = w.advice(r"write (.*\)) for")
    names = {"rmnet": rmnet, "RMNetSegmenter": RMNetSegmenter, "config": config}
    assert eval(line, names).config.key_width == 4


@row("results.py", "Write overlay(frame), or draw results of stream(), which hold theirs")
def _(w: World) -> None:
    result = w.segmenter.track(w.frames, w.labels)
    with w.refused():
        result[0].overlay()
    result[0].overlay(w.frames[0])
    next(w.segmenter.stream(w.frames, w.labels)).overlay()


@row("results.py", "object {} is not tracked in frame {}; accepted: {}")
def _(w: World) -> None:
    result = w.segmenter.track(w.frames, w.labels)
    with w.refused():
        result[0].binary(4)
    for object_id in eval(w.advice("accepted: (.*)")):
        result[0].binary(object_id)


@row(
    "metrics/measures.py", "bound is {}; accepted: a share of the diagonal in [0, 1), or px from 1"
)
def _(w: World) -> None:
    from rmnet.metrics import contour_accuracy

    one = w.labels == 3
    with w.refused():
        contour_accuracy(one, one, bound=-1)
    for bound in (0, 0.01, 1, 5):
        contour_accuracy(one, one, bound=bound)


@row("metrics/measures.py", "the truth has {} frames, of which {} were not tracked")
def _(w: World) -> None:
    result = w.segmenter.track(w.frames, w.labels)
    with w.refused():
        result.evaluate({0: w.labels, 9: w.labels})
    result.evaluate({0: w.labels, 3: w.labels})


@row("metrics/measures.py", "accepted: one per frame, or {frame number: label map}")
def _(w: World) -> None:
    result = w.segmenter.track(w.frames, w.labels)
    with w.refused():
        result.evaluate([w.labels] * 2)
    result.evaluate([w.labels] * 4)
    result.evaluate(dict.fromkeys(range(2), w.labels))


@row(
    "metrics/measures.py", "the truth of frame {} is {} of shape {}; accepted: integers of shape {}"
)
def _(w: World) -> None:
    result = w.segmenter.track(w.frames, w.labels)
    with w.refused():
        result.evaluate([w.labels.astype(float)] * 4)
    result.evaluate([w.labels.astype(int)] * 4)


@row("metrics/measures.py", "Write labels == id for one object's mask")
def _(w: World) -> None:
    from rmnet.metrics import jaccard

    labels = w.labels
    with w.refused():
        jaccard(labels, labels)
    one = eval(w.advice("Write (.*) for"), {"labels": labels, "id": 3})
    jaccard(one, one)


@row("export/run_lengths.py", "accepted: bool (H, W). Write labels == object_id")
def _(w: World) -> None:
    pytest.importorskip("pycocotools")
    from rmnet.export import encode_rle

    with w.refused():
        encode_rle(w.labels)
    encode_rle(eval(w.advice("Write (.*)"), {"labels": w.labels, "object_id": 3}))


@row("export/run_lengths.py", "Write pip install 'rmnet[coco]'")
def _(w: World) -> None:
    from rmnet.export import encode_rle

    w.without("pycocotools")
    with w.refused():
        encode_rle(w.labels == 3)
    w.assert_extra("coco", "pycocotools")
