"""Files of weights: a configuration and its tensors, read from disk and written to it."""

from __future__ import annotations

import json
import re
import tempfile
import threading
import zipfile
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.errors import ConfigError, WeightsError, WeightsNotFoundError
from rmnet.io import make_folder, output_error
from rmnet.weights.released import RELEASED_CONFIG, from_released, is_released

CONFIG_FILE = "config.json"
TENSORS_FILE = "model.safetensors"
CONFIG_KEY = "rmnet_config"  # in a safetensors file's metadata: config.json again
ACCEPTED_FILES = (
    f"a folder with {CONFIG_FILE} and {TENSORS_FILE}, a .safetensors file, a released .pth"
)
COPY_AGAIN = "Copy it again."
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # in files; a network has float32
MAX_LISTED = 5  # names in a message

_UNPICKLING = threading.Lock()  # torch's list of what may be unpickled is one for all threads


class WeightFile(NamedTuple):
    """What a file holds: the network's configuration and tensors by name, not yet compared."""

    config: RMNetConfig
    tensors: Mapping[str, Tensor]
    source: str


def read_path(path: Path) -> WeightFile:
    """Read a folder, a .safetensors file or a released checkpoint that exists.

    Raises:
        WeightsNotFoundError: the folder lacks a file.
        WeightsError: damaged, or of another kind.
        ConfigError: the configuration is not this library's.
    """
    if path.is_dir():
        return read_folder(path)
    if path.suffix == ".safetensors":
        return _read_single(path)
    if path.suffix in (".pth", ".pt"):
        return _read_released(path)
    raise WeightsError(f"{path} has suffix {path.suffix!r}; accepted: {ACCEPTED_FILES}")


def read_folder(folder: Path, *, remedy: str = COPY_AGAIN) -> WeightFile:
    """Read config.json, which rules, and model.safetensors; `remedy` is for a damaged file."""
    for file in (CONFIG_FILE, TENSORS_FILE):
        if not (folder / file).is_file():
            raise WeightsNotFoundError(f"{folder} has no {file}; accepted: {ACCEPTED_FILES}")
    config = _read_config(folder / CONFIG_FILE, remedy=remedy)
    tensors, _ = _read_safetensors(folder / TENSORS_FILE, remedy=remedy)
    return WeightFile(config, tensors, str(folder / TENSORS_FILE))


