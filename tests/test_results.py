"""Results are values: they can be sliced, pickled and copied; some hold their frames."""

import copy
import pickle

import numpy as np
import pytest
from PIL import Image

import tiny
from rmnet import FrameSegmentation, VideoSegmentation
from rmnet.errors import ConfigError, FrameError

FRAMES, LABELS = tiny.clip(6)


@pytest.fixture(scope="module")
def result():
    return tiny.segmenter().track(FRAMES, LABELS, keep_probabilities=True)


@pytest.fixture
def folder(tmp_path):
    for index, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"img{index}.png")
    return tmp_path


def assert_same(a: VideoSegmentation, b: VideoSegmentation):
    assert [x.index for x in a] == [x.index for x in b]
    assert np.array_equal(a.labels, b.labels)
    for one, other in zip(a, b, strict=True):
        assert (one.object_ids, one.status) == (other.object_ids, other.status)
        assert np.array_equal(one.probabilities, other.probabilities)


def test_a_slice_is_a_video(result):
    part = result[2:5]
    assert isinstance(part, VideoSegmentation)
    assert [frame.index for frame in part] == [2, 3, 4]
    assert isinstance(part[0], FrameSegmentation)
    assert len(result[9:]) == 0


def test_a_slice_keeps_the_names_of_its_frames(folder, tmp_path):
    result = tiny.segmenter().track(folder, LABELS)
    paths = result[4:].save_masks(tmp_path / "masks")
    assert [path.name for path in paths] == ["img4.png", "img5.png"]


def test_a_slice_is_scored_on_its_own_frames(result):
    truth = {index: frame.labels for index, frame in enumerate(result)}
    assert result[2:].evaluate({i: truth[i] for i in (2, 3, 4)}) == {3: 1.0, 7: 1.0}


def test_the_video_of_a_slice_has_only_its_frames(result, tmp_path):
    av = pytest.importorskip("av")
    for part, count in ((result, 6), (result[1:4], 3)):
        path = part.save_video(tmp_path / "out.mp4")
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == count


@pytest.mark.parametrize("number", [5, 7])
def test_another_number_of_frames_is_refused_for_a_whole_video(result, number, tmp_path):
    pytest.importorskip("av")
    frames = [FRAMES[0]] * number
    with pytest.raises(ConfigError, match="frames came than the 6 that were tracked"):
        result.save_video(tmp_path / "out.mp4", frames)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # fmt: skip
def test_results_pickle_and_copy(duplicate, result, folder):
    assert_same(duplicate(result), result)
    frame = duplicate(result[3])
    assert np.array_equal(frame.labels, result[3].labels)
    assert repr(frame) == repr(result[3])
    of_files = tiny.segmenter().track(folder, LABELS)
    assert duplicate(of_files)[:2].save_masks(folder / "masks")[1].name == "img1.png"


def test_the_result_of_a_generator_pickles_too(tmp_path):
    result = tiny.segmenter().track(iter(FRAMES), LABELS)
    again = pickle.loads(pickle.dumps(result))
    assert np.array_equal(again.labels, result.labels)
    with pytest.raises(ConfigError, match="generator"):
        again.save_video(tmp_path / "out.mp4")


class Camera:
    """Frames that come as often as one likes, from an object that cannot be pickled."""

    def __init__(self):
        self.film = lambda: iter(FRAMES)

    def __iter__(self):
        return self.film()


class Numbered:
    """Frames by number, out of a generator."""

    def __init__(self):
        self.frames = (frame for frame in FRAMES)

    def __getitem__(self, index):
        return next(self.frames) if index < len(FRAMES) else [][index]


@pytest.mark.parametrize("source", [lambda: iter(FRAMES), lambda: map(np.copy, FRAMES), Camera, Numbered])  # fmt: skip
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # fmt: skip
def test_results_pickle_and_copy_whatever_the_frames_came_from(source, duplicate, tmp_path):
    result = tiny.segmenter().track(source(), LABELS, keep_probabilities=True)
    again = duplicate(result)
    assert_same(again, result)
    assert_same(duplicate(again[2:4]), result[2:4])
    assert len(again.save_masks(tmp_path / "masks")) == len(FRAMES)


def test_a_pickled_result_draws_a_video_if_its_frames_can_be_pickled(folder, tmp_path):
    pytest.importorskip("av")
    for frames in (folder, str(folder / "*.png"), FRAMES, list(FRAMES)):
        result = pickle.loads(pickle.dumps(tiny.segmenter().track(frames, LABELS)))
        assert result.save_video(tmp_path / "out.mp4").exists()
    result = pickle.loads(pickle.dumps(tiny.segmenter().track(Camera(), LABELS)))
    with pytest.raises(ConfigError, match="generator"):
        result.save_video(tmp_path / "out.mp4")
    assert result.save_video(tmp_path / "out.mp4", FRAMES).exists()


def test_the_results_before_an_error_pickle_too():
    def frames():
        yield from FRAMES[:3]
        raise KeyError("the end")

    with pytest.raises(KeyError) as caught:
        tiny.segmenter().track(frames(), LABELS)
    assert len(pickle.loads(pickle.dumps(caught.value.partial))) == 3


def test_results_of_a_stream_hold_their_frames_and_draw_on_them():
    for index, result in enumerate(tiny.segmenter().stream(FRAMES, LABELS)):
        assert np.array_equal(result.frame, FRAMES[index])
        assert np.array_equal(result.overlay(), result.overlay(FRAMES[index]))


def test_results_of_track_and_step_hold_no_frame(result):
    session = tiny.segmenter().start()
    for one in (result[0], session.step(FRAMES[0], LABELS)):
        assert one.frame is None
        with pytest.raises(FrameError, match=r"does not hold the frame.*overlay\(frame\)"):
            one.overlay()
