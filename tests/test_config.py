"""Configurations are read back as written, and refused when invalid."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmnet import MemoryPolicy, RMNetConfig
from rmnet.config import MemoryRegion, SearchRegion
from rmnet.errors import ConfigError

widths = st.integers(1, 64).map(lambda x: 4 * x)


@given(
    st.builds(
        RMNetConfig,
        backbone=st.sampled_from(["resnet18", "resnet50"]),
        stage_widths=st.tuples(widths, widths, widths),
        key_width=widths,
        tied_encoders=st.booleans(),
        read=st.sampled_from(["zeroed", "excluded"]),
        search_region=st.sampled_from(get_args(SearchRegion)),
        memory_region=st.sampled_from(get_args(MemoryRegion)),
        memory_threshold=st.none() | st.floats(0.01, 0.99),
        mask_threshold=st.floats(0.01, 0.99),
        size=st.integers(16, 2000),
    )
)
def test_json_round_trip(config):
    assert RMNetConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("memory_region", "none", "'none'; accepted: 'mask', 'frame'"),
        ("search_region", "flow", "'warped', 'union', 'previous', 'best_match', 'frame'"),
        ("read", "masked", "'masked'; accepted: 'zeroed', 'excluded'"),
        ("backbone", "vgg", "accepted: 'resnet50', 'resnet18', 'efficientnet_lite0'"),
        (
            "backbone",
            "efficientnet_lite0",
            "and stem_width is 64; accepted: 32",
        ),
        ("stage_widths", [256, 512], "accepted: 3 integers"),
        ("stage_widths", [256, 510, 1024], "multiples of 4"),
        ("key_width", 0, "at least 1"),
        ("key_width", 128.0, "at least 1"),
        ("key_width", True, "at least 1"),
        ("mask_threshold", 1.0, r"in \(0, 1\)"),
        ("mask_threshold", "half", r"in \(0, 1\)"),
        ("memory_threshold", 0, r"in \(0, 1\)"),
        ("memory_threshold", "none", r"in \(0, 1\)"),
        ("tied_encoders", 1, "true or false"),
        ("box_margin", -1, "at least 0"),
    ],
)
def test_an_invalid_value_is_named(field, value, message):
    fields = json.loads(RMNetConfig().to_json()) | {field: value}
    with pytest.raises(ConfigError, match=f"{field}.*{message}"):
        RMNetConfig.from_json(json.dumps(fields))


def test_unknown_and_missing_fields_are_named():
    fields = json.loads(RMNetConfig().to_json())
    del fields["size"]
    fields["siez"] = 480
    with pytest.raises(ConfigError, match=r"unknown fields \['siez'\], missing fields \['size'\]"):
        RMNetConfig.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    ("field", "default", "chosen"),
    [("memory_region", "mask", "frame"), ("memory_threshold", None, 0.5)],
)
def test_a_file_older_than_a_field_is_read_and_written_unchanged(field, default, chosen):
    text = RMNetConfig().to_json()
    assert field not in json.loads(text)  # so an older rmnet can read it
    assert getattr(RMNetConfig.from_json(text), field) == default
    assert json.loads(RMNetConfig(**{field: chosen}).to_json())[field] == chosen


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000])
def test_text_that_is_not_a_config_is_refused(text):
    with pytest.raises(ConfigError, match=r"config\.json"):
        RMNetConfig.from_json(text)


def test_the_config_of_another_library_is_refused():
    with pytest.raises(ConfigError, match="format_version None"):
        RMNetConfig.from_json('{"model_type": "sam2_video"}')


@pytest.mark.parametrize("wrong", [{"every": 0}, {"every": 2.5}, {"max_frames": 1}])
def test_an_invalid_memory_policy_is_refused(wrong):
    with pytest.raises(ConfigError, match="MemoryPolicy"):
        MemoryPolicy(**wrong)
