"""A JSON list, a line an element, that appears whole or not at all."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rmnet.io import output_error, unfinished_path


class RowsFile:
    """Writes elements as they come; a context manager.

    Leaving it finishes the file and moves it into place; leaving it by an exception removes what
    was written.

    Args:
        path: The file; an old one is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._unfinished = path, unfinished_path(path)
        self._num_rows = 0

    def __enter__(self) -> RowsFile:
        try:
            self._file = self._unfinished.open("w", encoding="utf-8")
        except OSError as error:
            raise output_error(self._path, error) from error
        return self

    def write(self, row: Any) -> None:  # noqa: ANN401 any JSON
        """Append an element.

        Raises:
            OutputError: it cannot be written; leaving the context will tell the same.
        """
        try:
            self._file.write(("[\n" if self._num_rows == 0 else ",\n") + json.dumps(row))
        except OSError as error:
            raise output_error(self._path, error) from error
        self._num_rows += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._file:
                self._file.write("\n]\n" if self._num_rows else "[]\n")
            if exception is None:
                self._unfinished.replace(self._path)
        except OSError as error:
            if exception is None:  # else the caller's own exception is the one to see
                raise output_error(self._path, error) from error
        finally:
            with suppress(OSError):
                self._unfinished.unlink(missing_ok=True)
