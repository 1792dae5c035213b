from dataclasses import replace

import numpy as np
import pytest

from rmnet.errors import ConfigError, VideoError
from rmnet.io.frame_source import open_frames
from rmnet.io.overlay_video import write_overlay_video

pytest.importorskip("av")

FRAMES = np.full((3, 16, 16, 3), 100, np.uint8)
BAD = VideoError("frame 1 cannot be decoded")


def paint(level):
    return lambda frame: np.full_like(frame, level)


def levels(path):
    return [round(float(frame.mean()) / 50) * 50 for frame in open_frames(path)]


def with_bad_frame():
    def read():
        yield FRAMES[0], 0.0
        yield BAD, None
        yield FRAMES[2], 2.0

    return replace(open_frames(FRAMES), read=read)


def test_every_frame_is_drawn_and_those_skipped_are_left_as_they_are(tmp_path):
    drawings = {0: paint(50), 1: None, 2: paint(200)}
    path = write_overlay_video(str(tmp_path / "o.mp4"), open_frames(FRAMES), drawings)
    assert levels(path) == [50, 100, 200]


def test_frame_that_cannot_be_decoded_was_skipped_or_is_an_error(tmp_path):
    path = tmp_path / "o.mp4"
    write_overlay_video(path, with_bad_frame(), {0: paint(50), 1: None, 2: paint(200)})
    assert levels(path) == [50, 200]
    assert [seconds for _, seconds in open_frames(path).attempted()] == [0, 2]
    with pytest.raises(VideoError, match="frame 1 cannot be decoded"):
        write_overlay_video(path, with_bad_frame(), dict.fromkeys(range(3), paint(50)))


@pytest.mark.parametrize(("count", "came"), [(2, "more"), (4, "fewer")])
def test_another_number_of_frames_is_refused(tmp_path, count, came):
    with pytest.raises(ConfigError, match=f"{came} frames came than the {count} that were tracked"):
        write_overlay_video(
            tmp_path / "o.mp4", open_frames(FRAMES), dict.fromkeys(range(count), paint(50))
        )
    assert not list(tmp_path.iterdir())


def test_results_of_part_of_a_video_give_part_of_it(tmp_path):
    source = open_frames(FRAMES)
    path = write_overlay_video(
        tmp_path / "o.mp4", source, dict.fromkeys(range(2), paint(50)), is_whole=False
    )
    assert levels(path) == [50, 50]


@pytest.mark.parametrize("source", [None, open_frames(iter(FRAMES))])
def test_frames_that_cannot_be_read_again_are_refused(tmp_path, source):
    with pytest.raises(ConfigError, match=r"generator.*save_video\(path, frames\)"):
        write_overlay_video(tmp_path / "o.mp4", source, dict.fromkeys(range(3), paint(50)))
