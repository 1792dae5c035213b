"""Weights come back as they were saved, and nothing but exactly the right file is taken."""

import dataclasses
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from golden import make_golden_inputs as inputs
from rmnet.errors import ConfigError, WeightsError, WeightsNotFoundError
from rmnet.weights import load_network, push_network, save_network
from rmnet.weights.released import RELEASED_CONFIG, from_released
from tiny_network import TINY, assert_same_tensors, tiny_network


@pytest.fixture
def saved(tmp_path):
    """A folder as `save_network` writes it."""
    return save_network(tiny_network(), tmp_path / "saved")


def rewrite(folder, change, *, metadata=None):
    """Change the tensors of a saved folder."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)


# --- Round trips --------------------------------------------------------------------------------


def test_saved_weights_come_back_to_the_bit(saved):
    loaded = load_network(saved)
    assert loaded.config == TINY
    assert_same_tensors(loaded, tiny_network())


def test_loaded_network_is_ready_for_inference(saved):
    loaded = load_network(saved)
    assert not any(module.training for module in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_are_widened(tmp_path, dtype):
    network = tiny_network()
    folder = save_network(network, tmp_path, dtype=dtype)
    stored = load_file(folder / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {dtype, torch.int64}
    wanted = tiny_network()
    wanted.load_state_dict(
        {
            name: t.to(dtype).float() if t.is_floating_point() else t
            for name, t in network.state_dict().items()
        }
    )
    assert_same_tensors(load_network(folder), wanted)


def test_tied_encoders_are_stored_once_and_stay_tied(tmp_path):
    network = tiny_network(tied_encoders=True)
    folder = save_network(network, tmp_path)
    stored = load_file(folder / "model.safetensors")
    assert "query_encoder.stem.weight" in stored
    assert "memory_encoder.stem.weight" not in stored
    assert "memory_encoder.stem_norm.weight" in stored
    loaded = load_network(folder)
    assert loaded.memory_encoder.stem.weight is loaded.query_encoder.stem.weight
    assert loaded.memory_head.key is loaded.query_head.key
    assert_same_tensors(loaded, network)


def test_tensors_need_not_be_contiguous_to_be_saved(tmp_path):
    network = tiny_network().to(memory_format=torch.channels_last)
    assert_same_tensors(load_network(save_network(network, tmp_path)), tiny_network())


def test_global_default_dtype_changes_nothing(saved):
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load_network(saved)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same_tensors(loaded, tiny_network())


def test_network_outlives_its_file(saved):
    loaded = load_network(saved)
    (saved / "model.safetensors").write_bytes(b"")
    assert_same_tensors(loaded, tiny_network())


# --- Files and names ----------------------------------------------------------------------------


def test_one_safetensors_file_is_enough(saved, tmp_path):
    alone = tmp_path / "alone.safetensors"
    (saved / "model.safetensors").rename(alone)
    assert_same_tensors(load_network(alone), tiny_network())


def test_safetensors_file_takes_the_config_beside_it(saved):
    rewrite(saved, lambda tensors: None)  # drops the metadata
    assert load_network(saved / "model.safetensors").config == TINY


def test_safetensors_file_that_contradicts_the_config_beside_it_is_refused(saved):
    edited = dataclasses.replace(TINY, read="excluded")
    (saved / "config.json").write_text(edited.to_json(), encoding="utf-8")
    with pytest.raises(WeightsError, match="describe different networks"):
        load_network(saved / "model.safetensors")
    assert load_network(saved).config.read == "excluded"


def test_tilde_is_the_home_folder(saved, monkeypatch):
    monkeypatch.setenv("HOME", str(saved.parent))
    monkeypatch.setenv("USERPROFILE", str(saved.parent))
    assert load_network("~/saved").config == TINY
    assert load_network(Path("~/saved")).config == TINY


def test_existing_path_comes_before_a_hub_id(saved, monkeypatch):
    monkeypatch.chdir(saved.parent.parent)
    assert load_network(f"{saved.parent.name}/saved").config == TINY


@pytest.mark.parametrize(
    "name",
    [
        "./somewhere/model",
        "../model",
        "/no/such/folder",
        "~/no-such-folder",
        "~no-such-user/model",
        "folder\\model",
        "C:/model",
        "a/b/c",
        "org/",
        "weights.pth",
        "org/RMNet-DAVIS.pth",
        "org/model.safetensors",
        Path("org/name"),
    ],
)
def test_what_looks_like_a_path_is_never_asked_of_the_hub(name, monkeypatch):
    monkeypatch.setattr("rmnet.weights.load.download", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(WeightsNotFoundError, match=r"does not exist\. Accepted: 'rmnet-small'"):
        load_network(name)


@pytest.mark.parametrize(
    "name", ["rmnet-smal", "org/na me", "org--x/name", "-org/name", "org/x.git"]
)
def test_impossible_hub_ids_are_not_asked_of_the_hub(name, monkeypatch):
    monkeypatch.setattr("rmnet.weights.load.download", lambda *a, **k: pytest.fail("asked the hub"))
    with pytest.raises(WeightsNotFoundError, match="hub id 'org/name'"):
        load_network(name)


@pytest.mark.parametrize("name", ["", None, 3])
def test_names_of_other_types_are_refused(name):
    with pytest.raises(ConfigError, match="Accepted: 'rmnet-small'"):
        load_network(name)


def test_revision_of_a_local_path_is_refused(saved):
    with pytest.raises(ConfigError, match="leave it out"):
        load_network(saved, revision="v1")


def test_contradicting_arguments_are_refused():
    with pytest.raises(ConfigError, match="contradicts"):
        load_network("org/name", local_files_only=True, force_download=True)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_folder_without_one_of_the_files_names_it(saved, missing):
    (saved / missing).unlink()
    with pytest.raises(WeightsNotFoundError, match=f"has no {missing}"):
        load_network(saved)


def test_other_suffixes_are_refused(tmp_path):
    (tmp_path / "weights.onnx").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"suffix '\.onnx'"):
        load_network(tmp_path / "weights.onnx")


# --- Strictness ---------------------------------------------------------------------------------


def test_missing_tensors_are_named(saved):
    rewrite(saved, lambda tensors: tensors.pop("decoder.predict.bias"))
    with pytest.raises(WeightsError, match=r"missing: 1 \(decoder\.predict\.bias\)"):
        load_network(saved)


def test_unexpected_tensors_are_named_up_to_five(saved):
    rewrite(saved, lambda tensors: tensors.update({f"x{i}": torch.zeros(1) for i in range(7)}))
    with pytest.raises(WeightsError, match=r"unexpected: 7 \(x0, x1, x2, x3, x4, \.\.\.\)"):
        load_network(saved)


def test_wrong_shapes_are_named(saved):
    rewrite(saved, lambda tensors: tensors.update({"decoder.predict.bias": torch.zeros(3)}))
    with pytest.raises(WeightsError, match=r"predict\.bias \(3,\) instead of \(2,\)"):
        load_network(saved)


def test_shapes_that_would_broadcast_are_refused(saved):
    rewrite(saved, lambda tensors: tensors.update({"decoder.predict.bias": torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"predict\.bias \(1,\) instead of \(2,\)"):
        load_network(saved)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("decoder.predict.bias", torch.float64),
        ("decoder.predict.bias", torch.int64),
        ("decoder.predict.bias", torch.float8_e5m2),
        ("query_encoder.stem_norm.num_batches_tracked", torch.float32),
    ],
)
def test_other_dtypes_are_refused(saved, name, dtype):
    rewrite(saved, lambda tensors: tensors.update({name: tensors[name].to(dtype)}))
    with pytest.raises(WeightsError, match=f"wrong dtype or layout: 1 \\({name} {dtype}"):
        load_network(saved)


def test_config_of_another_network_is_refused(saved):
    other = dataclasses.replace(TINY, tied_encoders=True)
    (saved / "config.json").write_text(other.to_json(), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"unexpected: .* config\.json belongs to another RMNet"):
        load_network(saved)


@pytest.mark.parametrize(
    "change",
    [{"stage_depths": (1, 256, 1)}, {"key_width": 16384}, {"flow_widths": (16384,) * 5}],
)
def test_config_of_a_far_larger_network_is_refused(saved, change):
    huge = dataclasses.replace(TINY, **change)
    (saved / "config.json").write_text(huge.to_json(), encoding="utf-8")
    with pytest.raises(WeightsError, match="does not fit its network"):
        load_network(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(saved, value):
    rewrite(saved, lambda tensors: tensors["decoder.predict.bias"].fill_(value))
    with pytest.raises(WeightsError, match=r"not finite in 1 \(decoder\.predict\.bias\)"):
        load_network(saved)


def test_values_too_large_for_the_file_are_not_saved(tmp_path):
    network = tiny_network()
    network.query_encoder.stem_norm.running_var.fill_(1e6)
    with pytest.raises(WeightsError, match="not finite"):
        save_network(network, tmp_path / "new", dtype=torch.float16)
    assert not (tmp_path / "new").exists()


def test_weights_of_another_model_are_refused(saved):
    layers = {f"layer{i}.weight": torch.zeros(2, 2) for i in range(9)}
    save_file(layers, saved / "model.safetensors")
    with pytest.raises(WeightsError, match=r"unexpected: 9 .*weights of another model"):
        load_network(saved)


def test_safetensors_file_without_a_config_is_refused(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"layer.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(WeightsError, match=r"no config\.json beside it"):
        load_network(path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated_safetensors_are_refused(saved, kept):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged.*Copy it again"):
        load_network(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format_version 99; this rmnet reads 1"),
        ({"colour": "blue"}, r"unknown fields \['colour'\]"),
        ({"key_width": 0}, r"config\.json: key_width is 0"),
    ],
)
def test_config_that_is_not_ours_is_refused(saved, change, message):
    path = saved / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(fields | change), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_network(saved)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_damaged_config_is_refused(saved, content):
    (saved / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        load_network(saved)


# --- Saving -------------------------------------------------------------------------------------


def test_saving_makes_folders_and_replaces_old_files(tmp_path):
    folder = tmp_path / "a" / "b"
    save_network(tiny_network(seed=1), folder)
    assert save_network(tiny_network(seed=2), folder) == folder
    assert_same_tensors(load_network(folder), tiny_network(seed=2))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_failed_save_leaves_the_old_files(saved, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        save_network(tiny_network(seed=5), saved)
    assert_same_tensors(load_network(saved), tiny_network())
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


def test_saved_metadata_says_what_the_file_is(saved):
    with safe_open(saved / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["rmnet_version"]
    assert metadata["rmnet_config"] == (saved / "config.json").read_text(encoding="utf-8")


def test_saving_over_a_file_or_in_another_dtype_is_refused(saved):
    with pytest.raises(ConfigError, match="is a file"):
        save_network(tiny_network(), saved / "config.json")
    with pytest.raises(ConfigError, match=r"dtype is torch\.float64"):
        save_network(tiny_network(), saved, dtype=torch.float64)


def test_pushing_to_a_name_that_is_no_hub_id_is_refused():
    with pytest.raises(WeightsNotFoundError, match="'name' is not a hub id"):
        push_network(tiny_network(), "name")


# --- Released checkpoints -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A checkpoint in the released form, 202 MiB, with deterministic numbers."""
    path = tmp_path_factory.mktemp("released") / "RMNet.pth"
    inputs.save_checkpoint(path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def released_network(released):
    return load_network(released)


def test_released_checkpoint_fills_every_tensor(released, released_network):
    assert released_network.config == RELEASED_CONFIG
    checkpoint = torch.load(released, map_location="cpu", weights_only=True)
    state = released_network.state_dict()
    wanted = from_released(checkpoint, "RMNet.pth")
    assert state.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(state[name], tensor.reshape(state[name].shape)), name


def test_released_checkpoint_survives_conversion(released_network, tmp_path):
    folder = save_network(released_network, tmp_path)
    assert_same_tensors(load_network(folder), released_network)
    (folder / "model.safetensors").unlink()


def save_small_checkpoint(path, **changes):
    """The released form without its tensors, in the form of torch before 1.6."""
    checkpoint = {"epoch_index": 1, "best_metrics": {}, "tflownet": {}, "rmnet": {}} | changes
    torch.save(checkpoint, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(1)])