def write_folder(
    folder: Path, config: RMNetConfig, tensors: Mapping[str, Tensor], *, rmnet_version: str
) -> None:
    """Write both files, whole or not at all; model.safetensors can also stand alone."""
    text = config.to_json()
    metadata = {"format": "pt", "rmnet_version": rmnet_version, CONFIG_KEY: text}
    make_folder(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as name:
            unfinished = Path(name)
            # save_file would make it readable by its owner only.
            content = save(dict(tensors), metadata=metadata)
            (unfinished / TENSORS_FILE).write_bytes(content)
            (unfinished / CONFIG_FILE).write_text(text, encoding="utf-8")
            for file in (TENSORS_FILE, CONFIG_FILE):
                (unfinished / file).replace(folder / file)
    except OSError as error:
        raise output_error(folder, error) from error


def check_size(file: WeightFile) -> None:
    """Raise a WeightsError where the configuration asks for more than the file could ever fill."""
    config, tensors = file.config, file.tensors.values()
    widths = (config.stem_width, *config.stage_widths, config.key_width, config.value_width)
    widths += (*config.decoder_widths, *config.flow_widths)
    too_deep = sum(config.stage_depths) > len(tensors)
    if too_deep or max(widths) > sum(tensor.numel() for tensor in tensors):
        raise WeightsError(
            f"{file.source} holds far less than its configuration describes. Probably these are "
            "weights of another model"
        )


def check_fit(file: WeightFile, wanted: Mapping[str, Tensor]) -> None:
    """Raise a WeightsError unless the file holds exactly these names and shapes."""
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
        "wrong layout": [name for name in both if not _is_plain(given[name])],
        "wrong dtype": [
            f"{name} {given[name].dtype}"
            for name in both
            if given[name].dtype not in _accepted_dtypes(wanted[name])
        ],
    }
    found = "; ".join(f"{what}: {_listed(names)}" for what, names in problems.items() if names)
    if not found:
        return
    if _looks_like_stm(given):
        guess = "these are STM's weights, of another network"
    elif not both:
        guess = "these are weights of another model"
    elif problems["missing"] or problems["unexpected"] or problems["wrong shape"]:
        guess = "its configuration is another RMNet's, or somebody changed it or the tensors"
    else:
        guess = f"a tool converted them; accepted for floats: {_listed(map(str, FLOAT_DTYPES))}"
    raise WeightsError(f"{file.source} does not fit its network. {found}. Probably {guess}")


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise a WeightsError if a value is infinite or NaN."""
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        raise WeightsError(f"{source} holds values that are not finite in {_listed(bad)}")


def _read_single(path: Path) -> WeightFile:
    tensors, metadata = _read_safetensors(path, remedy=COPY_AGAIN)
    beside = path.with_name(CONFIG_FILE)
    found = [_read_config(beside, remedy=COPY_AGAIN)] if beside.is_file() else []
    if CONFIG_KEY in metadata:
        found.append(_parse_config(metadata[CONFIG_KEY], path))
    if not found:
        raise WeightsError(
            f"{path} does not say what network it is of: no {CONFIG_FILE} beside it, no "
            f"{CONFIG_KEY!r} in its metadata. Is it of another model?"
        )
    if found[0] != found[-1]:
        raise WeightsError(
            f"{path} and the {CONFIG_FILE} beside it describe different networks. Move one of "
            f"them, or name the folder: there {CONFIG_FILE} rules"
        )
    return WeightFile(found[0], tensors, str(path))


def _read_released(path: Path) -> WeightFile:
    checkpoint = _read_pickle(path)
    if not isinstance(checkpoint, Mapping) or not is_released(checkpoint):
        keys = list(map(str, checkpoint)) if isinstance(checkpoint, Mapping) else []
        holds = _listed(keys) + " keys" if keys else f"a {type(checkpoint).__name__}"
        stm = " It is STM's, another network." if _looks_like_stm(keys) else ""
        raise WeightsError(
            f"{path} is no released RMNet checkpoint: it holds {holds}.{stm} Accepted: the "
            "authors' files, with the parts 'rmnet' and 'tflownet'"
        )
    try:
        tensors = from_released(checkpoint)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    # A count of batches may come with an axis of one, as torch before 0.4 kept scalars.
    counts = {name for name in tensors if name.endswith(".num_batches_tracked")}
    tensors |= {name: tensors[name][0] for name in counts if tensors[name].shape == (1,)}
    return WeightFile(RELEASED_CONFIG, tensors, str(path))


def _read_config(path: Path, *, remedy: str) -> RMNetConfig:
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged, or no JSON ({error}). {remedy}") from error
    return _parse_config(text, path)


def _parse_config(text: str, path: Path) -> RMNetConfig:
    try:
        return RMNetConfig.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _read_safetensors(path: Path, *, remedy: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dict
            return tensors, file.metadata() or {}
    except Exception as error:  # whatever the bytes provoke
        raise WeightsError(f"{path} is damaged, or no safetensors ({error}). {remedy}") from error


def _read_pickle(path: Path) -> object:
    try:
        # Checkpoints from before torch 1.6 are no zip, and cannot be mapped.
        mmap = _is_stored_zip(path)
        with _UNPICKLING:
            known = torch.serialization.get_safe_globals()
            more = [item for item in _numpy_scalars() if item not in known]
            with torch.serialization.safe_globals(more):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # whatever the bytes provoke
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise WeightsError(
                f"{path} holds {refused[1]}, which is no tensor; refused, since loading it may "
                f"run any code. Accepted: {ACCEPTED_FILES}"
            ) from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path} is damaged, or no checkpoint ({reason}). {COPY_AGAIN}"
        ) from error


def _is_stored_zip(path: Path) -> bool:
    """Whether it is a zip, as torch writes since 1.6.

    Raises:
        ValueError: a compressed one: torch writes none, and a few KB may unpack to gigabytes.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its parts are compressed, which torch.save never does")
    return True


def _numpy_scalars() -> list[Any]:
    """What unpickles a NumPy number, and nothing else: the authors saved such with their tensors."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("float32", "float64", "int64")]
    # NumPy 2 renamed the module of `scalar`.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *((scalar, name) for name in names)]


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense numbers in memory; a pickle may hold sparse ones, or none."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_nested
    )


def _accepted_dtypes(tensor: Tensor) -> tuple[torch.dtype, ...]:
    return FLOAT_DTYPES if tensor.is_floating_point() else (tensor.dtype,)


def _listed(names: Iterable[str]) -> str:
    """The first few names, and how many there are."""
    names = list(names)
    shown = ", ".join(islice(names, MAX_LISTED))
    return f"{len(names)} ({shown}{', ...' if len(names) > MAX_LISTED else ''})"


def _looks_like_stm(names: Iterable[str]) -> bool:
    """Whether these are the names of STM's network, RMNet's ancestor."""
    return any("Encoder_M." in name for name in names)
