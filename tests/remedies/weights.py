"""Remedies of `rmnet.weights`. Those of the hub itself are tested in tests/weights/test_hub.py."""

from __future__ import annotations

import dataclasses
import os
import shutil

import torch
from safetensors.torch import load_file, save_file

import tiny
from remedies.table import World, row
from rmnet.weights import load_network, push_network, save_network


def accepted_files(w: World) -> None:
    """Load each form of weights that messages call accepted, but a released .pth."""
    load_network(w.weights)
    load_network(w.weights / "model.safetensors")


@row("weights/files.py", "{} has suffix {}; accepted: a folder with {} and {}, a .safetensors file")
def _(w: World) -> None:
    (w.folder / "weights.bin").write_bytes(b"")
    with w.refused():
        load_network(w.folder / "weights.bin")
    accepted_files(w)


@row("weights/files.py", "{} does not fit its network; {}. Probably {}")
def _(w: World) -> None:
    other = dataclasses.replace(tiny.CONFIG, key_width=4)
    (w.weights / "config.json").write_text(other.to_json(), encoding="utf-8")
    with w.refused():
        load_network(w.weights)
    assert w.advice("Probably (config.json belongs to another RMNet)")
    (w.weights / "config.json").write_text(tiny.CONFIG.to_json(), encoding="utf-8")
    load_network(w.weights)


@row("weights/files.py", "is damaged, or not {} ({}). Copy it again, or download it again with")
def _(w: World) -> None:
    path = w.weights / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with w.refused():
        load_network(w.weights)
    path.write_bytes(content)
    load_network(w.weights)


@row("weights/files.py", "{} has values that are not finite in {} ({})")
def _(w: World) -> None:
    path = w.weights / "model.safetensors"
    content, tensors = path.read_bytes(), load_file(path)
    tensors[next(name for name in tensors if name.endswith("weight"))].fill_(torch.nan)
    save_file(tensors, path)
    with w.refused():
        load_network(w.weights)
    path.write_bytes(content)
    load_network(w.weights)


@row("weights/files.py", "does not describe its network: no config.json beside it")
def _(w: World) -> None:
    path = w.folder / "alone" / "x.safetensors"
    path.parent.mkdir()
    save_file(load_file(w.weights / "model.safetensors"), path)  # drops the metadata
    with w.refused():
        load_network(path)
    shutil.copy(w.weights / "config.json", path.parent)
    load_network(path)


@row("weights/files.py", "Move one, or pass the folder to use config.json")
def _(w: World) -> None:
    other = dataclasses.replace(tiny.CONFIG, mask_threshold=0.25)
    (w.weights / "config.json").write_text(other.to_json(), encoding="utf-8")
    with w.refused():
        load_network(w.weights / "model.safetensors")
    assert load_network(w.weights).config.mask_threshold == 0.25
    (w.weights / "config.json").rename(w.folder / "config.json")
    assert load_network(w.weights / "model.safetensors").config == tiny.CONFIG


@row("weights/files.py", "{} has no {}; accepted: a folder with {} and {}, a .safetensors file")
def _(w: World) -> None:
    (w.folder / "empty").mkdir()
    with w.refused():
        load_network(w.folder / "empty")
    accepted_files(w)


@row("weights/files.py", "is not a tensor; refused, since loading it may run any code. Accepted:")
def _(w: World) -> None:
    torch.save({"rmnet": os.getcwd}, w.folder / "x.pth")
    with w.refused():
        load_network(w.folder / "x.pth")
    accepted_files(w)


@row("weights/hub.py", "{}: not in the cache, and local_files_only=True. Leave it out to download")
def _(w: World) -> None:
    with w.refused():
        load_network("org/name", cache_dir=w.folder, local_files_only=True)
    # The download itself: test_first_load_downloads_both_files_once.


@row("weights/load.py", "force_download=True contradicts local_files_only=True; leave one out")
def _(w: World) -> None:
    options = {"force_download": True, "local_files_only": True}
    with w.refused():
        load_network(w.weights, **options)
    for name in options:
        load_network(w.weights, **{name: True})


@row("weights/load.py", "revision is {}, but {} is local, not on the hub; leave it out")
def _(w: World) -> None:
    with w.refused():
        load_network(w.weights, revision="main")
    load_network(w.weights)


@row("weights/load.py", "dtype is {}; accepted: {}")
def _(w: World) -> None:
    network = load_network(w.weights)
    with w.refused():
        save_network(network, w.folder / "new", dtype=torch.float64)
    for dtype in w.advice("accepted: (.*)").split(", "):
        save_network(network, w.folder / "new", dtype=eval(dtype))


@row("weights/load.py", "{} is a file; accepted: a folder, new or existing")
def _(w: World) -> None:
    network = load_network(w.weights)
    with w.refused():
        save_network(network, w.weights / "config.json")
    save_network(network, w.folder / "new")
    save_network(network, w.folder / "new")


@row("weights/load.py", "{} is not a hub id; accepted: 'org/name'")
def _(w: World) -> None:
    with w.refused():
        push_network(load_network(w.weights), "no id")
    # A push to 'org/name': test_pushed_weights_load_back.


@row("weights/load.py", "the name of the weights is {}. Accepted: ")
def _(w: World) -> None:
    with w.refused():
        load_network("")
    assert w.advice("('rmnet-small')")
    load_network("rmnet-small")
    accepted_files(w)


@row("weights/load.py", "{} does not exist. Accepted: ")
def _(w: World) -> None:
    with w.refused():
        load_network(w.folder / "nowhere")
    accepted_files(w)


@row("weights/load.py", "there are no weights named {}. Accepted: ")
def _(w: World) -> None:
    with w.refused():
        load_network("rmnet-smal")
    assert w.advice("('rmnet-small')")
    load_network("rmnet-small")


@row(
    "weights/released.py",
    "is not a released RMNet checkpoint: it holds {}.{} Accepted: the authors'",
)
def _(w: World) -> None:
    torch.save({"model": {}}, w.folder / "x.pth")
    with w.refused():
        load_network(w.folder / "x.pth")
    assert w.advice("(with the parts 'rmnet' and 'tflownet')")
    # A whole released checkpoint: tests/weights/test_weights.py.


@row("weights/released.py", "{} in {} is not a mapping of names to tensors")
def _(w: World) -> None:
    torch.save({"rmnet": {"a": 3}, "tflownet": {}}, w.folder / "x.pth")
    with w.refused():
        load_network(w.folder / "x.pth")
    accepted_files(w)


@row("weights/released.py", "{} holds {} twice, the second time as {}")
def _(w: World) -> None:
    twice = {"module.a": torch.zeros(1), "a": torch.zeros(1)}
    torch.save({"rmnet": twice, "tflownet": {}}, w.folder / "x.pth")
    with w.refused():
        load_network(w.folder / "x.pth")
    accepted_files(w)