def test_numpy_numbers_beside_the_tensors_are_read(tmp_path, module, number):
    path = save_small_checkpoint(tmp_path / "x.pth", best_metrics={"J-Mean": number})
    written = b"c" + np.float64(0).__reduce__()[0].__module__.encode()  # NumPy 2 renamed it
    content = path.read_bytes()
    assert written + b"\nscalar" in content
    path.write_bytes(content.replace(written, b"c" + module.encode()))
    before = set(torch.serialization.get_safe_globals())  # its order may change
    with pytest.raises(WeightsError, match="does not fit its network; missing"):
        load_network(path)  # read, and found empty
    assert set(torch.serialization.get_safe_globals()) == before


def test_released_checkpoint_with_a_wrong_part_is_refused(tmp_path):
    path = save_small_checkpoint(tmp_path / "x.pth", rmnet={"module.a": 1})
    with pytest.raises(WeightsError, match=r"'rmnet' in .*x\.pth is not"):
        load_network(path)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"module.Encoder_M.conv1.weight": torch.zeros(1)}, "belongs to STM, another network"),
        ({"state_dict": {}, "epoch": 3}, r"holds the keys state_dict, epoch\. Accepted"),
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(1), "holds a Tensor"),
    ],
)
def test_checkpoints_of_other_forms_are_refused(tmp_path, checkpoint, message):
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=message):
        load_network(tmp_path / "other.pt")


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_that_run_code_do_not(tmp_path, zipped):
    trace = tmp_path / "ran"
    path = tmp_path / "x.pth"
    checkpoint = {"rmnet": {}, "tflownet": {}, "best_metrics": Malicious(trace)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"holds (posix|nt)\.mkdir.*refused"):
        load_network(path)
    assert not trace.exists()


def test_the_malicious_pickle_would_run(tmp_path):
    pickle.loads(pickle.dumps(Malicious(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x02", bytes(1000)])
def test_damaged_checkpoints_are_refused(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth is damaged"):
        load_network(tmp_path / "x.pth")


def test_truncated_checkpoint_is_refused(tmp_path):
    torch.save({"rmnet": {"a": torch.zeros(1000)}, "tflownet": {}}, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"x\.pth is damaged"):
        load_network(tmp_path / "x.pth")


def test_saved_files_are_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").write_text("")
    save_network(tiny_network(), tmp_path / "saved")
    modes = {file.stat().st_mode for file in (tmp_path / "saved").iterdir()}
    assert modes == {(tmp_path / "other").stat().st_mode}
