"""Which weights are meant, and a network filled with exactly those; and the way back."""

from __future__ import annotations

import copy
import os
import re
import tempfile
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from rmnet.errors import ConfigError, WeightsNotFoundError
from rmnet.network import RMNet
from rmnet.weights.files import (
    ACCEPTED_FILES,
    CONFIG_FILE,
    FLOAT_DTYPES,
    TENSORS_FILE,
    WeightFile,
    check_finite,
    check_fit,
    check_size,
    read_folder,
    read_path,
    write_folder,
)
from rmnet.weights.hub import (
    FETCH_AGAIN,
    LIBRARY,
    MODEL_CARD,
    download,
    is_repo_id,
    library_version,
    upload,
)

PACKAGED = "rmnet-small"  # the weights inside the package
ACCEPTED = f"Accepted: {PACKAGED!r}, {ACCEPTED_FILES}, or a hub id 'org/name'"

_LOOKS_LIKE_A_PATH = re.compile(
    r"[.~/] | [A-Za-z]: | .*\\ | .*/$ | [^/]*/.*/ | .*\.(safetensors|pth|pt|tar|bin|ckpt|json)$",
    re.VERBOSE | re.DOTALL,
)


def load_network(
    name_or_path: str | os.PathLike[str] = PACKAGED,
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> RMNet:
    """Build the network that a file describes, and fill it.

    Looked for in this order: the packaged name; a local path, if it exists; a hub id. What looks
    like a path (a `pathlib.Path`, a leading `.`, `~` or `/`, a suffix such as `.pth`, more than
    one slash) is never asked of the hub.

    Args:
        name_or_path: "rmnet-small"; a folder with config.json and model.safetensors; a
            .safetensors file (config.json beside it, or in its metadata); a checkpoint of the
            paper's authors (.pth, .pt), unpickled as data only; or a hub id "org/name".
        revision: Of a hub repository: branch, tag or commit; None for "main".
        cache_dir: Where downloads lie; None for the hub's own cache.
        token: Of the hub's user; None for the stored one, False for none.
        local_files_only: Never download.
        force_download: Download even what is cached.

    Returns:
        On the CPU, float32 whatever the file holds, in evaluation mode, without gradients.

    Raises:
        WeightsNotFoundError: nothing by that name, path or revision, or no way to it.
        WeightsError: damaged, of another model, not finite, or not these tensors exactly.
        ConfigError: config.json is not this library's, or two arguments contradict each other.
    """
    if local_files_only and force_download:
        raise ConfigError("force_download=True contradicts local_files_only=True; leave one out")
    path = _packaged() if name_or_path == PACKAGED else _local_path(name_or_path)
    if path is None:
        first, *_ = download(
            str(name_or_path),
            (CONFIG_FILE, TENSORS_FILE),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return _fill(read_folder(first.parent, remedy=FETCH_AGAIN))
    if revision is not None:
        raise ConfigError(
            f"revision is {revision!r}, but {name_or_path!r} is local; accepted for a hub "
            "repository only: leave it out"
        )
    return _fill(read_path(path))


def save_network(
    network: RMNet, directory: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32
) -> Path:
    """Write config.json and model.safetensors, whole or not at all.

    Args:
        network: On any device. Tensors shared by tied encoders are written once.
        directory: Created if need be; files of these names in it are replaced.
        dtype: Of the floats in the file: float32, float16 or bfloat16.

    Returns:
        The directory.

    Raises:
        ConfigError: another dtype, or the directory is a file.
        WeightsError: a value is not finite, or not in that dtype.
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
        for name, tensor in _unique_tensors(network).items()
    }
    check_finite(tensors, f"the network, as {dtype},")
    write_folder(folder, network.config, tensors, rmnet_version=library_version())
    return folder


def push_network(
    network: RMNet,
    repo_id: str,
    *,
    dtype: torch.dtype = torch.float32,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload RMNet weights",
) -> str:
    """Save to a hub repository, made if need be, with a model card if it has none.

    Args:
        network: As for `save_network`.
        repo_id: "org/name".
        dtype: As for `save_network`.
        private: Whether a new repository is; None for the organisation's default.
        token: With the right to write; None for the stored one.
        revision: Branch, which must exist; None for "main".
        commit_message: First line of the commit.

    Returns:
        The commit's address.

    Raises:
        WeightsNotFoundError: a bad id, no such branch, no right to write, or no connection.
        WeightsError: as `save_network`, or the hub refused the files.
    """
    if not is_repo_id(repo_id):
        raise WeightsNotFoundError(f"{repo_id!r} is no hub id; accepted: 'org/name'")
    with tempfile.TemporaryDirectory() as name:
        folder = save_network(network, name, dtype=dtype)
        (folder / MODEL_CARD).write_text(_model_card(repo_id), encoding="utf-8")
        return upload(
            folder,
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message,
        )


def _packaged() -> Path:
    folder = Path(str(resources.files("rmnet") / "pretrained" / PACKAGED))
    if not (folder / TENSORS_FILE).is_file():
        raise WeightsNotFoundError(
            f"this installation of rmnet lacks its packaged weights {PACKAGED!r}, expected in "
            f"{folder}; install it again, or name other weights. {ACCEPTED}"
        )
    return folder


def _local_path(name_or_path: str | os.PathLike[str]) -> Path | None:
    """The existing path that is meant; None for a hub id."""
    if not isinstance(name_or_path, str | os.PathLike) or not str(name_or_path):
        raise ConfigError(f"weights are named {name_or_path!r}. {ACCEPTED}")
    path = Path(os.path.expanduser(name_or_path))  # noqa: PTH111 Path's own raises on "~nobody"
    if path.exists():
        return path
    if not isinstance(name_or_path, str) or _LOOKS_LIKE_A_PATH.match(name_or_path):
        raise WeightsNotFoundError(f"{path} does not exist. {ACCEPTED}")
    if not is_repo_id(name_or_path):
        raise WeightsNotFoundError(f"there are no weights named {name_or_path!r}. {ACCEPTED}")
    return None


def _fill(file: WeightFile) -> RMNet:
    """Build the network and copy exactly the file's tensors into it."""
    check_size(file)
    with torch.device("meta"):
        empty = RMNet(file.config).float()
    wanted = _unique_tensors(empty)
    check_fit(file, wanted)
    # Copied, not shared: the file is mapped, and may be replaced while the network lives.
    filled = {name: file.tensors[name].to(meta.dtype, copy=True) for name, meta in wanted.items()}
    check_finite(filled, file.source)
    # Not `to_empty`: on its way from meta tensors torch imports sympy, which takes a second.
    places = {id(meta): _in_the_place_of(meta, filled[name]) for name, meta in wanted.items()}
    return copy.deepcopy(empty, places).eval()


def _in_the_place_of(meta: Tensor, tensor: Tensor) -> Tensor:
    return nn.Parameter(tensor, requires_grad=False) if isinstance(meta, nn.Parameter) else tensor


def _unique_tensors(network: RMNet) -> dict[str, Tensor]:
    """Parameters and buffers by their first name; what tied encoders share comes once."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


def _model_card(repo_id: str) -> str:
    return f"""---
library_name: {LIBRARY}
tags:
- video-object-segmentation
---

# {repo_id.partition("/")[2]}

Weights of RMNet (Xie et al., CVPR 2021) for semi-supervised video object segmentation: masks of
the first frame in, masks of every frame out.

```python
from rmnet import RMNetSegmenter

segmenter = RMNetSegmenter.from_pretrained("{repo_id}")
result = segmenter.track("video.mp4", "first_mask.png")
```
"""
