"""The Hugging Face hub: files down, a folder up, and its errors in this library's words."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from rmnet.errors import WeightsError, WeightsNotFoundError

_PIECE = 2**20  # bytes read at a time
LIBRARY = "rmnet"  # as the hub's statistics and model cards call this package
MODEL_CARD = "README.md"
FETCH_AGAIN = "Write force_download=True to fetch it again."


def library_version() -> str:
    """The installed version; "unknown" for a checkout that is not installed."""
    try:
        return metadata.version(LIBRARY)
    except metadata.PackageNotFoundError:
        return "unknown"


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
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> list[Path]:
    """Fetch files of one commit into the hub's cache, or find them there.

    Args:
        repo_id: "org/name".
        filenames: Paths in the repository.
        revision: Branch, tag or commit; None for "main".
        cache_dir: Folder of the cache; None for the hub's own.
        token: Of the hub's user; None for the stored one, False for none.
        local_files_only: Look in the cache only.
        force_download: Download even what is cached.

    Returns:
        Where each file lies.

    Raises:
        WeightsNotFoundError: repository, revision or file do not exist, may not be read, or
            cannot be reached and are not cached.
        WeightsError: a download broke off, or came out damaged.
    """
    options: dict[str, Any] = {"cache_dir": None if cache_dir is None else Path(cache_dir)}
    if not local_files_only:
        options |= {"force_download": force_download, "token": token}
    find = _cached if local_files_only else _fetched
    paths: list[Path] = []
    commit = revision
    for filename in filenames:
        of = f"{filename} of {_place(repo_id, revision)}"
        path = find(repo_id, filename, commit, of, **options)
        _check_hash(path, of)
        paths.append(path)
        # .../snapshots/<commit>/<filename>: the files that follow are of this very commit, even
        # when somebody pushes to the branch meanwhile.
        commit = paths[0].parent.name
    return paths


def _cached(
    repo_id: str, filename: str, revision: str | None, of: str, *, cache_dir: Path | None
) -> Path:
    """Where a file lies in the cache."""
    # Not hf_hub_download(local_files_only=True): that of huggingface_hub 2 may ask the hub which
    # program is calling.
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repo_id, filename, cache_dir=cache_dir, revision=revision)
    if not isinstance(path, str):
        raise WeightsNotFoundError(
            f"{of}: local_files_only=True is set, and the cache does not hold it."
        )
    return Path(path)


def _fetched(
    repo_id: str,
    filename: str,
    revision: str | None,
    of: str,
    *,
    cache_dir: Path | None,
    force_download: bool,
    token: str | bool | None,
) -> Path:
    """Where a file lies in the cache, fetched if need be."""
    from huggingface_hub import hf_hub_download

    try:
        with _no_bars("huggingface_hub"):
            path = hf_hub_download(
                repo_id,
                filename,
                revision=revision,
                library_name=LIBRARY,
                library_version=library_version(),
                cache_dir=cache_dir,
                force_download=force_download,
                token=token,
            )
    except _failures() as error:
        raise _known(error, repo_id, of) or WeightsError(
            f"the download of {of} broke off or came out damaged ({_line(error)}). {FETCH_AGAIN}"
        ) from error
    return Path(path)


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str,
) -> str:
    """Put the files of a folder into a repository, made if need be, as one commit.

    Args:
        folder: Holds files only. A model card among them stays behind if the repository has one.
        repo_id: "org/name".
        private: Of a new repository; None for the organisation's default.
        token: With the right to write; None for the stored one.
        revision: Branch, which must exist; None for "main".
        commit_message: First line of the commit.

    Returns:
        The commit's address.

    Raises:
        WeightsNotFoundError: no such branch, no right to write, or no connection.
        WeightsError: the hub refused the files.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(token=token, library_name=LIBRARY, library_version=library_version())
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        additions = [
            CommitOperationAdd(path_in_repo=path.name, path_or_fileobj=str(path))
            for path in sorted(folder.iterdir())
            if path.name != MODEL_CARD
            or not api.file_exists(repo_id, MODEL_CARD, revision=revision)
        ]
        # upload_folder may spread its files over several commits; a revision has to be whole.
        with _no_bars(None):
            commit = api.create_commit(
                repo_id, additions, commit_message=commit_message, revision=revision
            )
    except _failures() as error:
        place = _place(repo_id, revision)
        raise _known(error, repo_id, place) or WeightsError(
            f"the upload to {place} failed: {_line(error)}"
        ) from error
    return commit.commit_url


