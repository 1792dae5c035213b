"""A session as a file: its tensors as safetensors, everything else as JSON in the metadata.

Nothing in such a file is ever run. Its hash is compared first, and every number is checked before
it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rmnet.config import RMNetConfig
from rmnet.errors import ConfigError, SessionFileError
from rmnet.io import written_whole
from rmnet.options import Flow
from rmnet.tracking.session_codec import PAST, from_json, to_json, to_tensors
from rmnet.tracking.state import SessionState
from rmnet.weights import Fingerprint, read_safetensors, tensors_sha256

HEADER = "rmnet_session"  # metadata key: SHA-256 of everything else, a space, JSON
FORMAT_VERSION = 2  # raised when an old rmnet would misread a file; 1 had no history
_ACCEPTED = "accepted: a file written by TrackingSession.save"

_NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_DTYPES = ("float32", "float16", "bfloat16")
_FLOWS: dict[str, Flow] = {"tiny": None, "none": "none"}


def write_session(
    path: Path, state: SessionState, weights: Fingerprint, dtype: torch.dtype
) -> None:
    """Write the state of a session on some weights, at some precision; whole or not at all."""
    header = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "rmnet_version": metadata.version("rmnet"),
            **weights._asdict(),
            "dtype": str(dtype).removeprefix("torch."),
            **to_json(state),
        }
    )
    tensors = {name: x.detach().cpu().contiguous() for name, x in to_tensors(state).items()}
    digest = tensors_sha256(tensors, start=header.encode())
    with written_whole(path, durable=True) as unfinished:
        _write(unfinished, tensors, {HEADER: f"{digest} {header}"})


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file without holding it in memory, as `safetensors.torch.save` would.

    `save_file` of that package would do, too, but only the owner could read its file, and errors
    come without their number.
    """
    # Large elements first, so that each tensor is aligned.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, x in ordered:
        offsets = [end, end + x.nbytes]
        header[name] = {"dtype": _NAMES[x.dtype], "shape": x.shape, "data_offsets": offsets}
        end += x.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, x in ordered:
            file.write(x.view(-1).view(torch.uint8).numpy().data)


def read_session(
    path: Path,
    *,
    config: RMNetConfig,
    weights: Fingerprint,
    dtype: torch.dtype,
    device: torch.device,
    flow: Flow,
) -> SessionState:
    """Read a session that was saved on these weights at this precision, to continue it.

    Raises:
        SessionFileError: there is no such file; it is damaged or of another kind; or it was saved
            on other weights, at another precision, or in another format.
        ConfigError: the session had a function as `flow` and none is given, or vice versa.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise SessionFileError(f"the session {str(path)!r} {problem}; {_ACCEPTED}")
    try:
        mapped, metadata = read_safetensors(path)
        if HEADER not in metadata:
            raise SessionFileError(f"is another kind of safetensors file; {_ACCEPTED}")
        digest, _, text = metadata[HEADER].partition(" ")
        header = json.loads(text)
        _check_origin(header, weights, dtype)
        if tensors_sha256(mapped, start=text.encode()) != digest:
            raise ValueError("its hash differs")
        # Past frames are copied one by one: together they may be larger than memory.
        tensors = {n: x if n.startswith(PAST) else _copied(x) for n, x in mapped.items()}
        flow_name = header["flow"]
        state = from_json(header, tensors, config, dtype, device)
    except SessionFileError as error:
        raise SessionFileError(f"the session {str(path)!r} {error}") from error
    except Exception as error:  # damaged bytes raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SessionFileError(
            f"the session {str(path)!r} is damaged ({reason}); {_ACCEPTED}. Copy it again, or "
            "start() another"
        ) from error
    return replace(state, options=replace(state.options, flow=_same_flow(flow_name, flow)))


def _check_origin(header: dict[str, Any], weights: Fingerprint, dtype: torch.dtype) -> None:
    """Take the origin out of a header, and compare it with the network that will continue."""
    version, writer = header.pop("format_version"), header.pop("rmnet_version")
    if version == 1:
        header |= {"history": 0, "past": []}
    elif version != FORMAT_VERSION:
        raise SessionFileError(
            f"has format_version {version!r} (of rmnet {writer!r}); this rmnet reads 1 to "
            f"{FORMAT_VERSION}. Finish it with the rmnet that wrote it"
        )
    saved = Fingerprint(header.pop("weights_sha256"), header.pop("config_sha256"))
    differences = [
        f"{name} {one!s:.12}, not {other:.12}"
        for name, one, other in zip(Fingerprint._fields, saved, weights, strict=True)
        if one != other
    ]
    if differences:
        raise SessionFileError(
            f"was saved on other weights ({'; '.join(differences)}); accepted: those of this "
            "segmenter. Write from_pretrained(...) with the weights it was saved on"
        )
    precision = header.pop("dtype")
    if f"torch.{precision}" != str(dtype):
        if precision not in _DTYPES:
            raise ValueError(f"its dtype is {precision!r:.40}")
        raise SessionFileError(
            f"was computed in {precision}, and this segmenter computes in {dtype}; accepted: the "
            f"same. Write segmenter.to(dtype=torch.{precision}).load_session(path)"
        )


def _copied(tensor: Tensor) -> Tensor:
    """Return a copy in memory of its own: the file is mapped, and may be overwritten later."""
    # A crafted file may hold bytes other than 0 and 1 in a bool tensor.
    return tensor.view(torch.uint8) != 0 if tensor.dtype == torch.bool else tensor.clone()


def _same_flow(name: str, flow: Flow) -> Flow:
    if (name == "function") == callable(flow):
        return flow if callable(flow) else _FLOWS[name]
    had = "a function" if name == "function" else repr(_FLOWS[name])
    remedy = "Leave flow out" if callable(flow) else "Write load_session(path, flow=flow)"
    raise ConfigError(
        f"flow is {flow!r}, but the session was saved with {had}; accepted: the same, since a "
        f"file holds no code. {remedy}"
    )
