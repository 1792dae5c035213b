"""Safetensors files: names that are not UTF-8, and an interrupted read."""

import os

import pytest
import torch
from safetensors.torch import save_file

from rmnet.errors import WeightsError
from rmnet.weights import load_network, read_safetensors, safetensors_file

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False])}


@pytest.mark.parametrize("name", [b"plain", "вес".encode(), b"latin \xe9\xff"])
def test_tensors_and_metadata_are_read_whatever_the_folder_is_called(name, tmp_path):
    save_file(TENSORS, tmp_path / "file", metadata={"key": "value"})
    path = tmp_path / os.fsdecode(name) / "x.safetensors"
    try:
        path.parent.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    (tmp_path / "file").rename(path)
    tensors, metadata = read_safetensors(path)
    assert metadata == {"key": "value"}
    assert set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[key], value) for key, value in TENSORS.items())


@pytest.mark.parametrize("name", [b"plain", b"latin \xe9\xff"])
def test_damage_is_told_whatever_the_file_is_called(name, tmp_path):
    path = tmp_path / os.fsdecode(name + b".safetensors")
    try:
        path.write_bytes(b"\xff" * 100)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(WeightsError, match="is damaged"):
        load_network(path)


def test_ctrl_c_while_weights_load_is_no_damage(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise RuntimeError("Error in get_tensor: KeyboardInterrupt: ")  # as safetensors may say

    monkeypatch.setattr(safetensors_file, "safe_open", interrupted)
    (tmp_path / "x.safetensors").write_bytes(b"anything")
    with pytest.raises(KeyboardInterrupt):
        load_network(tmp_path / "x.safetensors")
