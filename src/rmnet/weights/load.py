"""Loading and saving: find weights, fill a network with them, and write them back."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from importlib import metadata, resources
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from rmnet.errors import ConfigError, WeightsNotFoundError
from rmnet.io import make_folder, written_whole
from rmnet.network import RMNet
from rmnet.weights.files import (
    ACCEPTED_FILES,
    CONFIG_FILE,
    CONFIG_KEY,
    FLOAT_DTYPES,
    TENSORS_FILE,
    WeightFile,
    check_finite,
    check_fit,
    read_path,
)
from rmnet.weights.hashes import unique_tensors
from rmnet.weights.hub import Token, download, is_repo_id, upload

PACKAGED = "rmnet-small"  # the weights inside the package
_ACCEPTED = f"Accepted: {PACKAGED!r}, {ACCEPTED_FILES}, or a hub id 'org/name'"

_LOOKS_LIKE_A_PATH = re.compile(
    r"[.~/] | [A-Za-z]: | .*\\ | .*/$ | [^/]*/.*/ | .*\.(safetensors|pth|pt|tar|bin|ckpt|json)$",
    re.VERBOSE | re.DOTALL,
)


def load_network(
    name_or_path: str | os.PathLike[str] = PACKAGED,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: Token = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> RMNet:
    """Build the network that weights describe, and fill it with them.

    A name is that of the packaged weights, else an existing path, else a hub id, unless it looks
    like a path (a `pathlib.Path`, a leading `.`, `~` or `/`, a suffix such as `.pth`, more than
    one slash). See `RMNetSegmenter.from_pretrained` for arguments and errors.

    Returns:
        The network on the CPU, in float32 whatever the dtype of the file, in evaluation mode,
        without gradients.
    """
    if local_files_only and force_download:
        raise ConfigError("force_download=True contradicts local_files_only=True; leave one out")
    path = _local_path(name_or_path)
    if path is not None and revision is not None:
        raise ConfigError(
            f"revision is {revision!r}, but {name_or_path!r} is local, not on the hub; leave it out"
        )
    if path is None:
        path = download(
            str(name_or_path),
            (CONFIG_FILE, TENSORS_FILE),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
    return _fill(read_path(path))


def save_network(
    network: RMNet, directory: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32
) -> Path:
    """Write config.json and model.safetensors, both or neither.

    Args:
        network: Network on any device. Tensors that tied encoders share are written once.
        directory: Folder, created if necessary; existing files of these names are replaced.
        dtype: Dtype of the floats in the file: float32, float16 or bfloat16.

    Returns:
        The directory.

    Raises:
        ConfigError: The dtype is another one, or the directory is a file.
        WeightsError: A value is not finite in that dtype.
        OutputError: The files cannot be written.
    """
    if dtype not in FLOAT_DTYPES:
        raise ConfigError(f"dtype is {dtype}; accepted: {', '.join(map(str, FLOAT_DTYPES))}")
    folder = Path(directory).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; accepted: a folder, new or existing")
    tensors = {
        name: tensor.detach()
        .to(device="cpu", dtype=dtype if tensor.is_floating_point() else tensor.dtype)
        .contiguous()
        for name, tensor in unique_tensors(network).items()
    }
    check_finite(tensors, f"the network in {dtype}")
    text, version = network.config.to_json(), metadata.version("rmnet")
    content = save(tensors, metadata={"format": "pt", "rmnet_version": version, CONFIG_KEY: text})
    make_folder(folder)
    with (  # replaced when both are complete
        written_whole(folder / CONFIG_FILE) as config_path,
        written_whole(folder / TENSORS_FILE) as tensors_path,
    ):
        config_path.write_text(text, encoding="utf-8")
        tensors_path.write_bytes(content)  # not `save_file`: only the owner could read its file
    return folder


def push_network(
    network: RMNet,
    repo_id: str,
    *,
    dtype: torch.dtype = torch.float32,
    private: bool | None = None,
    token: Token = None,
    revision: str | None = None,
    commit_message: str = "Upload RMNet weights",
) -> str:
    """Save a network to a hub repository in one commit, with a model card if it has none.

    Args:
        network: See `save_network`.
        repo_id: Repository, "org/name"; created if necessary.
        dtype: See `save_network`.
        private: Whether a new repository is private; None for the organisation's default.
        token: Access token with the right to write; None for the stored one.
        revision: Existing branch; None for "main".
        commit_message: First line of the commit message.

    Returns:
        The URL of the commit.

    Raises:
        WeightsNotFoundError: A bad id, no such branch, or no right to write.
        WeightsError: See `save_network`; or the upload failed.
    """
    if not is_repo_id(repo_id):
        raise WeightsNotFoundError(f"{repo_id!r} is not a hub id; accepted: 'org/name'")
    with tempfile.TemporaryDirectory() as name:
        folder = save_network(network, name, dtype=dtype)
        return upload(folder, repo_id, private, token, revision, commit_message)


def _local_path(name_or_path: str | os.PathLike[str]) -> Path | None:
    """Return the path that a name refers to; None for a hub id."""
    if name_or_path == PACKAGED:
        return Path(str(resources.files("rmnet"))) / "pretrained" / PACKAGED
    if not isinstance(name_or_path, str | os.PathLike) or not str(name_or_path):
        raise ConfigError(f"the name of the weights is {name_or_path!r}. {_ACCEPTED}")
    path = Path(os.path.expanduser(name_or_path))  # noqa: PTH111 Path's own raises on "~nobody"
    if path.exists():
        return path
    if not isinstance(name_or_path, str) or _LOOKS_LIKE_A_PATH.match(name_or_path):
        raise WeightsNotFoundError(f"{path} does not exist. {_ACCEPTED}")
    if not is_repo_id(name_or_path):
        raise WeightsNotFoundError(f"there are no weights named {name_or_path!r}. {_ACCEPTED}")
    return None


def _fill(file: WeightFile) -> RMNet:
    """Build the network and copy the file's tensors into it."""
    with torch.device("meta"):
        empty = RMNet(file.config).float()
    wanted = unique_tensors(empty)
    check_fit(file, wanted)
    # Copied: the file is mapped into memory, and may be replaced while the network lives.
    filled = {name: file.tensors[name].to(meta.dtype, copy=True) for name, meta in wanted.items()}
    check_finite(filled, file.source)
    # Not `to_empty`: for meta tensors it imports sympy, which takes a second.
    for name in dict(empty.named_parameters()):
        filled[name] = nn.Parameter(filled[name], requires_grad=False)
    in_place_of = {id(meta): filled[name] for name, meta in wanted.items()}
    return copy.deepcopy(empty, in_place_of).eval()
