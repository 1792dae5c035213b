"""Files of weights: read a configuration and its tensors, and check that they fit."""

from __future__ import annotations

import json
import re
import threading
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.errors import ConfigError, WeightsError, WeightsNotFoundError
from rmnet.weights.released import RELEASED_CONFIG, from_released
from rmnet.weights.safetensors_file import read_safetensors

CONFIG_FILE = "config.json"
TENSORS_FILE = "model.safetensors"
ACCEPTED_FILES = (
    f"a folder with {CONFIG_FILE} and {TENSORS_FILE}, a .safetensors file, a released .pth"
)
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # in files; a network has float32
CONFIG_KEY = "rmnet_config"  # metadata of a safetensors file: the text of config.json
_MAX_LISTED = 5  # names in a message
_UNPICKLING = threading.Lock()  # torch has one list of safe globals for all threads


class WeightFile(NamedTuple):
    """A configuration and tensors by name, not yet compared."""

    config: RMNetConfig
    tensors: Mapping[str, Tensor]
    source: str


def read_path(path: Path) -> WeightFile:
    """Read a folder, a .safetensors file or a released checkpoint."""
    if not path.is_file():
        return _read_folder(path)
    if path.suffix == ".safetensors":
        return _read_single(path)
    if path.suffix in (".pth", ".pt"):
        tensors = from_released(_read_pickle(path), str(path))
        return WeightFile(RELEASED_CONFIG, tensors, str(path))
    raise WeightsError(f"{path} has suffix {path.suffix!r}; accepted: {ACCEPTED_FILES}")


def check_fit(file: WeightFile, wanted: Mapping[str, Tensor]) -> None:
    """Raise a WeightsError unless a file has exactly the names, shapes and dtypes wanted."""
    given = file.tensors
    both = [name for name in wanted if name in given]
    problems = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "wrong shape": [
            f"{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in both
            if given[name].shape != wanted[name].shape
        ],
        "wrong dtype or layout": [
            f"{name} {given[name].dtype} {given[name].layout} on {given[name].device}"
            for name in both
            if not _is_convertible(given[name], wanted[name].dtype)
        ],
    }
    found = {problem: names for problem, names in problems.items() if names}
    if not found:
        return
    if not both:
        guess = "these are weights of another model"
    elif list(found) == ["wrong dtype or layout"]:
        guess = f"a tool converted them; accepted for floats: {_first(map(str, FLOAT_DTYPES))}"
    else:
        guess = f"{CONFIG_FILE} belongs to another RMNet, or one of the files was edited"
    listed = "; ".join(f"{what}: {len(names)} ({_first(names)})" for what, names in found.items())
    raise WeightsError(f"{file.source} does not fit its network; {listed}. Probably {guess}")


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise a WeightsError if a value is infinite or NaN."""
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise WeightsError(f"{source} has values that are not finite in {len(bad)} ({_first(bad)})")


def _read_folder(folder: Path) -> WeightFile:
    for file in (CONFIG_FILE, TENSORS_FILE):
        if not (folder / file).is_file():
            raise WeightsNotFoundError(f"{folder} has no {file}; accepted: {ACCEPTED_FILES}")
    config = _read_config(folder / CONFIG_FILE)  # it overrides the one in the metadata
    tensors, _ = _read_safetensors(folder / TENSORS_FILE)
    return WeightFile(config, tensors, str(folder / TENSORS_FILE))


def _read_single(path: Path) -> WeightFile:
    tensors, metadata = _read_safetensors(path)
    beside = path.with_name(CONFIG_FILE)
    configs = [_read_config(beside)] if beside.is_file() else []
    if CONFIG_KEY in metadata:
        configs.append(_read_config(path, metadata[CONFIG_KEY]))
    if not configs:
        raise WeightsError(
            f"{path} does not describe its network: no {CONFIG_FILE} beside it, no {CONFIG_KEY!r} "
            "in its metadata. Are these weights of another model?"
        )
    if configs[0] != configs[-1]:
        raise WeightsError(
            f"{path} and the {CONFIG_FILE} beside it describe different networks. Move one, or "
            f"pass the folder to use {CONFIG_FILE}"
        )
    return WeightFile(configs[0], tensors, str(path))


def _read_config(path: Path, text: str | None = None) -> RMNetConfig:
    """Parse config.json, or `text` from the metadata of a safetensors file."""
    try:
        text = path.read_text(encoding="utf-8") if text is None else text
        json.loads(text)  # a damaged file is not the same as another configuration
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "JSON", error) from error
    try:
        return RMNetConfig.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        return read_safetensors(path)
    except Exception as error:  # damaged bytes raise anything
        raise _damaged(path, "a safetensors file", error) from error


def _read_pickle(path: Path) -> object:
    try:
        mmap = _is_stored_zip(path)  # torch cannot map the format that it wrote before 1.6
        with _UNPICKLING:
            # On leaving, `safe_globals` removes what it was given: nothing that was there before.
            known = torch.serialization.get_safe_globals()
            more = [item for item in _numpy_scalars() if item not in known]
            with torch.serialization.safe_globals(more):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # damaged bytes raise anything
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise WeightsError(
                f"{path} holds {refused[1]}, which is not a tensor; refused, since loading it may "
                f"run any code. Accepted: {ACCEPTED_FILES}"
            ) from error
        raise _damaged(path, "a checkpoint", error) from error


def _damaged(path: Path, kind: str, error: Exception) -> WeightsError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return WeightsError(
        f"{path} is damaged, or not {kind} ({reason}). Copy it again, or download it again with "
        "force_download=True"
    )


def _is_stored_zip(path: Path) -> bool:
    """Whether this is a zip, torch's format since 1.6; a compressed one may be a bomb."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its parts are compressed, which torch.save never does")
    return True


def _numpy_scalars() -> list[Any]:
    """Return the globals that unpickle a NumPy number: the authors saved some with the tensors."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("float32", "float64", "int64")]
    # NumPy 2 renamed the module of `scalar`.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *((scalar, name) for name in names)]


def _is_convertible(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor is dense and in memory, and its dtype widens to the one of the network."""
    is_plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return is_plain and tensor.dtype in (FLOAT_DTYPES if dtype.is_floating_point else (dtype,))


def _first(names: Iterable[str]) -> str:
    """Return the first few names in a message."""
    names = list(names)
    return ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