def _check_hash(path: Path, what: str) -> None:
    """Compare a file with the hash that the hub gave, and the cache calls it by.

    The hub names large files, weights among them, by the SHA-256 of their bytes; the cache keeps
    them under that name behind a link. huggingface_hub itself compares lengths only. Small files,
    such as config.json, and caches without links have no such name.

    Raises:
        WeightsError: these are other bytes.
    """
    name = path.resolve().name
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        return
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    if found.hexdigest() != name:
        raise WeightsError(
            f"{what} came out damaged: its SHA-256 is {found.hexdigest()}, the hub says {name}. "
            f"{FETCH_AGAIN}"
        )


def _known(error: Exception, repo_id: str, what: str) -> WeightsError | None:
    """The library's error for one of huggingface_hub's, where it says what is wrong."""
    from huggingface_hub import constants, errors

    # A look-up that failed, and that nothing in the cache makes up for, comes wrapped.
    wrapped = isinstance(error, errors.LocalEntryNotFoundError) or type(error) is ValueError
    reason = error.__cause__ if wrapped and error.__cause__ is not None else error
    status = reason.response.status_code if isinstance(reason, errors.HfHubHTTPError) else None
    access = "Pass token=..., or run `hf auth login`."

    if isinstance(reason, errors.GatedRepoError):
        page = f"{constants.ENDPOINT}/{repo_id}"
        text = f"{what}: the repository is gated. Ask for access on {page}. {access}"
    elif isinstance(reason, errors.RepositoryNotFoundError):
        text = (
            f"{what}: the hub shows no repository {repo_id!r}. Check the name; a private one needs "
            f"a token. {access}"
        )
    elif isinstance(reason, errors.RevisionNotFoundError):
        text = f"{what}: no such revision. Accepted: a branch, a tag or a commit of {repo_id!r}."
    elif status in (401, 403):
        text = f"{what}: the hub refused access ({status}). {access}"
    elif isinstance(reason, errors.OfflineModeIsEnabled):
        text = f"{what}: HF_HUB_OFFLINE is set, and the cache does not hold it."
    elif isinstance(reason, errors.EntryNotFoundError) and not wrapped:
        text = f"{what}: no such file there. Accepted: a repository that push_to_hub wrote."
    elif wrapped:
        text = (
            f"{what}: the cache does not hold it, and {constants.ENDPOINT} cannot be asked: "
            f"{_line(reason)}. Check the connection."
        )
    else:
        return None
    return WeightsNotFoundError(text)


def _failures() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises for the world's faults."""
    from huggingface_hub.errors import HfHubHTTPError

    # Its bases are OSError and the HTTPError of httpx, or of httpx2 from huggingface_hub 2 on;
    # hf_xet, in Rust, raises RuntimeError.
    return (ValueError, RuntimeError, *HfHubHTTPError.__bases__)


@contextmanager
def _no_bars(group: str | None) -> Iterator[None]:
    """Keep huggingface_hub from drawing, unless HF_HUB_DISABLE_PROGRESS_BARS=0 asks for it."""
    from huggingface_hub import constants, utils

    if constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or utils.are_progress_bars_disabled(
        group
    ):
        yield
        return
    utils.disable_progress_bars(group)
    try:
        yield
    finally:
        utils.enable_progress_bars(group)


def _place(repo_id: str, revision: str | None) -> str:
    return f"{repo_id!r} on the hub" + (f", revision {revision!r}" if revision else "")


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no more is known"
    return f"{type(error).__name__}: {text}"
