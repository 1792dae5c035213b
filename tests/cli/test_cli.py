"""The command line: what it writes, what it says, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rmnet
import tiny
from rmnet.cli import main
from rmnet.cli.track_output import TrackOutput
from rmnet.demo import make_clip
from rmnet.export import encode_rle
from rmnet.io.draw import overlay
from rmnet.io.frame_source import open_frames
from rmnet.io.label_png import read_label_png, write_label_png
from rmnet.io.video_writer import VideoWriter
from rmnet.ops import extension
from rmnet.ops.extension import Binary
from rmnet.weights.load import load_network, save_network

SIZE = (48, 80)
NUM_FRAMES = 6
NAMES = ["shot_2", "shot_10", "shot_11", "shot_100", "shot_101", "shot_102"]  # natural order
IDS = np.array([0, 1, 3, 7], np.uint8)  # of the clip's 1, 2, 3
COMMANDS = ("track", "eval", "demo", "convert", "info")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with weights/, frames/ (JPEGs), clip.mp4, first.png and late.png."""
    root = tmp_path_factory.mktemp("cli")
    save_network(tiny.network(), root / "weights")
    clip = make_clip(num_frames=NUM_FRAMES, size=SIZE)
    (root / "frames").mkdir()
    with VideoWriter(root / "clip.mp4", frames_per_second=25) as writer:
        for name, frame in zip(NAMES, clip.frames, strict=True):
            Image.fromarray(frame).save(root / "frames" / f"{name}.jpg", quality=95)
            writer.write(frame)
    write_label_png(root / "first.png", IDS[clip.labels[0]])
    late = np.zeros(SIZE, np.uint8)
    late[4:12, 4:16] = 9
    write_label_png(root / "late.png", late)
    return root


@pytest.fixture
def call(place, monkeypatch, capsys):
    """Run the command inside of `place`: exit code, stdout, stderr."""
    monkeypatch.chdir(place)

    def run(*argv):
        code = main([str(argument) for argument in argv])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def track(call, tmp_path):
    """Run `rmnet track`, masks going to tmp_path/masks."""

    def run(video="frames", mask="first.png", *options):
        output = ("-o", tmp_path / "masks", "--weights", "weights", "--device", "cpu")
        return call("track", video, mask, *output, *options)

    return run


def masks_in(folder):
    return {path.stem: read_label_png(path) for path in sorted(folder.glob("*.png"))}


