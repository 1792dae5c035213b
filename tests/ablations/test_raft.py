"""RAFT as a flow function, with random weights: sizes, order and sign."""

import numpy as np
import pytest
import torch
from torchvision.models import optical_flow

import tiny
from rmnet.ablations.raft import raft_flow
from rmnet.errors import ConfigError, WeightsError, WeightsNotFoundError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "small.pth"
    torch.save(optical_flow.raft_small(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("size", [(128, 136), (64, 97), (131, 129)])
def test_the_flow_has_the_frames_size(weights, size):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    field = raft_flow(weights, size="small", updates=1)(*frames)
    assert field.shape == (2, *size)
    assert field.dtype == torch.float32
    assert field.isfinite().all()


def test_the_flow_is_torchvisions_from_the_current_frame_to_the_previous(weights):
    frames = np.random.default_rng(0).integers(0, 256, (2, 128, 136, 3), dtype=np.uint8)
    network = optical_flow.raft_small(weights=None).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    # torchvision's preset: scale to [0, 1], then normalise with mean and deviation 0.5.
    images = [torch.from_numpy(f).permute(2, 0, 1)[None] / 255 * 2 - 1 for f in frames]
    with torch.inference_mode():
        want = network(*images, num_flow_updates=2)[-1][0]
    got = raft_flow(weights, size="small", updates=2)(*frames)
    assert torch.allclose(got, want, rtol=0, atol=1e-4)
    assert not torch.allclose(got, raft_flow(weights, size="small", updates=2)(*frames[::-1]))


def test_a_session_accepts_it(weights):
    frames, labels = tiny.clip(num_frames=2)
    found = list(tiny.segmenter().stream(frames, labels, flow=raft_flow(weights, size="small")))
    assert found[1].regions.shape == (2, 4)


def test_missing_weights_and_those_of_another_network_are_named(weights, tmp_path, monkeypatch):
    with pytest.raises(WeightsNotFoundError, match=r"there is no file 'raft\.pth'.*C_T_V2"):
        raft_flow("raft.pth")
    with pytest.raises(WeightsError, match=r"is no state dict of torchvision's raft_large"):
        raft_flow(weights)
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(WeightsError, match="cannot be read as a state dict"):
        raft_flow(tmp_path / "text.pth")

    def no_network(self, *_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(optical_flow.Raft_Large_Weights, "get_state_dict", no_network)
    with pytest.raises(WeightsNotFoundError, match=r"no route to host.*https://"):
        raft_flow("C_T_V2")


@pytest.mark.parametrize("options", [{"size": "huge"}, {"updates": 0}, {"updates": True}])
def test_invalid_options_are_refused(weights, options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is"):
        raft_flow(weights, **{"size": "small", **options})
