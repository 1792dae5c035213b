"""Doors under attack: a few random cases of each, and every hole that was found, by itself."""

import io
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("resource")
pytest.importorskip("av")
pytest.importorskip("pycocotools")

import fuzz_doors
import fuzz_files
import tiny
from rmnet import RMNetConfig, RMNetSegmenter
from rmnet.errors import (
    ConfigError,
    FrameError,
    MaskError,
    UnknownObjectError,
    VideoError,
    WeightsError,
)
from rmnet.evaluation import Record, read_meta
from rmnet.evaluation.clip import choose_clips
from rmnet.io.frame_source import open_frames
from rmnet.io.frames import as_frame
from rmnet.io.masks import parse_mask

FRAMES, LABELS = tiny.clip(3)


@pytest.mark.parametrize("door", sorted(fuzz_doors.DOORS))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=True))
def test_nothing_but_results_and_errors_of_ours_comes_out_of_a_door(door, chance):
    fuzz_doors.run_case(fuzz_doors.DOORS[door], chance, Counter())


def test_the_watch_itself_finds_what_it_looks_for(tmp_path):
    def writes(chance, folder):
        (folder.parents[1] / tmp_path.name).write_text("beside the folder of the case")

    def connects(chance, folder):
        os.system("true")

    def raises(chance, folder):
        raise KeyError("not ours")

    with pytest.raises(fuzz_doors.BrokenRuleError, match=r"os.system"):
        fuzz_doors.run_case(connects, random.Random(0), Counter())
    with pytest.raises(fuzz_doors.BrokenRuleError, match=r"open '"):
        fuzz_doors.run_case(writes, random.Random(0), Counter())
    (Path(tempfile.gettempdir()) / tmp_path.name).unlink()
    with pytest.raises(KeyError):
        fuzz_doors.run_case(raises, random.Random(0), Counter())


# --- pictures and videos -----------------------------------------------------------------------


def test_postscript_is_no_picture_whatever_its_name(tmp_path):
    (tmp_path / "0.png").write_bytes(fuzz_files.POSTSCRIPT)
    with pytest.raises(VideoError, match=r"cannot be read.*accepted: an undamaged BMP, GIF, JPEG"):
        list(open_frames(tmp_path))
    with pytest.raises(MaskError, match=r"cannot be read.*accepted: an undamaged BMP, GIF, JPEG"):
        parse_mask(tmp_path / "0.png")


class Huge:
    """Chance that always chooses the largest."""

    def choice(self, options):
        return max(options)


def test_a_picture_that_claims_to_be_huge_is_refused_with_the_limit(tmp_path):
    (tmp_path / "0.png").write_bytes(fuzz_files.huge_png(Huge()))
    for error, call in (
        (VideoError, lambda: list(open_frames(tmp_path))),
        (MaskError, lambda: parse_mask(tmp_path / "0.png")),
    ):
        with pytest.raises(error, match=rf"too many pixels; .*at most {Image.MAX_IMAGE_PIXELS}"):
            call()


def test_8k_is_not_too_large():
    frame = np.zeros((4320, 7680, 3), np.uint8)
    assert as_frame(frame) is frame
    labels = np.zeros(frame.shape[:2], np.uint8)
    labels[:9, :9] = 1
    assert parse_mask(labels).object_ids == (1,)