def assert_one_line_error(outcome, *words):
    code, _, error = outcome
    assert code == 1
    assert error.startswith("rmnet: error: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    for word in words:
        assert word in error


# --- rmnet track: what it writes ---------------------------------------------------------------


def test_track_writes_masks_named_like_the_images(track, place, tmp_path):
    code, _, error = track()
    assert (code, error) == (0, "")
    masks = masks_in(tmp_path / "masks")
    assert set(masks) == set(NAMES)
    assert {mask.shape for mask in masks.values()} == {SIZE}
    assert all(np.isin(mask, IDS).all() for mask in masks.values())
    assert (masks["shot_2"] == read_label_png(place / "first.png")).all()
    with Image.open(tmp_path / "masks" / "shot_10.png") as image:
        assert image.mode == "P"


def test_track_writes_what_the_library_returns(track, place, tmp_path):
    track()
    segmenter = rmnet.RMNetSegmenter.from_pretrained(place / "weights", device="cpu")
    result = segmenter.track(place / "frames", place / "first.png")
    masks = masks_in(tmp_path / "masks")
    assert (np.stack([masks[name] for name in NAMES]) == result.labels).all()


def test_track_of_a_video_writes_masks_overlay_and_run_lengths(track, tmp_path):
    code, _, error = track(
        "clip.mp4",
        "first.png",
        *("--overlay", tmp_path / "overlay.mp4", "--show-regions"),
        *("--rle", tmp_path / "masks.json"),
    )
    assert (code, error) == (0, "")
    masks = masks_in(tmp_path / "masks")
    assert list(masks) == [f"{index:05d}" for index in range(NUM_FRAMES)]

    video = open_frames(tmp_path / "overlay.mp4")
    assert video.frames_per_second == pytest.approx(25)
    pictures = list(video)
    assert len(pictures) == NUM_FRAMES
    assert {picture.shape for picture in pictures} == {(*SIZE, 3)}

    rows = json.loads((tmp_path / "masks.json").read_text())
    assert [row["frame"] for row in rows] == list(range(NUM_FRAMES))
    assert rows[1]["seconds"] == pytest.approx(0.04)
    for row in rows:
        for object_id, rle in row["objects"].items():
            assert rle == encode_rle(masks[row["name"]] == int(object_id))


def test_track_draws_each_result_over_its_own_frame(track, place, tmp_path):
    track("clip.mp4", "first.png", "--overlay", tmp_path / "overlay.mp4")
    masks = list(masks_in(tmp_path / "masks").values())
    frames = list(open_frames(place / "clip.mp4"))
    pictures = list(open_frames(tmp_path / "overlay.mp4"))
    for index, (mask, picture) in enumerate(zip(masks, pictures, strict=True)):
        errors = [abs(overlay(frame, mask).astype(int) - picture).mean() for frame in frames]
        assert int(np.argmin(errors)) == index


def test_track_takes_a_glob(track, tmp_path):
    code, _, _ = track("frames/shot_1?.jpg")
    assert code == 0
    assert set(masks_in(tmp_path / "masks")) == {"shot_10", "shot_11"}


def test_track_adds_objects_at_a_later_frame(track, tmp_path):
    code, output, _ = track("frames", "first.png", "--mask", "2:late.png")
    masks = masks_in(tmp_path / "masks")
    assert code == 0
    assert not (masks["shot_10"] == 9).any()
    assert (masks["shot_11"][4:12, 4:16] == 9).all()
    assert "4 objects (1, 3, 7, 9)" in output


def test_track_may_begin_at_a_later_frame(track, tmp_path):
    code, _, _ = track("frames", "2:first.png")
    masks = masks_in(tmp_path / "masks")
    assert code == 0
    assert not masks["shot_2"].any()
    assert not masks["shot_10"].any()
    assert set(np.unique(masks["shot_11"])) == set(IDS)


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_track_carries_masks_in_either_direction(track, place, tmp_path, direction):
    options = ("--direction", direction, "--checkpoint", "0", "--overlay", tmp_path / "o.mp4")
    code, output, error = track("clip.mp4", "3:first.png", *options)
    assert (code, error) == (0, "")
    assert "6 frames, 3 objects (1, 3, 7)" in output
    segmenter = rmnet.RMNetSegmenter.from_pretrained(place / "weights", device="cpu")
    masks = {3: place / "first.png"}
    expected = segmenter.track(place / "clip.mp4", masks=masks, direction=direction)
    found = list(masks_in(tmp_path / "masks").values())
    np.testing.assert_array_equal(found, expected.labels)
    assert len(list(open_frames(tmp_path / "o.mp4"))) == NUM_FRAMES


def test_track_follows_only_the_ids_it_is_told(track, tmp_path):
    code, output, _ = track("frames", "first.png", "--object-ids", "3,7")
    masks = masks_in(tmp_path / "masks")
    assert code == 0
    assert set(np.unique(np.stack(list(masks.values())))) <= {0, 3, 7}
    assert "2 objects (3, 7)" in output


def test_track_passes_its_options_on(track, place, monkeypatch):
    seen = {}

    def start(self, **options):
        seen.update(options, dtype=self.dtype)
        return original(self, **options)

    original = rmnet.RMNetSegmenter.start
    monkeypatch.setattr(rmnet.RMNetSegmenter, "start", start)
    options = "--size 32 --every 2 --max-frames none --flow none --dtype bfloat16 --no-progress"
    code, _, error = track("frames", "first.png", *options.split())
    assert (code, error) == (0, "")
    assert seen["size"] == 32
    assert seen["memory"] == rmnet.MemoryPolicy(every=2, max_frames=None)
    assert seen["flow"] == "none"
    assert str(seen["dtype"]) == "torch.bfloat16"


def test_track_ends_with_a_summary_of_one_line(track, tmp_path):
    _, output, _ = track("frames", "first.png", "--overlay", tmp_path / "o.mp4")
    assert output.count("\n") == 1
    assert output.startswith("6 frames, 3 objects (1, 3, 7), 0.")
    assert f"s a frame; masks in {tmp_path / 'masks'}, overlay in {tmp_path / 'o.mp4'}; " in output


def test_track_is_silent_if_asked(track):
    assert track("frames", "first.png", "--quiet", "--progress") == (0, "", "")


def test_track_shows_a_bar_with_frames_per_second_if_asked(track):
    _, _, error = track("frames", "first.png", "--progress")
    assert "6/6" in error
    assert "frames/s" in error or "s/ frames" in error


def test_summary_says_which_objects_were_lost_when(tmp_path):
    args = Namespace(output=tmp_path, overlay=None, rle=None)
    with ExitStack() as files:
        output = TrackOutput(args, open_frames([]), files)
        for index in range(20):
            status = (
                "lost" if index == 4 else "tracked",
                "lost" if index in (2, 3, 7) else "tracked",
            )
            output.write(segmentation(index, (5, 6), status))
    summary = output.summary(0.5, stopped=False)
    assert summary.endswith("; object 6 lost in frames 2-3, 7; object 5 lost in frames 4")
    assert "0.500 s a frame" in summary


def segmentation(index, ids, status):
    number = len(ids)
    return rmnet.FrameSegmentation(
        index=index,
        labels=np.zeros((4, 5), np.int32),
        object_ids=ids,
        scores=np.zeros(number, np.float32),
        status=status,
        boxes=np.zeros((number, 4), np.int32),
        regions=np.zeros((number, 4), np.int32),
    )


# --- rmnet track: how it fails -----------------------------------------------------------------


def save_image(path, array):
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize(
    ("video", "mask", "words"),
    [
        ("nowhere.mp4", "first.png", ["nowhere.mp4"]),
        ("first.txt", "first.png", ["first.txt"]),
        ("frames", "nowhere.png", ["nowhere.png"]),
        ("frames", "colours.png", ["colours.png", "mode RGB"]),
        ("frames", "other_size.png", ["24 px high", "48 by 80"]),
        ("frames", "empty.png", ["empty.png", "no object pixel"]),
    ],
)
def test_track_tells_a_mistake_in_one_line(track, place, tmp_path, video, mask, words):
    (place / "first.txt").write_text("no video")
    save_image(place / "colours.png", np.full((*SIZE, 3), (200, 90, 0), np.uint8))
    save_image(place / "other_size.png", np.eye(24, dtype=np.uint8))
    save_image(place / "empty.png", np.zeros(SIZE, np.uint8))
    assert_one_line_error(track(video, mask), *words)
    assert masks_in(tmp_path / "masks") == {}


def test_track_names_unknown_weights_in_one_line(track):
    assert_one_line_error(
        track("frames", "first.png", "--weights", "./mine"), "mine", "rmnet-small"
    )


def test_track_names_an_unknown_device_in_one_line(track):
    assert_one_line_error(track("frames", "first.png", "--device", "toaster"), "toaster", "cuda")


def test_track_refuses_two_masks_of_one_frame(track):
    outcome = track("frames", "first.png", "--mask", "late.png")
    assert_one_line_error(outcome, "frame 0 has two masks")


def test_track_refuses_a_later_mask_of_another_size_before_it_begins(track, place, tmp_path):
    save_image(place / "small.png", np.eye(24, dtype=np.uint8))
    outcome = track("frames", "first.png", "--mask", "5:small.png")
    assert_one_line_error(outcome, "24 px high")
    assert not (tmp_path / "masks").exists()


def test_track_refuses_to_write_over_frames_or_masks(call, place):
    before = {path: path.read_bytes() for path in place.rglob("*.*") if path.is_file()}
    for output in ("frames", "."):
        outcome = call("track", "frames", "first.png", "-o", output, "--weights", "weights")
        assert_one_line_error(outcome, "another folder")
    outcome = call("track", "clip.mp4", "first.png", "-o", "masks", "--overlay", "clip.mp4")
    assert_one_line_error(outcome, "--overlay", "another file")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_track_keeps_what_was_tracked_before_a_damaged_frame(track, place, tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for name in NAMES:
        content = (place / "frames" / f"{name}.jpg").read_bytes()
        (frames / f"{name}.jpg").write_bytes(content[:400] if name == NAMES[3] else content)
    video, rle = tmp_path / "overlay.mp4", tmp_path / "masks.json"
    options = ("--overlay", video, "--rle", rle, "--progress")
    code, output, error = track(frames, "first.png", *options)
    assert code == 1
    assert "stopped after 3 frames" in output
    *_, last = error.splitlines()
    assert last.startswith("rmnet: error: frame 3, ")
    assert "shot_100.jpg" in last
    assert "Traceback" not in error
    assert set(masks_in(tmp_path / "masks")) == set(NAMES[:3])
    assert len(list(open_frames(video))) == 3
    assert len(json.loads(rle.read_text())) == 3


def test_track_keeps_what_was_tracked_before_ctrl_c(track, tmp_path, monkeypatch):
    def write(self, result):
        if result.index == 2:
            raise KeyboardInterrupt
        original(self, result)

    original = TrackOutput.write
    monkeypatch.setattr(TrackOutput, "write", write)
    code, output, error = track("frames", "first.png", "--overlay", tmp_path / "overlay.mp4")
    assert (code, error) == (130, "rmnet: interrupted\n")
    assert output.startswith("stopped after 2 frames")
    assert set(masks_in(tmp_path / "masks")) == set(NAMES[:2])
    assert len(list(open_frames(tmp_path / "overlay.mp4"))) == 2


@pytest.mark.filterwarnings("always")
def test_track_warns_in_one_line_of_masks_after_the_end(track):
    code, _, error = track("frames", "first.png", "--mask", "99:late.png")
    assert code == 0
    assert error.startswith("rmnet: warning: masks or prompts were given for frames [99]")
    assert error.count("\n") == 1


@pytest.mark.parametrize("argv", [("--debug", "track"), ("track", "--debug")])
def test_debug_gives_a_traceback_before_and_after_the_command(call, argv):
    code, _, error = call(*argv, "nowhere.mp4", "first.png", "-o", "masks")
    assert code == 1
    assert error.startswith("Traceback (most recent call last)")
    assert error.splitlines()[-1].startswith("rmnet: error: ")


def test_unexpected_errors_point_at_debug(track, monkeypatch):
    def step(self, *args, **options):
        raise ZeroDivisionError("so\nit goes")

    monkeypatch.setattr(rmnet.TrackingSession, "step", step)
    assert_one_line_error(track(), "ZeroDivisionError: so it goes", "--debug")


# --- The other commands ------------------------------------------------------------------------


def test_convert_writes_a_folder_that_loads_to_the_same_numbers(call, place, tmp_path):
    code, output, _ = call("convert", "weights", tmp_path / "new")
    assert code == 0
    assert "config.json" in output
    assert f"--weights {tmp_path / 'new'}" in output
    old, new = load_network(place / "weights"), load_network(tmp_path / "new")
    assert all((new.state_dict()[name] == value).all() for name, value in old.state_dict().items())


def test_convert_half_writes_half_the_bytes(call, tmp_path):
    call("convert", "weights", tmp_path / "full")
    code, output, _ = call("convert", "weights", tmp_path / "half", "--half")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert code == 0
    assert "float16" in output
    assert sizes[0] < 0.75 * sizes[1]


def test_convert_tells_what_is_no_checkpoint(call, tmp_path):
    (tmp_path / "no.pth").write_bytes(b"no checkpoint")
    assert_one_line_error(call("convert", tmp_path / "no.pth", tmp_path / "new"), "no.pth")
    assert_one_line_error(call("convert", tmp_path / "nowhere.pth", "new"), "nowhere.pth")


def test_info_says_what_runs_and_passes_its_self_test(call):
    code, output, error = call("info", "--weights", "weights", "--device", "cpu")
    assert (code, error) == (0, "")
    for text in (f"rmnet{' ' * 16}{rmnet.__version__}", "torchvision", "\nregional_read "):
        assert text in output
    assert f"self-test{' ' * 12}passed" in output
    assert "FAILED" not in output


def test_info_prints_json(call):
    code, output, _ = call("info", "--weights", "weights", "--json")
    report = json.loads(output)
    assert code == 0
    assert report["versions"]["rmnet"] == rmnet.__version__
    assert report["weights"]["config"]["backbone"] == "resnet18"
    assert report["weights"]["parameters"] > 0
    assert report["self_test"]["passed"] is True
    names = [binary["name"] for binary in report["binaries"]]
    assert names == ["rmnet._C", "rmnet._C_cuda"]


def test_info_says_what_was_built_of_the_native_op_and_why_the_rest_was_not(call, monkeypatch):
    built = Binary("rmnet._C", Path("/x/_C.abi3.so"), None, {"torch": "2.14.1", "source hash": "f"})
    missing = Binary("rmnet._C_cuda", None, "is not built: there is no nvcc in /nowhere")
    monkeypatch.setattr(rmnet.ops, "BINARIES", (built, missing))
    _, output, _ = call("info", "--weights", "weights", "--device", "cpu")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    first = lines.index("rmnet._C /x/_C.abi3.so")
    assert lines[first + 1 : first + 3] == [
        "torch 2.14.1",
        "rmnet._C_cuda is not built: there is no nvcc in /nowhere",
    ]


@pytest.mark.parametrize(
    ("backend", "problem", "expected"),
    [
        ("native", None, ["native", "native"]),
        ("pytorch", None, ["PyTorch: RMNET_BACKEND is 'pytorch'"] * 2),
        ("auto", "is not built: no luck", ["PyTorch: rmnet._C is not built: no luck"] * 2),
        ("native", "is not built: no luck", ["nobody: RMNET_BACKEND", "PyTorch: rmnet._C is"]),
    ],
)
def test_info_says_who_computes_for_the_weights(backend, problem, expected, call, monkeypatch):
    monkeypatch.setattr(rmnet.ops.backend, "BACKEND", backend)
    monkeypatch.setattr(extension, "BINARIES", (Binary("rmnet._C", None, problem),))
    _, output, _ = call("info", "--weights", "weights", "--device", "cpu", "--json")
    operators = json.loads(output)["operators"]
    assert list(operators) == ["regional_read", "conv3x3"]
    for found, start in zip(operators.values(), expected, strict=True):
        assert found.startswith(start)


def test_info_names_the_blocks_of_a_backbone_that_has_them(call):
    _, output, _ = call("info", "--device", "cpu", "--json")
    report = json.loads(output)
    assert report["weights"]["config"]["backbone"] == "efficientnet_lite0"
    assert list(report["operators"]) == ["regional_read", "conv3x3", "inverted_residual"]


def test_info_fails_if_the_masks_are_wrong(call, monkeypatch):
    def track(self, *args, **options):
        result = original(self, *args, **options)
        result[2].labels[:] = 5
        result[1].probabilities.fill_(float("nan"))
        return result

    original = rmnet.RMNetSegmenter.track
    monkeypatch.setattr(rmnet.RMNetSegmenter, "track", track)
    code, output, _ = call("info", "--weights", "weights", "--json")
    failed = [c["claim"] for c in json.loads(output)["self_test"]["checks"] if not c["passed"]]
    assert code == 1
    assert failed == [
        "masks hold no other ids than given",
        "probabilities are finite",
        "probabilities sum to 1",
    ]


def test_info_fails_if_tracking_raises(call, monkeypatch):
    def track(self, *args, **options):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(rmnet.RMNetSegmenter, "track", track)
    code, output, _ = call("info", "--weights", "weights")
    assert code == 1
    assert "FAILED tracking runs (ZeroDivisionError: oh)" in output


def test_info_shows_the_versions_even_without_weights(call):
    code, output, error = call("info", "--weights", "./nowhere")
    assert (code, error) == (1, "")
    assert "torchvision" in output
    assert "does not exist" in output


def test_demo_writes_frames_masks_and_overlay_and_prints_j(call, tmp_path):
    options = ("--weights", "weights", "--device", "cpu", "--frames", "8", "--size", "48")
    code, output, error = call("demo", "-o", tmp_path / "demo", *options)
    assert (code, error) == (0, "")
    masks = masks_in(tmp_path / "demo" / "masks")
    clip = make_clip(num_frames=8)
    assert len(masks) == 8
    assert (masks["00000"] == clip.labels[0]).all()
    frames = list(open_frames(tmp_path / "demo" / "frames"))
    assert (np.stack(frames) == clip.frames).all()
    assert len(list(open_frames(tmp_path / "demo" / "overlay.mp4"))) == 8
    lines = output.splitlines()
    assert lines[0].split() == ["object", "mean", "J", "frames"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "all"]
    assert "s a frame (8 of 240x426, on cpu)" in output


def test_demo_does_without_pyav(call, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "av"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)
    options = ("--weights", "weights", "--frames", "2", "--size", "32")
    code, output, error = call("demo", "-o", tmp_path / "demo", *options)
    assert (code, error) == (0, "")
    assert "overlay  left out: " in output
    assert "pip install 'rmnet[video]'" in output


# --- The command itself ------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    output = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"examples:\n  rmnet {command}" in output
    assert max(map(len, output.splitlines())) <= 100


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    output = capsys.readouterr().out
    assert all(f"\n    {command} " in output for command in COMMANDS)
    assert "examples:" in output


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"rmnet {rmnet.__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["trakc"],
        ["track", "a.mp4", "a.png"],
        ["track", "a.mp4", "a.png", "-o", "o", "--size", "-3"],
        ["track", "a.mp4", "a.png", "-o", "o", "--object-ids", "1;2"],
        ["track", "a.mp4", "a.png", "-o", "o", "--max", "7"],  # no abbreviations
        ["info", "--dtype", "int8"],
    ],
)
def test_wrong_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: rmnet" in capsys.readouterr().err


