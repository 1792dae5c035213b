"""Which frames are remembered, and which are dropped when the memory is full."""

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rmnet.options import MemoryPolicy
from rmnet.tracking.memory import MemoryBank

H, W, CK, CV = 2, 3, 4, 5


def write(bank, frame, *, n=1, given=False):
    """Write a frame whose values are its frame number."""
    bank.write(
        frame,
        torch.full((n, H, W, CK), float(frame)),
        torch.full((n, H, W, CV), frame + 0.5),
        torch.full((n, 4), frame, dtype=torch.int32),
        given=given,
    )


def filled(frames, *, every=5, max_frames=40, given=(0,)):
    bank = MemoryBank(MemoryPolicy(every, max_frames))
    for frame in range(frames):
        write(bank, frame, given=frame in given)
    return bank


def test_every_fifth_frame_stays_and_the_last_one_is_there():
    assert filled(13).stats().frames == (0, 5, 10, 12)
    assert filled(11).stats().frames == (0, 5, 10)


def test_a_frame_with_given_masks_stays():
    bank = filled(13, given=(0, 7))
    assert bank.stats().frames == (0, 5, 7, 10, 12)
    assert bank.stats().pinned_frames == (0, 7)


def test_view_holds_what_was_written():
    view = filled(13).view()
    frames = sorted(view.key[0, :, 0, 0, 0].tolist())
    assert frames == [0, 5, 10, 12]
    assert sorted(view.value[0, :, 1, 2, 4].tolist()) == [0.5, 5.5, 10.5, 12.5]
    assert torch.equal(view.boxes[0, :, 0].float(), view.key[0, :, 0, 0, 0])
    assert view.present.all()


def test_writing_a_frame_again_replaces_it():
    bank = filled(6)
    write(bank, 5)
    assert bank.stats().frames == (0, 5)


def test_writing_is_in_place():
    bank = filled(22)  # five frames are kept in room for eight
    before = bank.view().key.data_ptr()
    for frame in range(22, 36):
        write(bank, frame)
    assert bank.view().key.data_ptr() == before


def test_views_are_not_copies():
    bank = filled(3)
    assert bank.view().value.data_ptr() == bank.view().value.data_ptr()


def test_the_bound_holds():
    bank = filled(500, max_frames=7)
    assert len(bank.stats().frames) <= 7
    assert bank.view().key.shape[1] <= 7
    size = bank.stats().num_bytes
    for frame in range(500, 900):
        write(bank, frame)
    assert bank.stats().num_bytes == size


def test_default_bound_does_not_fire_on_videos_of_up_to_197_frames():
    # The last frame of a video is never written.
    assert filled(127).stats().frames == (*range(0, 126, 5), 126)
    assert filled(196).stats().frames == tuple(range(0, 196, 5))
    assert filled(197).stats().frames != (*range(0, 196, 5), 196)


@settings(max_examples=80, deadline=None)
@given(
    every=st.integers(1, 7),
    max_frames=st.integers(4, 20),
    length=st.integers(2, 400),
    pins=st.sets(st.integers(1, 399), max_size=12),
)
def test_kept_frames_stay_spread_over_the_past(every, max_frames, length, pins):
    # The frame dropped is the one that leaves the smallest gap. With p pinned frames between the
    # first and the last, there are max_frames - 2 - p candidates. The gaps that they would leave
    # sum to at most twice the past, so the smallest is at most twice the past divided by their
    # number. Without pins that is twice an even gap.
    pins = {pin for pin in pins if pin < length - 1}
    free = max_frames - 2 - len(pins)
    assume(free >= 1)
    bank = filled(length, every=every, max_frames=max_frames, given=pins | {0})
    frames = bank.stats().frames
    assert frames[0] == 0
    assert frames[-1] == length - 1
    assert set(bank.stats().pinned_frames) == pins | {0}
    assert len(frames) <= max_frames
    widest = max(b - a for a, b in itertools.pairwise(frames))
    assert widest <= max(every, 2 * (length - 1) / free)


@settings(max_examples=60, deadline=None)
@given(given=st.sets(st.integers(1, 200), max_size=5), max_frames=st.integers(8, 12))
def test_pinned_frames_stay_while_others_can_be_dropped(given, max_frames):
    bank = filled(220, max_frames=max_frames, given=given | {0})
    assert set(bank.stats().pinned_frames) == given | {0}


def test_a_mask_on_every_frame_keeps_the_bound_and_the_first_frame():
    bank = filled(100, max_frames=6, given=range(100))
    assert len(bank.stats().frames) == 6
    assert bank.stats().frames[0] == 0
    assert bank.stats().frames[-1] == 99


@pytest.mark.parametrize("max_frames", [2, 3])
def test_the_smallest_bounds_keep_first_and_last(max_frames):
    bank = filled(50, max_frames=max_frames)
    assert (bank.stats().frames[0], bank.stats().frames[-1]) == (0, 49)


def test_no_bound_keeps_everything():
    assert filled(200, every=1, max_frames=None).stats().frames == tuple(range(200))


def test_an_added_object_is_absent_from_older_frames():
    bank = filled(7)
    bank.add_objects(2)
    write(bank, 7, n=3, given=True)
    view = bank.view()
    newest = view.key[0, :, 0, 0, 0] == 7
    assert view.present[0].all()
    assert torch.equal(view.present[1], newest)
    assert torch.equal(view.present[2], newest)


def test_removed_objects_take_their_rows_with_them():
    bank = MemoryBank(MemoryPolicy())
    key = torch.arange(3.0).view(3, 1, 1, 1).expand(3, H, W, CK)
    bank.write(0, key, torch.zeros((3, H, W, CV)), torch.zeros((3, 4)), given=True)
    bank.keep_objects([0, 2])
    assert bank.view().key[:, 0, 0, 0, 0].tolist() == [0, 2]
    bank.keep_objects([])
    assert bank.stats().frames == ()
    with pytest.raises(ValueError, match="the memory is empty"):
        bank.view()


def test_unpinned_frames_are_dropped_before_any_pinned_one():
    for max_frames, pins in ((3, {0, 21}), (6, {0, 3, 7, 12, 21})):
        bank = filled(60, max_frames=max_frames, given=pins)
        assert set(bank.stats().pinned_frames) == pins
        assert bank.stats().frames[-1] == 59


def test_frames_with_no_object_left_make_room():
    bank = MemoryBank(MemoryPolicy(max_frames=4))
    write(bank, 0, n=2, given=True)
    bank.add_objects(1)
    write(bank, 1, n=3, given=True)
    bank.keep_objects([2])
    assert bank.stats().frames == (1,)
    for frame in range(2, 12):
        write(bank, frame)
    view = bank.view()
    assert 1 in bank.stats().frames
    assert view.present.all()
    assert torch.equal(
        view.key[0, :, 0, 0, 0].sort().values, torch.tensor(bank.stats().frames).float()
    )


def test_adding_no_objects_copies_nothing():
    bank = MemoryBank(MemoryPolicy())
    key, value = torch.zeros((2, 3, 4, 8)), torch.zeros((2, 3, 4, 12))
    bank.write(0, key, value, torch.zeros((2, 4), dtype=torch.int32), given=True)
    before = bank.view().value.data_ptr()
    bank.add_objects(0)
    assert bank.view().value.data_ptr() == before