def test_a_video_whose_frames_are_too_large_is_refused_with_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "v.mp4"
    suffix, content = fuzz_files.video_seeds()[0]
    assert suffix == ".mp4"
    path.write_bytes(content)
    source = open_frames(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(VideoError, match=r"too many pixels; accepted: at most 1000"):
        open_frames(path)
    with pytest.raises(VideoError):
        list(source)


@pytest.mark.parametrize("content", fuzz_files.PLAYLISTS[:3], ids=["hls", "hls of a url", "concat"])
def test_playlists_are_not_followed(tmp_path, content):
    (tmp_path / "good.mp4").write_bytes(fuzz_files.video_seeds()[0][1])
    (tmp_path / "v.mp4").write_bytes(content)
    with pytest.raises(VideoError, match="cannot be read as a video"):
        open_frames(tmp_path / "v.mp4")


def test_a_video_of_an_unknown_codec_is_refused(tmp_path):
    content = fuzz_files.video_seeds()[0][1]
    assert content.count(b"avc1") > 0
    (tmp_path / "v.mp4").write_bytes(content.replace(b"avc1", b"?!?!").replace(b"avcC", b"????"))
    with pytest.raises(VideoError, match="accepted: any video that FFmpeg reads"):
        open_frames(tmp_path / "v.mp4")


def test_a_picture_opened_by_the_caller_may_turn_out_damaged():
    buffer = io.BytesIO()
    Image.fromarray(FRAMES[0]).save(buffer, "PNG")
    for error, call in ((FrameError, as_frame), (MaskError, parse_mask)):
        lazy = Image.open(io.BytesIO(buffer.getvalue()[:300]))
        lazy = lazy if error is FrameError else _as_grey(buffer)
        with pytest.raises(error, match="cannot be decoded"):
            call(lazy)


def _as_grey(buffer):
    grey = io.BytesIO()
    Image.open(io.BytesIO(buffer.getvalue())).convert("L").save(grey, "PNG")
    return Image.open(io.BytesIO(grey.getvalue()[:300]))


@pytest.mark.parametrize(
    "source", ["x" * 5000, "~nobody/x.mp4", "a\0b", ["0.png", 5], np.ndarray, Path("y" * 300)]
)
def test_paths_and_lists_that_are_none_are_refused(source):
    with pytest.raises((VideoError, FrameError)) as caught:
        open_frames(source)
    assert len(str(caught.value)) < 1000


# --- masks and ids -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tensor", [torch.zeros(9, 9).to_sparse().long(), torch.zeros(9, 9, device="meta").long()]
)
def test_tensors_without_pixels_are_refused(tensor):
    with pytest.raises(MaskError, match="no pixels to read"):
        parse_mask(tensor)
    with pytest.raises(FrameError, match="no pixels to read"):
        as_frame(torch.zeros(3, 9, 9, dtype=torch.uint8, device="meta"))


def test_a_map_of_thousands_of_objects_does_not_fill_the_memory():
    labels = np.arange(2**14, dtype=np.int32).reshape(128, 128).repeat(4, 0).repeat(4, 1)
    with pytest.raises(MaskError, match=r"16383 objects.*accepted: at most 2147483648 px"):
        parse_mask(labels)


@pytest.mark.parametrize("object_ids", [5, 1.5, [10**5000], ["a"], object()])
def test_object_ids_that_are_none_are_refused(object_ids):
    with pytest.raises(MaskError, match="accepted: i"):
        parse_mask(LABELS, object_ids=object_ids)


@pytest.mark.parametrize("ids", ["a", None, 1.5, [None], True, [10**5000]])
def test_ids_to_remove_that_are_none_are_refused(ids):
    session = tiny.segmenter().start()
    session.step(FRAMES[0], LABELS)
    with pytest.raises(UnknownObjectError, match="accepted"):
        session.remove_objects(ids)


@pytest.mark.parametrize("value", [1e300, np.nan, -np.inf, 1e39])
def test_a_flow_that_no_float32_holds_is_refused(value):
    session = tiny.segmenter().start(flow=lambda a, b: np.full((2, *LABELS.shape), value))
    session.step(FRAMES[0], LABELS)
    with pytest.raises(ConfigError, match="NaN or infinity"):
        session.step(FRAMES[1])


# --- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("stem_width", 2**40, 16384),
        ("stage_widths", (2**20,) * 3, 16384),
        ("stage_depths", (10**6, 1, 1), 256),
        ("box_margin", 10**30, 2**24),
        ("size", 2**70, 2**24),
        ("min_object_pixels", 2**63, 2**24),
    ],
)
def test_a_configuration_of_absurd_numbers_names_the_limit(field, value, limit):
    with pytest.raises(ConfigError, match=rf"{field} is .*accepted: an integer .*at most {limit}"):
        RMNetConfig(**{field: value})


def test_a_message_does_not_repeat_a_file():
    text = json.dumps({**json.loads(tiny.CONFIG.to_json()), "read": "x" * 100_000})
    with pytest.raises(ConfigError) as caught:
        RMNetConfig.from_json(text)
    assert len(str(caught.value)) < 1000


def test_a_header_that_claims_a_huge_tensor_takes_no_memory(tmp_path):
    header = {"x": {"dtype": "F32", "shape": [2**36], "data_offsets": [0, 2**38]}}
    text = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(WeightsError, match="damaged"):
        RMNetSegmenter.from_pretrained(path)
    with path.open("r+b") as file:  # 256 GiB of nothing, which the header promised
        try:
            file.truncate(8 + len(text) + 2**38)
        except OSError:
            pytest.skip("no file may be that long here")
    with pytest.raises(WeightsError):
        RMNetSegmenter.from_pretrained(path)


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path):
    buffer = io.BytesIO()
    torch.save(fuzz_files.released_seed(), buffer)
    bomb = fuzz_files.squeezed(buffer.getvalue())
    assert len(bomb) < 1_000_000
    (tmp_path / "w.pth").write_bytes(bomb)
    with pytest.raises(WeightsError, match="its parts are compressed"):
        RMNetSegmenter.from_pretrained(tmp_path / "w.pth")


