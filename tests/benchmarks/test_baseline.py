"""The benchmarks' baseline reproduces the released code's numbers, as the library does."""

import numpy as np
import pytest
import torch

from benchmarks.baseline import BaselineSession
from golden import make_golden_inputs as inputs
from golden_files import golden, released_segmenter
from rmnet import MemoryPolicy, RMNetSegmenter


@pytest.mark.parametrize("name", [pytest.param("odd2", marks=pytest.mark.slow), "start3"])
def test_baseline_has_the_released_codes_numbers(name):
    clip, numbers = inputs.make_clip(name), golden(name)
    session = BaselineSession(released_segmenter()._network, every=clip["memorize_every"])
    s = int(numbers["stride"])
    for t, frame in enumerate(clip["frames_u8"]):
        result = session.step(frame, clip["labels"][0] if t == 0 else None)
        got = result.probabilities[:, ::s, ::s].numpy()
        assert np.abs(got - numbers["probs"][t]).max() <= 2e-4, f"frame {t}"
        top = result.probabilities.topk(2, dim=0).values
        tied = (top[0] - top[1] < 1e-3).numpy()
        assert np.count_nonzero(tied) <= numbers["near_tie_px_1e3"][t] + 2
        assert np.array_equal(result.labels[~tied], numbers["argmax"][t][~tied]), f"frame {t}"
        if t > 0:
            x0, x1, y0, y1 = numbers["qry_bbox"][t - 1][1:].T  # inclusive
            half_open = np.stack([x0, y0, x1 + 1, y1 + 1], axis=1)
            assert np.array_equal(result.regions, half_open), f"frame {t}"


def test_baseline_has_the_librarys_numbers_with_the_packaged_network():
    clip = inputs.make_clip("start3")
    segmenter = RMNetSegmenter.from_pretrained(device="cpu")
    baseline = BaselineSession(segmenter._network, every=2)
    policy = MemoryPolicy(every=2, max_frames=None)
    session = segmenter.start(size="native", memory=policy, keep_probabilities=True)
    for t, frame in enumerate(clip["frames_u8"]):
        mask = clip["labels"][0] if t == 0 else None
        got, want = baseline.step(frame, mask), session.step(frame, mask)
        assert torch.allclose(got.probabilities, want.probabilities, rtol=0, atol=2e-4), t
        assert np.array_equal(got.regions, want.regions), t
        assert np.abs(got.boxes - want.boxes).max() <= 1, t
        assert got.object_ids == want.object_ids
