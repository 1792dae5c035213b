"""The library gives the released code's numbers; tests/golden holds its outputs on a CPU."""

import numpy as np
import pytest
import torch

import rmnet.tracking.step
from golden import make_golden_inputs as inputs
from golden_files import golden, released_segmenter
from rmnet import MemoryPolicy
from rmnet.geometry.regions import cells_in_boxes
from rmnet.ops import backend, extension
from rmnet.runtime.objectwise import ObjectwiseExecutor

CLIPS = ("odd2", "start3")
STAGE_TOLERANCE = 1e-3  # relative to the largest value of the stage


class Recorder:
    """Outputs of the network's parts for each frame, named as in the golden files."""

    def __init__(self, network, monkeypatch):
        self.steps = []
        watched = {
            network.query_encoder.stage4: lambda _, out: {
                "enc_q_r2": out[:, ::64, :: self.s2, :: self.s2]
            },
            network.query_encoder.stage8: lambda _, out: {"enc_q_r3": out[:, ::128, ::2, ::2]},
            network.query_encoder.stage16: lambda _, out: {"enc_q_r4": out[:, ::128]},
            network.memory_encoder: self._memory_encoder,
            network.flow: lambda _, out: {"flow": out[0]},
            network.decoder: self._decoder_input,
            network.decoder.entry_block: lambda _, out: {"dec_m4": out[:, ::64]},
            network.decoder.refine8: lambda _, out: {"dec_m3": out[:, ::64, ::2, ::2]},
            network.decoder.refine4: lambda _, out: {
                "dec_m2": out[:, ::64, :: self.s2, :: self.s2]
            },
            network.decoder.predict: lambda _, out: {"dec_p2": out[:, :, :: self.s, :: self.s]},
        }
        flow = network.flow
        watched |= {
            getattr(flow, name): self._flow_stage(name, step, channel_step)
            for name, step, channel_step in (
                ("predict5", 1, 1), ("predict4", 1, 1), ("predict3", 1, 1), ("predict2", 1, 1),
            )
        }  # fmt: skip
        self._handles = [
            module.register_forward_hook(lambda _, args, out, take=take: self._add(take(args, out)))
            for module, take in watched.items()
        ]
        self._watch_heads(monkeypatch)
        boxes = rmnet.tracking.step.mask_boxes

        def recording_boxes(*args, **kwargs):
            found = boxes(*args, **kwargs)
            self._add({"search" if "search" not in self.steps[-1] else "remembered": found})
            return found

        monkeypatch.setattr(rmnet.tracking.step, "mask_boxes", recording_boxes)

    s = 2  # strides of the golden files
    s2 = 4

    def begin(self):
        self.steps.append({})

    def close(self):
        for handle in self._handles:
            handle.remove()

    def _add(self, outputs):
        """Add outputs to the frame's; the library runs objects one by one, so concatenate them."""
        step = self.steps[-1]
        for name, x in outputs.items():
            step[name] = torch.cat((step[name], x)) if name in step else x.clone()

    @staticmethod
    def _flow_stage(name, step, channel_step):
        golden_name = name.replace("predict", "predict_flow")
        return lambda _, out: {golden_name: out[:, ::channel_step, ::step, ::step]}

    @staticmethod
    def _memory_encoder(_, out):
        return {"enc_m_r4": out[:, ::128]}

    def _watch_heads(self, monkeypatch):
        encode_query = ObjectwiseExecutor.encode_query
        encode_memory = ObjectwiseExecutor.encode_memory

        def query(executor, image, boxes):
            found = encode_query(executor, image, boxes)
            self._add_cells("kv_q", found.key, found.value.movedim(1, -1), boxes, of_one_frame=True)
            return found

        def memory(executor, image, masks, boxes):
            key, value = encode_memory(executor, image, masks, boxes)
            self._add_cells("kv_m", key, value, boxes, of_one_frame=False)
            return key, value

        monkeypatch.setattr(ObjectwiseExecutor, "encode_query", query)
        monkeypatch.setattr(ObjectwiseExecutor, "encode_memory", memory)

    def _add_cells(self, name, key, value, boxes, *, of_one_frame):
        """Add keys and values, and the cells they were requested for; only those are computed."""
        cells = cells_in_boxes(boxes, *key.shape[1:3]).unsqueeze(1)
        cells = cells.any(dim=0, keepdim=True) if of_one_frame else cells
        self._add(
            {
                f"{name}_cells": cells,
                f"{name}_key": key.movedim(-1, 1)[:, ::16] * cells,
                f"{name}_val": value.movedim(-1, 1)[:, ::64] * cells,
            }
        )

    @staticmethod
    def _decoder_input(args, _):
        read = args[0]
        return {"reader_out": read[:, :512:32], "reader_qval": read[:, 512::64]}


