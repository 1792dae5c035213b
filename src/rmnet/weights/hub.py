"""The Hugging Face hub: download, upload, and its errors as this library's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rmnet.errors import WeightsError, WeightsNotFoundError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Token: TypeAlias = str | bool | None  # None for the stored one, False for none
_MODEL_CARD = "README.md"
_FETCH_AGAIN = "Write force_download=True to download it again."


def is_repo_id(name: str) -> bool:
    """Whether `name` has the form "org/name"."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def download(
    repo_id: str,
    filenames: Sequence[str],
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: Token = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Return the cached folder with these files of one commit, downloaded if necessary."""
    from huggingface_hub import try_to_load_from_cache

    folder, commit = Path(), revision
    for filename in filenames:
        what = f"{filename} of {_place(repo_id, revision)}"
        if local_files_only:
            # Not `hf_hub_download`: that of huggingface_hub 2 may ask the hub which program calls.
            path = try_to_load_from_cache(repo_id, filename, cache_dir, commit)
            if not isinstance(path, str):
                raise WeightsNotFoundError(
                    f"{what}: not in the cache, and local_files_only=True. Leave it out to download"
                )
        else:
            with _own_errors(repo_id, what, _FETCH_AGAIN), _no_bars("huggingface_hub"):
                path = _hub(token).hf_hub_download(
                    repo_id,
                    filename,
                    revision=commit,
                    cache_dir=cache_dir,
                    force_download=force_download,
                )
        _check_hash(Path(path), what)
        folder = Path(path).parent
        commit = folder.name  # of the other files too, even if somebody pushes meanwhile
    return folder


def upload(
    folder: Path, repo_id: str, private: bool | None, token: Token, branch: str | None, title: str
) -> str:
    """Commit a folder's files to a repository, with a model card if it has none; return the URL."""
    from huggingface_hub import CommitOperationAdd

    api = _hub(token)
    with _own_errors(repo_id, f"upload to {_place(repo_id, branch)}"), _no_bars(None):
        api.create_repo(repo_id, private=private, exist_ok=True)
        files = [CommitOperationAdd(path.name, str(path)) for path in sorted(folder.iterdir())]
        if not api.file_exists(repo_id, _MODEL_CARD, revision=branch):
            files.append(CommitOperationAdd(_MODEL_CARD, _model_card(repo_id).encode()))
        # Not `upload_folder`, which may spread its files over several commits.
        commit = api.create_commit(repo_id, files, commit_message=title, revision=branch)
    return commit.commit_url


def _hub(token: Token) -> HfApi:
    from huggingface_hub import HfApi

    version = metadata.version("rmnet")  # for the hub's statistics
    return HfApi(token=token, library_name="rmnet", library_version=version)


def _check_hash(path: Path, what: str) -> None:
    """Raise a WeightsError unless a cached file has the hash that the hub gave.

    huggingface_hub compares lengths only. It stores a large file behind a link, under the SHA-256
    of its bytes. Small files, and caches without links, have no such name.
    """
    name = path.resolve().name
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != name:
        damage = f"its SHA-256 is {found}, the hub says {name}"
        raise WeightsError(f"{what}: damaged; {damage}. {_FETCH_AGAIN}")


@contextmanager
def _own_errors(repo_id: str, what: str, remedy: str = "") -> Iterator[None]:
    """Raise huggingface_hub's errors as this library's; `what` was being read or written."""
    from huggingface_hub import constants, errors

    # OSError and the HTTPError of httpx (httpx2 from huggingface_hub 2 on).
    kinds: tuple[type[Exception], ...] = errors.HfHubHTTPError.__bases__
    try:
        yield
    except (ValueError, RuntimeError, *kinds) as error:  # RuntimeError is that of hf_xet
        # If a file is not cached and the hub did not answer, the cause says why.
        unanswered = isinstance(error, errors.LocalEntryNotFoundError) or type(error) is ValueError
        reason = error.__cause__ or error if unanswered else error
        details = f"{type(reason).__name__}: {' '.join(str(reason).split()) or 'no details'}"
        hub, access = constants.ENDPOINT, "Pass token=..., or run `hf auth login`."
        messages: dict[type[Exception], str] = {
            errors.GatedRepoError: f"it is gated. Ask for access on {hub}/{repo_id}. {access}",
            errors.RepositoryNotFoundError: f"the hub shows no repository {repo_id!r}. Check the "
            f"name; a private one needs a token. {access}",
            errors.RevisionNotFoundError: "no such revision. Accepted: a branch, tag or commit.",
            errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE is set; only cached files are available.",
            errors.RemoteEntryNotFoundError: "no such file. Accepted: repositories from push_to_hub.",
        }
        message = next((messages[kind] for kind in messages if isinstance(reason, kind)), None)
        if isinstance(reason, errors.HfHubHTTPError) and reason.response.status_code in (401, 403):
            message = message or f"the hub refused access ({reason.response.status_code}). {access}"
        if message is None and unanswered:
            message = f"not cached, and {hub} did not provide it ({details}). Is it reachable?"
        if message is None:
            raise WeightsError(f"{what}: failed ({details}). {remedy}".rstrip()) from error
        raise WeightsNotFoundError(f"{what}: {message}") from error


@contextmanager
def _no_bars(group: str | None) -> Iterator[None]:
    """Hide huggingface_hub's progress bars, unless HF_HUB_DISABLE_PROGRESS_BARS=0 asks for them."""
    from huggingface_hub import constants, utils

    is_decided = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None
    if is_decided or utils.are_progress_bars_disabled(group):
        yield
        return
    utils.disable_progress_bars(group)
    try:
        yield
    finally:
        utils.enable_progress_bars(group)


def _place(repo_id: str, revision: str | None) -> str:
    return f"{repo_id!r} on the hub" + (f", revision {revision!r}" if revision else "")


def _model_card(repo_id: str) -> str:
    return f"""---
library_name: rmnet
tags:
- video-object-segmentation
---

# {repo_id.partition("/")[2]}

Weights of RMNet (Xie et al., CVPR 2021), which finds the masks of objects in every frame of a
video, given those of the first frame.

```python
from rmnet import RMNetSegmenter

segmenter = RMNetSegmenter.from_pretrained("{repo_id}")
result = segmenter.track("video.mp4", "first_mask.png")
```
"""
