"""Results that wait for a later pass, on the disk instead of in memory."""

from __future__ import annotations

import pickle
import tempfile
import zlib
from pathlib import Path
from types import TracebackType

from rmnet.io import output_error
from rmnet.results import FrameSegmentation


class ResultSpool:
    """Results by frame, compressed in a temporary file without a name; a context manager.

    The file is gone when the context ends, however the process does. Pickles are safe in it: no
    one else can open it.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="rmnet-")  # noqa: SIM115 closed by __exit__
        self._places: dict[int, tuple[int, int]] = {}  # offset and length by frame

    def __enter__(self) -> ResultSpool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, result: FrameSegmentation) -> None:
        """Keep a result.

        Raises:
            OutputError: the disk is full.
        """
        content = zlib.compress(pickle.dumps(result), level=1)
        try:
            self._places[result.index] = (self._file.seek(0, 2), len(content))
            self._file.write(content)
        except OSError as error:
            raise output_error(Path(tempfile.gettempdir()), error) from error

    def read(self, index: int) -> FrameSegmentation:
        """Return the result of a frame."""
        offset, length = self._places[index]
        self._file.seek(offset)
        return pickle.loads(zlib.decompress(self._file.read(length)))
