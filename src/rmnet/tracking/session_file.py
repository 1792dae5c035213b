"""A session as a file: a safetensors of the tensors, whose metadata says the rest in JSON.

Nothing in such a file is ever run. What it claims is compared with the segmenter's configuration
and with the file's own length before a tensor is read, and all of it with a hash afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.errors import ConfigError, SessionFileError
from rmnet.io import written_whole
from rmnet.tracking.session_header import DTYPES, Header
from rmnet.tracking.session_state import SessionState
from rmnet.weights import Fingerprint, tensors_sha256

HEADER = "rmnet_session"  # in the metadata: a hash of all the rest, a blank, and JSON
FORMAT_VERSION = 1  # raised when an old file would be misread
ACCEPTED = "accepted: a file that TrackingSession.save wrote"
_DTYPE_NAMES = {"U8": torch.uint8, "BOOL": torch.bool, "I32": torch.int32, "F32": torch.float32}
_DTYPE_NAMES |= {"F16": torch.float16, "BF16": torch.bfloat16}


def write_session(
    path: Path, state: SessionState, *, weights: Fingerprint, rmnet_version: str
) -> None:
    """Write a session's file, whole or not at all.

    Args:
        path: The file; its folder exists.
        state: Of the session.
        weights: That it runs on.
        rmnet_version: Who writes; not compared.

    Raises:
        OutputError: it cannot be written.
    """
    facts = {"format_version": FORMAT_VERSION, "rmnet_version": rmnet_version, **weights._asdict()}
    header = json.dumps({**facts, **Header.of(state).to_json()})
    tensors = {name: x.detach().cpu().contiguous() for name, x in _tensors(state).items()}
    digest = tensors_sha256(tensors, start=header.encode())
    with written_whole(path, durable=True) as unfinished:
        unfinished.write_bytes(save(tensors, metadata={HEADER: f"{digest} {header}"}))


def read_session(
    path: Path,
    *,
    config: RMNetConfig,
    weights: Fingerprint,
    precision: torch.dtype,
    device: torch.device,
) -> SessionState:
    """Read a session that was saved on the same weights.

    Args:
        path: The file.
        config: Of the network that will go on.
        weights: Of that network.
        precision: Of its computation.
        device: Where it computes.

    Raises:
        SessionFileError: no such file, damaged, of another kind, or of other weights, precision
            or format.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise SessionFileError(f"the session {str(path)!r} {what}; {ACCEPTED}")
    try:
        with safe_open(path, framework="pt") as file:
            digest, text = _metadata(file.metadata() or {})
            header = _header(text, weights, precision)
            _check_shapes(file, header.wanted(config))
            tensors = {name: file.get_tensor(name) for name in header.wanted(config)}
            if tensors_sha256(tensors, start=text.encode()) != digest:
                raise ValueError("its contents are not those that were written")
            return header.state({name: _copied(x) for name, x in tensors.items()}, device)
    except SessionFileError as error:
        raise SessionFileError(f"the session {str(path)!r} {error}") from error
    except Exception as error:  # whatever the bytes provoke
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SessionFileError(
            f"the session {str(path)!r} is damaged, or none ({reason}); {ACCEPTED}. Copy it "
            "again, or start() anew"
        ) from error


def _metadata(metadata: Mapping[str, str]) -> tuple[str, str]:
    """The hash and the header."""
    if HEADER not in metadata:
        raise SessionFileError(f"is another kind of safetensors file; {ACCEPTED}")
    digest, _, text = metadata[HEADER].partition(" ")
    return digest, text


def _copied(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own: the file is mapped, and may be written over later on."""
    # A crafted file may hold bytes that are neither of a bool's.
    return tensor.view(torch.uint8) != 0 if tensor.dtype == torch.bool else tensor.clone()


def _header(text: str, weights: Fingerprint, precision: torch.dtype) -> Header:
    """What the metadata says, if it is for this network."""
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError(f"its header is a {type(fields).__name__}")
    version = fields.pop("format_version")
    if version != FORMAT_VERSION:
        raise SessionFileError(
            f"has format_version {version!r} (of rmnet {fields.get('rmnet_version')!r}); this "
            f"rmnet reads {FORMAT_VERSION}. Finish it with the rmnet that wrote it"
        )
    writer = Fingerprint(fields.pop("weights_sha256"), fields.pop("config_sha256"))
    if writer != weights:
        differs = [
            f"{name} {getattr(writer, name)!s:.12}, not {getattr(weights, name):.12}"
            for name in Fingerprint._fields
            if getattr(writer, name) != getattr(weights, name)
        ]
        raise SessionFileError(
            f"is of other weights ({'; '.join(differs)}); accepted: those of this segmenter. "
            "Write from_pretrained(...) with the weights it was saved on"
        )
    dtype = fields.get("dtype")
    if dtype in DTYPES and DTYPES[dtype] != precision:
        raise SessionFileError(
            f"was computed in {dtype}, this segmenter computes in {precision}; accepted: the "
            f"same. Write segmenter.to(dtype=torch.{dtype}).load_session(...)"
        )
    del fields["rmnet_version"]
    try:
        return Header.from_json(fields)
    except ConfigError as error:  # a policy's numbers: damage, here
        raise ValueError(str(error)) from error


def _check_shapes(file: Any, wanted: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:  # noqa: ANN401 safe_open has no type
    """Compare what the file holds with what its header says, before any of it is read."""
    names = set(file.keys())
    if names != wanted.keys():
        raise ValueError(f"it holds {sorted(names)}, not {sorted(wanted)}")
    for name, (dtype, shape) in wanted.items():
        found = file.get_slice(name)
        given = _DTYPE_NAMES.get(found.get_dtype()), tuple(found.get_shape())
        if given != (dtype, shape):
            raise ValueError(f"{name} is {given[0]} {given[1]}, not {dtype} {shape}")


def _tensors(state: SessionState) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    if state.bank.slots:
        tensors |= {f"memory.{name}": x for name, x in state.bank.view()._asdict().items()}
    if state.last is not None:
        estimate = state.last.known.estimate
        tensors |= {"last.pixels": state.last.known.pixels, "last.predicted": estimate.predicted}
        if estimate.given is not None:
            tensors |= {"given.masks": estimate.given.masks, "given.void": estimate.given.void}
    return tensors
