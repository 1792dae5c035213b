"""The segmenter: its options, and tracking whole videos."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import rmnet
import tiny
from rmnet import MemoryPolicy, RMNetSegmenter
from rmnet.errors import ConfigError, FrameError, MaskError, VideoError


@pytest.fixture
def segmenter():
    return tiny.segmenter()


def test_track_and_stream_give_the_same(segmenter):
    frames, labels = tiny.clip()
    tracked = segmenter.track(frames, labels)
    streamed = list(segmenter.stream(iter(frames), labels))
    assert len(tracked) == len(frames) == len(streamed)
    assert np.array_equal(tracked.labels, np.stack([r.labels for r in streamed]))
    assert [r.index for r in tracked] == list(range(len(frames)))
    assert tuple(tracked[1:3]) == tuple(tracked)[1:3]
    assert tracked.object_ids == (3, 7)


def test_frames_are_read_only_when_results_are_requested(segmenter):
    frames, labels = tiny.clip()
    read = []

    def camera():
        for frame in frames:
            read.append(1)
            yield frame

    results = segmenter.stream(camera(), labels)
    assert read == []
    next(results)
    assert len(read) == 1


@pytest.mark.parametrize("kind", ["pil", "tensor", "list"])
def test_every_kind_of_frame_gives_the_same(segmenter, kind):

    frames, labels = tiny.clip()
    as_kind = {
        "pil": Image.fromarray,
        "tensor": lambda f: torch.from_numpy(f).permute(2, 0, 1),
        "list": lambda f: f,
    }[kind]
    want = segmenter.track(frames, labels).labels
    assert np.array_equal(segmenter.track([as_kind(f) for f in frames], labels).labels, want)


def test_frames_before_the_first_mask_are_background(segmenter):
    frames, labels = tiny.clip()
    late = segmenter.track(frames, masks={2: labels})
    assert not late.labels[:2].any()
    assert late[1].object_ids == ()
    assert [r.index for r in late] == list(range(6))
    assert np.array_equal(late.labels[2:], segmenter.track(frames[2:], labels).labels)


def test_network_size_defaults_to_the_config_and_never_enlarges(segmenter):
    frames, labels = tiny.clip(num_frames=2, size=(100, 140))
    sizes = {}
    for size in (None, 32, "native", 5000):
        session = segmenter.start(size=size)
        session.step(frames[0], labels)
        sizes[size] = tuple(session._state.last.pixels.shape[1:])
    assert sizes == {None: (64, 90), 32: (32, 45), "native": (100, 140), 5000: (100, 140)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "small"}, "size is 'small'; accepted: None, \"native\""),
        ({"size": 0}, "size is 0"),
        ({"flow": "raft"}, "flow is 'raft'; accepted: None, \"none\", or a function"),
        ({"memory": 5}, "memory is 5"),
        ({"masks": {-1: np.ones((64, 96), bool)}}, r"frame numbers \[-1\]"),
        ({"masks": {0: np.ones((64, 96), bool)}}, "frame 0 has two masks"),
    ],
)
def test_invalid_options_are_named_before_a_frame_is_read(segmenter, options, message):
    def never():
        pytest.fail("a frame was read")
        yield

    _, labels = tiny.clip()
    with pytest.raises(ConfigError, match=message):
        segmenter.stream(never(), labels, **options)


def test_no_mask_at_all_is_refused(segmenter):
    with pytest.raises(MaskError, match=r"no mask was given.*track\(frames, first_mask\)"):
        segmenter.track(tiny.clip()[0])


def test_an_empty_video_is_refused(segmenter):
    _, labels = tiny.clip()
    with pytest.raises(VideoError, match=r"no frames|empty"):
        segmenter.track([], labels)
    with pytest.raises(VideoError, match=r"no frames|empty"):
        segmenter.track(iter([]), labels)


def test_masks_after_the_end_warn_and_lose_nothing(segmenter):
    frames, labels = tiny.clip()
    with pytest.warns(UserWarning, match=r"frames \[99\], but the video has 6 frames"):
        result = segmenter.track(frames, labels, masks={99: labels})
    assert len(result) == 6


def test_nothing_is_printed_unless_a_progress_bar_is_requested(segmenter, capsys):
    frames, labels = tiny.clip()
    segmenter.track(frames, labels)
    assert capsys.readouterr() == ("", "")
    segmenter.track(frames, labels, progress=True)
    assert "6/6" in capsys.readouterr().err


def test_to_leaves_the_segmenter_as_it_is(segmenter):
    half = segmenter.to(dtype=torch.bfloat16)
    assert segmenter.dtype == torch.float32
    assert half.dtype == torch.bfloat16
    assert half.device == segmenter.device


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_stays_close(dtype):
    frames, labels = tiny.clip()
    exact = tiny.segmenter().track(frames, labels, keep_probabilities=True)
    reduced = tiny.segmenter().to(dtype=dtype).track(frames, labels, keep_probabilities=True)
    for a, b in zip(exact[:3], reduced[:3], strict=True):
        assert b.probabilities.dtype == torch.float32
        assert (a.probabilities - b.probabilities).abs().max() < 0.1


@pytest.mark.cuda
def test_cuda_matches_the_cpu(segmenter):
    frames, labels = tiny.clip()
    cpu = segmenter.track(frames, labels, keep_probabilities=True)
    cuda = segmenter.to("cuda").track(frames, labels, keep_probabilities=True)
    assert segmenter.device.type == "cpu"
    for a, b in zip(cpu[:3], cuda[:3], strict=True):  # later frames amplify the differences
        assert (a.probabilities - b.probabilities).abs().max() < 0.05


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match=r"dtype is torch\.int8"):
        RMNetSegmenter(tiny.network(), dtype=torch.int8)


def test_repr_describes_the_value(segmenter):
    assert "resnet18" in repr(segmenter)
    frames, labels = tiny.clip(num_frames=2)
    result = segmenter.track(frames, labels)
    assert repr(result) == "VideoSegmentation(2 frames of 64x96, objects [3, 7])"
    assert repr(result[0]).startswith("FrameSegmentation(index=0, 64x96, {3: tracked 1.00")


def test_torch_warnings_do_not_reach_the_user(segmenter):
    frames, labels = tiny.clip()
    frames.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segmenter.track(frames[:, :, ::-1], labels)


def test_public_names_have_docstrings():
    for name in rmnet.__all__:
        if not name.startswith("__") and not name.endswith("Like"):  # aliases have none
            assert getattr(rmnet, name).__doc__


def test_object_ids_name_a_stack_of_masks_or_a_binary_one(segmenter):
    frames, labels = tiny.clip(num_frames=2)
    stack = np.stack([labels == 7, labels == 3])
    named = segmenter.track(frames, stack, object_ids=[7, 3])
    assert np.array_equal(named.labels, segmenter.track(frames, labels).labels)
    assert segmenter.track(frames, labels == 7, object_ids=[7]).object_ids == (7,)
    with pytest.raises(ConfigError, match="object_ids came without first_mask"):
        segmenter.track(frames, masks={0: labels}, object_ids=[3])


def test_a_bad_later_mask_is_refused_before_a_frame_is_read(segmenter):
    def never():
        pytest.fail("a frame was read")
        yield

    frames, labels = tiny.clip(num_frames=2)
    for late, message in ((labels * 0.5, "float64"), (labels[:32], "have the sizes")):
        with pytest.raises(MaskError, match=message):
            segmenter.track(never(), labels, masks={1: late})
    with pytest.raises(ConfigError, match="masks is a list"):
        segmenter.track(frames, masks=[labels])


def test_frames_before_the_first_mask_have_probabilities_too(segmenter):
    frames, labels = tiny.clip(num_frames=3)
    early = segmenter.track(frames, masks={2: labels}, keep_probabilities=True)[0]
    assert torch.equal(early.probabilities, torch.ones((1, *labels.shape)))


def test_a_frame_of_another_size_before_the_first_mask_is_refused(segmenter):
    frames, labels = tiny.clip(num_frames=3)
    with pytest.raises(FrameError, match=r"frame 0 is \(32, 96\).*masks are \(64, 96\)"):
        segmenter.track([frames[0][:32], *frames[1:]], masks={2: labels})


def test_numpy_integers_are_integers(segmenter):
    frames, labels = tiny.clip(num_frames=3)
    policy = MemoryPolicy(every=np.int64(2), max_frames=np.int32(4))
    result = segmenter.track(frames, masks={np.int64(0): labels}, size=np.int64(48), memory=policy)
    assert result.object_ids == (3, 7)
    session = segmenter.start()
    session.step(frames[0], labels)
    assert session.remove_objects(np.unique(labels)[1]).object_ids == (7,)


def test_saved_masks_are_of_one_kind_and_never_overwrite_the_frames(segmenter, tmp_path):
    frames, labels = tiny.clip(num_frames=3)
    wide = np.where(labels == 7, 300, labels)
    wide_result = segmenter.track(frames, wide, masks={1: {300: np.zeros(labels.shape, bool)}})
    for path in wide_result.save_masks(tmp_path / "wide"):
        with Image.open(path) as image:
            assert image.mode == "I;16"
    folder = tmp_path / "frames"
    folder.mkdir()
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{t}.png")
    before = (folder / "0.png").read_bytes()
    with pytest.raises(ConfigError, match="own images"):
        segmenter.track(folder, labels).save_masks(folder)
    assert (folder / "0.png").read_bytes() == before
    void = segmenter.track(frames, {255: labels == 7})
    with pytest.raises(MaskError, match="object 255 cannot be saved"):
        void.save_masks(tmp_path / "void")


def test_an_overlay_needs_exactly_the_frames_that_were_tracked(segmenter, tmp_path):
    frames, labels = tiny.clip(num_frames=4)
    result = segmenter.track(iter(frames), labels)
    for other, message in ((frames[:3], "fewer"), (np.concatenate([frames, frames]), "more")):
        with pytest.raises(ConfigError, match=f"{message} frames came"):
            result.save_video(tmp_path / "out.mp4", other)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="generator"):
        result.save_video(tmp_path / "out.mp4")
    assert result.save_video(tmp_path / "out.mp4", frames).stat().st_size > 0


def test_scores_are_right_on_large_frames():
    from rmnet.options import TrackingOptions
    from rmnet.tracking.estimate import Estimate
    from rmnet.tracking.last_frame import LastFrame
    from rmnet.tracking.segmentation import segment

    predicted = torch.rand((1, 2160, 3840)) * 0.2 + 0.76
    pixels = torch.zeros((3, 2160, 3840), dtype=torch.uint8)
    frame = LastFrame(0, pixels, (2160, 3840), Estimate((1,), predicted), {}, None)
    result = segment(frame, tiny.CONFIG, TrackingOptions())
    odds = predicted.double() / (1 - predicted.double())
    want = (odds / (odds + 1 / odds)).mean()  # the background's odds are 1 / odds
    assert result.scores[0] == pytest.approx(float(want), abs=1e-5)


@pytest.mark.parametrize("setting", ["default dtype", "default device", "autocast"])
def test_torch_settings_of_the_caller_have_no_effect(segmenter, setting):
    frames, labels = tiny.clip(num_frames=3)
    want = segmenter.track(frames, labels, keep_probabilities=True)
    try:
        if setting == "default dtype":
            torch.set_default_dtype(torch.float64)
        elif setting == "default device":
            torch.set_default_device("meta")
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=setting == "autocast")
        with autocast:
            got = segmenter.track(frames, labels, keep_probabilities=True)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert torch.equal(got[2].probabilities, want[2].probabilities)
