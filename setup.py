"""Build the native op if this machine can; pyproject.toml holds everything else.

There are two binaries: `rmnet._C` (schema and CPU) needs a C++ compiler and torch's headers,
`rmnet._C_cuda` also an nvcc of torch's CUDA version. The package is complete without them, but
slower. If a binary cannot be built, this is a warning here (pip shows it with -v) and a note in the
package, `rmnet/<binary>.missing.txt`, which `rmnet info` repeats.

Environment:
    RMNET_NO_EXT=1          Build neither binary.
    RMNET_REQUIRE_EXT=1     Fail where a failed build would otherwise be a warning.
    RMNET_CUDA=0, =1        Leave out rmnet._C_cuda; treat it as failed if it cannot be built.
    TORCH_CUDA_ARCH_LIST    GPU architectures of rmnet._C_cuda (default: "8.0;9.0+PTX").
    CUDA_HOME               Folder with bin/nvcc (default: nvcc on PATH, or in /usr/local/cuda).
    CXX, CXXFLAGS, LDFLAGS  Compiler and flags, as usual.
"""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

sys.path.insert(0, str(Path(__file__).parent))  # pip leaves it out
import build_op


class BuildBinaries(build_ext):
    """Build the binaries that can be built, and leave a note in place of the others."""

    def run(self) -> None:
        self.missing: dict[str, str] = {}
        super().run()
        self.leave_notes()

    def build_extensions(self) -> None:
        for extension in list(self.extensions):
            try:
                self.build_extension(extension)
            except build_op.NotBuiltError as error:
                self.give_up(extension, error)
        if not self.extensions:
            self.get_finalized_command("bdist_wheel").root_is_pure = True  # py3-none-any

    def build_extension(self, extension: Extension) -> None:
        """Build even if the binary is newer than its sources: torch or flags may have changed."""
        if self.missing:
            first = next(iter(self.missing))
            raise build_op.NotBuiltError(f"it is useless without {first}", logging.INFO)
        output = Path(self.get_ext_fullpath(extension.name))
        build_op.build(extension.name.removeprefix("rmnet."), output)

    def give_up(self, extension: Extension, error: build_op.NotBuiltError) -> None:
        wanted = extension.name == "rmnet._C_cuda" and os.environ.get("RMNET_CUDA") == "1"
        severity = logging.ERROR if wanted else error.severity
        message = f"{extension.name} is not built: {error}"
        if severity == logging.ERROR and os.environ.get("RMNET_REQUIRE_EXT") == "1":
            raise CompileError(message) from error
        build_op.log.log(severity, message if severity == logging.INFO else f"warning: {message}")
        self.missing[extension.name] = str(error)
        self.extensions.remove(extension)  # or setuptools would look for its file

    def leave_notes(self) -> None:
        folders = [Path(self.get_ext_fullpath("rmnet._C")).parent]
        if self.inplace:
            folders.append(Path(self.get_finalized_command("build_py").get_package_dir("rmnet")))
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for binary in build_op.SOURCES:
                reason = self.missing.get(f"rmnet.{binary}")
                note = folder / f"{binary}.missing.txt"
                for outdated in folder.glob(f"{binary}.*") if reason else [note]:
                    outdated.unlink(missing_ok=True)
                if reason:
                    note.write_text(f"{reason}\n", encoding="utf-8")


free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # has no stable ABI
setup(
    ext_modules=[
        Extension(f"rmnet.{binary}", [f"csrc/{name}" for name in names], py_limited_api=True)
        for binary, names in build_op.SOURCES.items()
    ],
    cmdclass={"build_ext": BuildBinaries},
    options={"bdist_wheel": {"py_limited_api": "" if free_threaded else "cp310"}},
)
