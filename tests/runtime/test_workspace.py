"""Memory for activations: what is taken stays apart, what is given back is used again."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import tiny
from rmnet import RMNetSegmenter
from rmnet.runtime import workspace
from rmnet.runtime.workspace import SLAB, Workspace, new_activation, new_zeros, scratch, temporaries


def test_what_is_taken_does_not_overlap():
    with Workspace().scope():
        taken = [new_activation((1, channels, 5, 7)) for channels in (3, 32, 1, 64)]
        for number, activation in enumerate(taken):
            activation.fill_(number)
        assert all((activation == number).all() for number, activation in enumerate(taken))
    for activation in taken:
        assert activation.is_contiguous(memory_format=torch.channels_last)
        assert activation.data_ptr() % 64 == taken[0].data_ptr() % 64


def test_a_scope_gives_back_what_was_taken_inside_it():
    with Workspace().scope():
        kept = new_activation((1, 8, 4, 4)).fill_(1)
        with temporaries():
            first = new_activation((1, 8, 4, 4)).fill_(2)
        second = new_activation((1, 8, 4, 4))
        assert second.data_ptr() == first.data_ptr()
        assert (kept == 1).all()


def test_it_is_given_back_after_an_error_too():
    space, taken = Workspace(), []

    def fail():
        with space.scope():
            taken.append(new_activation((1, 8, 4, 4)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with space.scope():
        assert new_activation((1, 8, 4, 4)).data_ptr() == taken[0].data_ptr()
    assert new_activation((1, 8, 4, 4)).data_ptr() != taken[0].data_ptr()


def test_it_grows_and_takes_no_more_the_second_time(monkeypatch):
    monkeypatch.setattr(workspace, "SLAB", 1000)
    space, places = Workspace(), []
    for _ in range(2):
        with space.scope():
            taken = [new_activation((1, 4, 10, 10)) for _ in range(5)]
            taken.append(new_activation((1, 40, 10, 10)))  # more than a slab
            places.append([activation.data_ptr() for activation in taken])
    assert places[0] == places[1]
    assert len(set(places[0])) == 6


def test_scratch_lies_behind_what_is_taken():
    with Workspace().scope():
        taken = new_activation((1, 8, 4, 4)).fill_(1)
        room = scratch()
        assert room.numel() >= SLAB // 2
        room[:1000] = 2
        assert (taken == 1).all()


def test_without_a_scope_everything_is_new():
    assert scratch() is None
    with temporaries():
        shape = (2, 3, 4, 5)
        assert new_activation(shape).is_contiguous(memory_format=torch.channels_last)
        assert not new_zeros(shape, torch.ones(1)).any()


def test_only_float32_of_the_cpu_is_taken_from_it():
    with Workspace().scope():
        first = new_activation((1, 1, 1, 1))
        assert new_zeros((2,), torch.ones(1).bfloat16()).dtype == torch.bfloat16
        assert new_zeros((2,), torch.ones(1, device="meta")).is_meta
        zeros = new_zeros((2, 3), torch.ones(1))
        assert zeros.data_ptr() == first.data_ptr() + 64
        assert not zeros.any()


def test_sessions_of_a_thread_share_one_and_threads_do_not():
    mine, theirs = Workspace.of_this_thread(), []
    assert Workspace.of_this_thread() is mine
    thread = threading.Thread(target=lambda: theirs.append(Workspace.of_this_thread()))
    thread.start()
    thread.join()
    assert theirs[0] is not mine


def test_it_goes_with_the_last_session():
    with ThreadPoolExecutor(max_workers=1) as alone:  # other tests' sessions may live in this one
        alone.submit(_sessions_come_and_go).result()


def _sessions_come_and_go():
    frames, labels = tiny.clip(num_frames=2)
    sessions = [tiny.segmenter().start() for _ in range(2)]
    for session in sessions:
        session.step(frames[0], labels)
        session.step(frames[1])
    assert sessions[0]._executor._workspace is sessions[1]._executor._workspace
    assert sessions[0]._executor._workspace._slabs
    del session, sessions[0]
    gc.collect()
    assert Workspace.of_this_thread() is sessions[0]._executor._workspace
    del sessions[0]
    gc.collect()
    assert not Workspace.of_this_thread()._slabs


@pytest.mark.parametrize("make", [tiny.segmenter, RMNetSegmenter.from_pretrained])
def test_results_do_not_lie_in_it(make):
    """What a step returned is the same after others, and after somebody wrote to all of it."""
    frames, labels = tiny.clip(num_frames=5)
    session = make().start(keep_probabilities=True)
    results = [session.step(frames[0], labels)] + [session.step(frame) for frame in frames[1:3]]
    kept = [(result.labels.copy(), result.probabilities.clone()) for result in results]
    with torch.inference_mode():
        for slab in session._executor._workspace._slabs:
            slab.fill_(torch.nan)
    last = session.step(frames[3])
    for result, (labels_before, probabilities_before) in zip(results, kept, strict=True):
        assert np.array_equal(result.labels, labels_before)
        assert torch.equal(result.probabilities, probabilities_before)
    unspoilt = make().track(frames[:4], labels)
    assert np.array_equal(last.labels, unspoilt[3].labels)
