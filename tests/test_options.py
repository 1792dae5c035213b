"""The options of a session: one value, validated once."""

import numpy as np
import pytest

import tiny
from rmnet import RMNetConfig
from rmnet.errors import ConfigError
from rmnet.options import MemoryPolicy, TrackingOptions


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, 'size is 0; accepted: None, "native"'),
        ({"size": "half"}, "size is 'half'"),
        ({"size": True}, "size is True"),
        ({"memory": 5}, r"memory is 5; accepted: MemoryPolicy\(every=5"),
        ({"flow": "tiny"}, "flow is 'tiny'; accepted: None"),
        ({"regional": "yes"}, "regional is 'yes'; accepted: True or False"),
        ({"keep_probabilities": None}, "keep_probabilities is None"),
    ],
)
def test_an_invalid_option_is_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TrackingOptions(**wrong)
    with pytest.raises(ConfigError, match=message):
        tiny.segmenter().start(**wrong)


def test_the_size_in_the_config_is_the_default():
    config = RMNetConfig(size=100)
    assert TrackingOptions().resolved(config).shorter_side == 100
    assert TrackingOptions(size=np.int64(64)).resolved(config).shorter_side == 64
    assert TrackingOptions(size="native").resolved(config).shorter_side is None


def test_a_flow_function_needs_a_search_that_uses_flow():
    options = TrackingOptions(flow=lambda current, previous: None)
    assert options.resolved(RMNetConfig()).flow is options.flow
    with pytest.raises(ConfigError, match="search_region 'previous' uses no flow"):
        options.resolved(RMNetConfig(search_region="previous"))


def test_a_session_exposes_its_options():
    policy = MemoryPolicy(every=np.int64(2), max_frames=None)
    session = tiny.segmenter().start(size=48, memory=policy, regional=True)
    assert session.options == TrackingOptions(size=48, memory=MemoryPolicy(2, None), regional=True)