@pytest.mark.parametrize("number", range(len(fuzz_files.MALICE)))
@pytest.mark.parametrize("zipped", [True, False])
def test_no_call_in_a_pickle_is_made(tmp_path, monkeypatch, number, zipped):
    monkeypatch.chdir(tmp_path)
    call = fuzz_files.Runs(*fuzz_files.MALICE[number])
    torch.save(
        {**fuzz_files.released_seed(), "more": call},
        tmp_path / "w.pth",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(WeightsError):
        RMNetSegmenter.from_pretrained(tmp_path / "w.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize("number", range(len(fuzz_files.strange_tensors())))
def test_strange_tensors_in_a_checkpoint_are_refused(tmp_path, number):
    checkpoint = {part: dict(tensors) for part, tensors in fuzz_files.released_seed().items()}
    checkpoint["rmnet"]["module.encoder_memory.conv1.weight"] = fuzz_files.strange_tensors()[number]
    torch.save(checkpoint, tmp_path / "w.pth")
    with pytest.raises(WeightsError):
        RMNetSegmenter.from_pretrained(tmp_path / "w.pth")


# --- data sets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../up", "/etc", "a\0b", "x" * 256, "a\\b", "\ud800", ".."])
def test_clips_are_not_called_by_paths(name):
    with pytest.raises(ConfigError, match=r"a clip is called .*accepted: names of folders"):
        choose_clips([name, "good"], None)


@pytest.mark.parametrize(
    "change",
    [
        {"0": {"category": "x"}},
        {"-1": {"category": "x"}},
        {str(2**31): {"category": "x"}},
        {"1": {"category": "x", "frames": "00000"}},
        {"1": {"category": "x", "frames": [1, 2]}},
        {"1": {"category": "x", "frames": {"a": 1}}},
    ],
)
def test_a_meta_json_of_other_values_is_refused(tmp_path, change):
    (tmp_path / "meta.json").write_text(json.dumps({"videos": {"v": {"objects": change}}}))
    with pytest.raises(ConfigError, match="cannot be understood"):
        read_meta(tmp_path / "meta.json")


def test_lists_in_lists_in_lists_are_refused(tmp_path):
    (tmp_path / "meta.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="cannot be understood"):
        read_meta(tmp_path / "meta.json")


@pytest.mark.parametrize("objects", [[3], ["x"], [{}], [{"id": 1, "J-Mean": "x"}], 5, {"a": 1}])
def test_a_record_without_its_numbers_is_refused(tmp_path, objects):
    benchmark = fuzz_files.Benchmark({}, [], fuzz_files.average_rows)
    clip = {"clip": "bee", "frames": 6, "seconds_a_frame": 1, "error": None, "scored": True}
    content = {"format_version": 1, "options": {}, "clips": [{**clip, "objects": objects}]}
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="is not a record of an evaluation"):
        Record(tmp_path, benchmark, options={}, facts={})


# --- no network --------------------------------------------------------------------------------

NO_NETWORK = """
import sys

def refuse(event, args):
    # every socket of Python is made here, names are asked for here
    if event.startswith("socket.") and event != "socket.gethostname":
        raise SystemExit(f"{event} {args}")

sys.addaudithook(refuse)
import numpy as np
import rmnet, rmnet.cli
from rmnet.demo import make_clip

clip = make_clip(0, num_frames=2, size=(48, 64))
segmenter = rmnet.RMNetSegmenter.from_pretrained(device="cpu")
result = segmenter.track(clip.frames, clip.labels[0])
result.save_masks(sys.argv[1])
assert rmnet.cli.main(["info", "--json"]) == 0
print("tracked", len(result))
"""


@pytest.mark.slow
def test_import_and_track_make_no_socket_and_ask_for_no_name(tmp_path):
    paths = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("tracked 2\n"), done.stderr + done.stdout
    planted = NO_NETWORK.replace("import rmnet,", "import socket; socket.socket()\nimport rmnet,")
    done = subprocess.run(
        [sys.executable, "-c", planted], capture_output=True, text=True, check=False
    )
    assert "socket.__new__" in done.stderr