@pytest.fixture(scope="module", params=[(c, b) for c in CLIPS for b in ("native", "pytorch")])
def tracked(request):
    """Result and recorded outputs of tracking one golden clip, and its golden numbers."""
    name, forced = request.param
    if forced == "native" and extension.problem("cpu") is not None:
        pytest.skip(f"no native op: {extension.problem('cpu')}")
    clip, numbers = inputs.make_clip(name), golden(name)
    segmenter = released_segmenter()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(backend, "BACKEND", forced)
        recorder = Recorder(segmenter._inference, monkeypatch)

        def frames():
            for frame in clip["frames_u8"]:
                recorder.begin()
                yield frame

        result = segmenter.track(
            frames(),
            clip["labels"][0],
            memory=MemoryPolicy(every=clip["memorize_every"], max_frames=None),
            keep_probabilities=True,
        )
        recorder.close()
    return result, recorder.steps, numbers


def test_inputs_are_the_ones_the_golden_numbers_were_made_from():
    assert inputs.main(["--check"]) == 0


def test_probabilities_are_within_2e4(tracked):
    result, _, numbers = tracked
    s = int(numbers["stride"])
    for t, frame in enumerate(result):
        got = frame.probabilities[:, ::s, ::s].numpy()
        assert np.abs(got - numbers["probs"][t]).max() <= 2e-4, f"frame {t}"


def test_labels_are_equal_outside_near_ties(tracked):
    result, _, numbers = tracked
    for t, frame in enumerate(result):
        top = frame.probabilities.topk(2, dim=0).values
        tied = (top[0] - top[1] < 1e-3).numpy()
        assert np.count_nonzero(tied) <= numbers["near_tie_px_1e3"][t] + 2
        assert np.array_equal(frame.labels[~tied], numbers["argmax"][t][~tied]), f"frame {t}"


def test_flow_is_within_5e4(tracked):
    _, steps, numbers = tracked
    s = int(numbers["stride"])
    for t, step in enumerate(steps[1:], start=1):
        got = step["flow"][:, ::s, ::s].numpy()
        assert np.abs(got - numbers["flow"][t]).max() <= 5e-4, f"frame {t}"


def test_memory_and_query_boxes_are_exact(tracked):
    result, steps, numbers = tracked
    for t, step in enumerate(steps[1:], start=1):
        for name, golden_name in (("remembered", "mem_bbox"), ("search", "qry_bbox")):
            got = half_open_to_inclusive(step[name].numpy())
            assert np.array_equal(got, numbers[golden_name][t - 1][1:]), f"{name}, frame {t}"
        assert np.array_equal(result[t].regions, step["search"].numpy())


def half_open_to_inclusive(boxes):
    """Convert half-open (x0, y0, x1, y1) to the golden files' inclusive [x0, x1, y0, y1]."""
    x0, y0, x1, y1 = boxes.T
    return np.stack([x0, x1 - 1, y0, y1 - 1], axis=1)


def test_every_stage_is_within_1e3(tracked):
    result, steps, numbers = tracked
    compared = 0
    for name in numbers.files:
        if not name.startswith(("stage/", "flowstage/")):
            continue
        _, t, stage = name.split("/")
        step = int(t[1:])
        if stage == "seg_logit":  # compare up to a constant, which the softmax removes
            got = result[step].probabilities[:, :: Recorder.s, :: Recorder.s].log().numpy()
            want = numbers[name] - np.logaddexp.reduce(numbers[name], axis=0)
            got, want = np.maximum(got, -12), np.maximum(want, -12)
        elif stage in steps[step]:
            got, want = steps[step][stage].numpy(), numbers[name]
            if stage.startswith("kv_"):
                want = want * steps[step][f"{stage[:4]}_cells"].numpy()
        else:
            continue
        assert got.shape == want.shape, name
        assert np.abs(got - want).max() <= STAGE_TOLERANCE * np.abs(want).max(), name
        compared += 1
    assert compared >= 3 * 12 + 4


def test_memory_kept_is_the_published_choice(tracked):
    result, _, _ = tracked
    assert [frame.index for frame in result] == list(range(len(result)))
    assert all(torch.isfinite(frame.probabilities).all() for frame in result)