def test_no_command_shows_the_help_and_exits_with_2(capsys):
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().err


def test_a_reader_that_went_away_is_no_traceback(call, tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        code = main(["convert", "weights", str(tmp_path / "new")])
    assert code == 141


def test_help_does_not_wait_for_torch():
    # Of the command's own modules: what `import rmnet` loads is for test_import.
    code = f"""
import sys, types
package = types.ModuleType("rmnet")
package.__path__ = [{str(Path(rmnet.__file__).parent)!r}]
sys.modules["rmnet"] = package
from rmnet.cli import main
try:
    main(["track", "--help"])
except SystemExit:
    sys.exit(sorted({{"torch", "numpy", "PIL"}} & set(sys.modules)) or 0)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.filterwarnings("ignore:masks or prompts were given")
def test_track_without_any_frame_to_track_is_an_error(track):
    code, _, error = track("frames", "99:first.png")
    assert code == 1
    assert "nothing was tracked" in error.splitlines()[-1]


def test_track_writes_an_overlay_into_the_folder_it_makes(track, tmp_path):
    code, _, _ = track("frames", "first.png", "--overlay", tmp_path / "masks" / "o.mp4")
    assert code == 0
    assert (tmp_path / "masks" / "o.mp4").stat().st_size > 0


def test_track_names_a_missing_folder_of_the_run_lengths(track, tmp_path):
    outcome = track("frames", "first.png", "--rle", tmp_path / "nowhere" / "x.json")
    assert_one_line_error(outcome, "x.json", "No such file or directory")
