"""Every example runs unchanged, on the clip that the library draws."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from rmnet import RMNetSegmenter

FOLDER = Path(__file__).resolve().parents[2] / "examples"
SEGMENT_ANYTHING = FOLDER / "segment_anything.py"  # as a script, it downloads weights
EXAMPLES = sorted({*FOLDER.glob("*.py")} - {SEGMENT_ANYTHING})


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    """The prompter of the example, from a tiny SamModel with random weights."""
    reason = "needs transformers: pip install 'rmnet[examples]'"
    transformers = pytest.importorskip("transformers", reason=reason)
    common = {"hidden_size": 32, "image_size": 128}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 32}
    config = transformers.SamConfig(
        vision_config=transformers.SamVisionConfig(
            **common, **heads, output_channels=32, global_attn_indexes=[0], num_pos_feats=16
        ),
        prompt_encoder_config=transformers.SamPromptEncoderConfig(**common),
        mask_decoder_config=transformers.SamMaskDecoderConfig(
            hidden_size=32, **heads, iou_head_hidden_dim=32
        ),
    )
    processor = transformers.SamProcessor(
        transformers.SamImageProcessor(
            size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}
        )
    )
    folder = tmp_path_factory.mktemp("sam")
    torch.manual_seed(0)
    transformers.SamModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return runpy.run_path(str(SEGMENT_ANYTHING))["load_sam"](folder)


FRAME = np.random.default_rng(0).integers(0, 256, (60, 107, 3), dtype=np.uint8)


def test_sam_answers_each_object_with_a_mask_of_the_frame(sam):
    boxes = {1: (10.0, 10.0, 40.0, 50.0), 3: (50.0, 10.0, 70.0, 30.0)}
    points = {2: [(100.0, 50.0, True)], 3: [(60.0, 20.0, True), (52.0, 29.0, False)]}
    found = sam(FRAME, boxes, points, {})
    assert found.keys() == {1, 2, 3}
    assert {(mask.shape, mask.dtype) for mask in found.values()} == {
        (FRAME.shape[:2], np.dtype(bool))
    }


def test_sam_sees_the_mask_to_be_corrected(sam):
    points = {1: [(60.0, 20.0, False)]}
    present = np.zeros(FRAME.shape[:2], dtype=bool)
    present[10:40, 20:60] = True
    assert (sam(FRAME, {}, points, {1: present})[1] != sam(FRAME, {}, points, {})[1]).any()


def test_sam_starts_a_track(sam):
    boxes = {7: (10, 10, 40, 50)}
    result = RMNetSegmenter.from_pretrained().track([FRAME, FRAME], boxes=boxes, prompter=sam)
    assert (result[0].binary(7) == sam(FRAME, boxes, {}, {})[7]).all()
