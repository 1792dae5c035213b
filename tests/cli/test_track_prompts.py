"""`rmnet track` with `--box` and `--point`: forms, mistakes, directions and resuming."""

import numpy as np
import pytest
from PIL import Image

import tiny
from rmnet import TrackingSession
from rmnet.cli import main
from rmnet.io import read_label_png, write_label_png
from rmnet.prompting import NetworkPrompter
from rmnet.weights import save_network
from stand_in_prompter import Recorder, filled

FRAMES, LABELS = tiny.clip(8)
SIZE = LABELS.shape
BOX = (12, 8, 32, 32)
FLAG = "1:12,8,32,32"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_network(tiny.network(), tmp_path_factory.mktemp("weights"))


@pytest.fixture
def prompter(monkeypatch):
    """Put a prompter that fills boxes, and 9 x 9 px at clicks, in place of the packaged one."""
    recorder = Recorder()

    def call(_, frame, boxes, points, masks):
        return recorder(frame, boxes, points, masks)

    monkeypatch.setattr(NetworkPrompter, "__call__", call)
    return recorder


@pytest.fixture
def track(tmp_path, weights, prompter, capsys, monkeypatch):
    """Run `rmnet track` on frames/: exit code, stdout, stderr, masks by frame number."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "frames" / f"f{index}.png")
    write_label_png(tmp_path / "first.png", LABELS.astype(np.uint8))
    write_label_png(tmp_path / "late.png", np.where(LABELS == 3, 9, 0).astype(np.uint8))

    def run(*argv, output="masks"):
        options = ("-o", output, "--weights", str(weights), "--device", "cpu")
        code = main(["track", "frames", *map(str, argv), *options])
        masks = [read_label_png(path) for path in sorted((tmp_path / output).glob("*.png"))]
        return (code, *capsys.readouterr(), masks)

    return run


@pytest.fixture(scope="module")
def segmenter():
    return tiny.segmenter()


def assert_masks(masks, result):
    assert len(masks) == len(result)
    for labels, one in zip(masks, result, strict=True):
        np.testing.assert_array_equal(labels, one.labels)


# --- forms ---------------------------------------------------------------------------------------


def test_a_box_needs_no_mask_and_is_of_the_first_frame(track, segmenter):
    code, output, error, masks = track("--box", FLAG)
    assert (code, error) == (0, "")
    assert output.startswith("8 frames, 1 object (1)")
    assert_masks(masks, segmenter.track(FRAMES, {1: filled(SIZE, BOX)}))


def test_a_click_is_on_the_object_and_with_out_beside_it(track, prompter):
    code, _, error, masks = track("--point", "4:30,20", "--point", "4:33.5,20,out")
    assert (code, error) == (0, "")
    assert prompter.calls[0][2] == {4: ((30, 20, True), (33.5, 20, False))}
    expected = filled(SIZE, (26, 16, 29, 25)).astype(np.uint8) * 4
    np.testing.assert_array_equal(masks[0], expected)


def test_clicks_refine_a_box_of_the_same_object(track, prompter):
    assert track("--box", FLAG, "--point", "1:20,20,out")[0] == 0
    _, boxes, points, _ = prompter.calls[0]
    assert (boxes, points) == ({1: BOX}, {1: ((20, 20, False),)})


def test_prompts_may_say_their_frame(track, segmenter, prompter):
    code, _, error, masks = track("--box", f"3:{FLAG}", "--point", "5:2:60,20")
    assert (code, error) == (0, "")
    expected = segmenter.track(
        FRAMES, masks={3: {1: filled(SIZE, BOX)}, 5: {2: filled(SIZE, (56, 16, 65, 25))}}
    )
    assert_masks(masks, expected)
    for call, frame in zip(prompter.calls, (3, 5), strict=True):
        np.testing.assert_array_equal(call[0], FRAMES[frame])


def test_prompts_add_objects_beside_masks(track):
    late = ("--mask", "2:late.png")
    code, output, error, masks = track(
        "first.png", *late, "--box", "1:70,2,90,12", "--point", "4:5:50,5"
    )
    assert (code, error) == (0, "")
    assert output.startswith("8 frames, 5 objects (1, 3, 5, 7, 9)")
    np.testing.assert_array_equal(masks[0], np.where(filled(SIZE, (70, 2, 90, 12)), 1, LABELS))
    assert ((masks[2] == 9) == (LABELS == 3)).all()
    assert ((masks[4] == 5) == filled(SIZE, (46, 1, 55, 10))).all()


def test_a_click_corrects_an_object_of_a_mask_at_a_later_frame(track, prompter):
    code, _, error, masks = track("first.png", "--point", "2:3:20,20,out")
    assert (code, error) == (0, "")
    assert list(prompter.calls[0][3]) == [3]
    assert (masks[2][16:25, 16:25] != 3).all()


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_a_box_in_the_middle_is_followed_backward(track, segmenter, direction):
    code, _, error, masks = track("--box", f"5:{FLAG}", "--direction", direction)
    assert (code, error) == (0, "")
    expected = segmenter.track(FRAMES, masks={5: {1: filled(SIZE, BOX)}}, direction=direction)
    assert_masks(masks, expected)
    assert ((masks[5] == 1) == filled(SIZE, BOX)).all()


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "text", "example"),
    [
        ("--box", "12,8,32,32", "a box such as 1:40,30,200,180"),
        ("--box", "1:12,8,32", "a box such as 1:40,30,200,180"),
        ("--box", "1:12,8,32,32,40", "a box such as 1:40,30,200,180"),
        ("--box", "1:12 8 32 32", "a box such as 1:40,30,200,180"),
        ("--box", "1:12,8,32,nan", "a box such as 1:40,30,200,180"),
        ("--box", "a:12,8,32,32", "a box such as 1:40,30,200,180"),
        ("--box", "-1:1:12,8,32,32", "a box such as 1:40,30,200,180"),
        ("--box", "0:0:1:12,8,32,32", "a box such as 1:40,30,200,180"),
        ("--box", "", "a box such as 1:40,30,200,180"),
        ("--point", "30,20", "a click such as 1:120,90 or 1:120,90,out"),
        ("--point", "1:30", "a click such as 1:120,90 or 1:120,90,out"),
        ("--point", "1:30,20,in", "a click such as 1:120,90 or 1:120,90,out"),
        ("--point", "1:30,20,out,out", "a click such as 1:120,90 or 1:120,90,out"),
        ("--point", "1:,out", "a click such as 1:120,90 or 1:120,90,out"),
        ("--point", "1:inf,20", "a click such as 1:120,90 or 1:120,90,out"),
    ],
)
def test_a_malformed_prompt_is_refused_with_an_example(track, capsys, option, text, example):
    with pytest.raises(SystemExit) as stop:
        track(f"{option}={text}")
    assert stop.value.code == 2
    assert f"{text!r} is not {example}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), ["there is nothing to track", "--mask, --box or --point", "--box 1:40,30,200,180"]),
        (("--box", FLAG, "--box", "1:1,2,30,40"), ["object 1 has two boxes in frame 0", "--box 0:2:"]),
        (("--box", "0:12,8,32,32"), ["0 is not an object id"]),
        (("--box", "1:32,32,12,8"), ["empty or reversed"]),
        (("--box", "1:0.1,0.1,0.5,0.5"), ["smaller than a pixel"]),
        (("--point", "1:0.4,0.5"), ["fractions of the frame"]),
        (("--point", "1:9,9", "--point", "1:9,9,out"), ["one inside and one outside"]),
        (("--box", FLAG, "--point", "1:50,20"), ["outside of its box"]),
        (("first.png", "--box", "3:12,8,32,32"), ["objects [3] have a mask and a box"]),
        (("--box", FLAG, "--object-ids", "1"), ["--object-ids", "without"]),
        (("--box", "1:12,8,320,320"), ["does not lie in the frame", "96 px wide and 64 px high"]),
        (("--point", "1:30,90"), ["outside of the frame", "x from 0 to 95, y from 0 to 63"]),
        (("--point", "1:30,20,out"), ["only clicks beside it", "(x, y, True)"]),
        (
            ("--box", "5:1:12,8,320,320", "--direction", "both"),
            ["does not lie in the frame", "96 px wide"],
        ),
    ],
)  # fmt: skip
def test_a_wrong_prompt_is_refused_in_a_line(track, argv, words):
    code, _, error, _ = track(*argv)
    assert code == 1
    assert error.startswith("rmnet: ")
    for word in words:
        assert word in error


@pytest.mark.filterwarnings("ignore:masks or prompts were given")
def test_a_box_after_the_end_is_told(track):
    code, _, error, masks = track("--box", f"20:{FLAG}")
    assert (code, len(masks)) == (1, 8)
    assert "the first object is given in frame 20, but the video has 8 frames" in error


@pytest.mark.parametrize("prompt", [("--box", "1:12,8,320,320"), ("--point", "1:30,90")])
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_a_prompt_outside_of_the_frame_leaves_no_output(track, tmp_path, prompt, direction):
    outputs = ("--overlay", "masks/o.mp4", "--rle", "masks/r.json", "--direction", direction)
    code, _, error, _ = track(*prompt, *outputs, "--checkpoint", "0")
    assert (code, error.count("\n")) == (1, 1)
    assert [path for path in (tmp_path / "masks").rglob("*") if path.is_file()] == []
    assert not (tmp_path / "masks" / ".rmnet-track").exists()


# --- resuming ------------------------------------------------------------------------------------


def stop_at(monkeypatch, index):
    original = TrackingSession.step

    def step(self, *args, **options):
        if (0 if self.frame_index is None else self.frame_index + 1) == index:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    monkeypatch.setattr(TrackingSession, "step", step)


PROMPTS = ("--box", FLAG, "--point", "6:2:60,20", "--checkpoint", "0")


def test_the_same_command_resumes_and_other_prompts_are_refused_by_name(track, monkeypatch):
    _, _, _, whole = track(*PROMPTS, output="whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 4)
        code, output, _, _ = track(*PROMPTS)
    assert code == 130
    assert output.endswith("; the same command resumes it\n")
    for other, name in (
        (("--box", "1:12,8,32,33", *PROMPTS[2:]), "--box was"),
        ((*PROMPTS[:2], "--point", "6:2:60,20,out", *PROMPTS[4:]), "--point was"),
        ((*PROMPTS[:2], *PROMPTS[4:]), "--point was"),
        ((*PROMPTS, "--point", "1:20,20"), "--point was"),
    ):
        code, _, error, masks = track(*other)
        assert (code, len(masks)) == (1, 4)
        assert name in error
        assert "--restart" in error
    code, _, error, masks = track(*PROMPTS)
    assert code == 0
    assert "resuming at frame 4" in error
    np.testing.assert_array_equal(masks, whole)


def test_the_packaged_prompter_is_asked_when_nothing_stands_in(track, monkeypatch):
    calls = []
    monkeypatch.setattr(
        NetworkPrompter,
        "__call__",
        lambda self, frame, *_: calls.append(self.device) or {1: filled(frame.shape[:2], BOX)},
    )
    assert track("--box", FLAG)[0] == 0
    assert [device.type for device in calls] == ["cpu"]
