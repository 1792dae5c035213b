"""The native op's binaries: what is loaded, and what is said of one that is missing or broken.

Any warning that is not expected fails a test: filterwarnings in pyproject.toml.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rmnet.ops import extension
from rmnet.ops.extension import PACKAGE, load_binaries
from rmnet.ops.sources import HEADER_SUFFIXES, SOURCES, source_hash

CSRC = Path(__file__).resolve().parents[2] / "csrc"


@pytest.fixture
def package(tmp_path):
    """A folder like that of an installed package, without binaries."""
    folder = tmp_path / "site-packages" / "rmnet"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose sources are empty files; the package is in src/rmnet."""
    for name in ("regional_read.h", *SOURCES["_C"], *SOURCES["_C_cuda"]):
        file = tmp_path / "csrc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "src" / "rmnet").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def cuda_torch(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")


@pytest.fixture
def every_file_loads(monkeypatch):
    monkeypatch.setattr(extension, "_load", lambda name, path: {"torch": "2.14.1"})


def write_binary(package, binary="_C", built_from="0" * 64):
    path = package / f"{binary}.abi3.so"
    path.write_bytes(b"no code RMNET_SOURCE_HASH=" + built_from.encode() + b"\0 no code")
    return path


# --- Loaded ------------------------------------------------------------------------------------


def test_both_binaries_are_accounted_for():
    assert [binary.name for binary in extension.BINARIES] == ["rmnet._C", "rmnet._C_cuda"]
    for binary in extension.BINARIES:
        assert (binary.problem is None) == bool(binary.facts)


def test_a_loaded_binary_says_how_it_was_built():
    loaded = [binary for binary in extension.BINARIES if binary.problem is None]
    if not loaded:
        pytest.skip(str(extension.problem("cpu")))
    for binary in loaded:
        assert {"torch", "oldest torch", "compiler", "C++", "source hash"} <= binary.facts.keys()
        assert binary.facts["oldest torch"] == "2.11"
        assert binary.facts["C++"] == "17"
        marked = f"RMNET_SOURCE_HASH={binary.facts['source hash']}\0"
        assert marked.encode() in binary.path.read_bytes()
    assert extension.instruction_set() in ("avx512", "avx2", "portable")
    if len(loaded) == 2:
        assert loaded[1].facts["CUDA"].partition(".")[0] == torch.version.cuda.partition(".")[0]
        assert loaded[1].facts["architectures"]


@pytest.mark.usefixtures("cuda_torch", "every_file_loads")
def test_the_op_is_on_the_cpu_with_one_binary_and_on_cuda_with_both(package, monkeypatch):
    write_binary(package)
    monkeypatch.setattr(extension, "BINARIES", load_binaries(package))
    assert extension.problem("cpu") is None
    assert extension.problem("cuda").startswith("rmnet._C_cuda is not built")
    write_binary(package, "_C_cuda")
    monkeypatch.setattr(extension, "BINARIES", load_binaries(package))
    assert extension.problem("cuda") is None


# --- Missing: nothing is wrong, so nobody is warned --------------------------------------------


def test_of_a_missing_binary_the_note_of_the_build_is_told(package, monkeypatch):
    (package / "_C.missing.txt").write_text("g++ does not run: No such file\n", encoding="utf-8")
    monkeypatch.setattr(extension, "BINARIES", load_binaries(package))
    reason = "rmnet._C is not built: g++ does not run: No such file"
    assert (extension.problem("cpu"), extension.problem("cuda")) == (reason, reason)
    assert extension.instruction_set() is None


def test_without_a_note_it_is_told_how_to_find_out(package):
    for binary in load_binaries(package):
        assert binary.path is None
        assert "`RMNET_REQUIRE_EXT=1 pip install -v .` builds it or tells" in binary.problem


@pytest.mark.usefixtures("every_file_loads")
def test_cuda_waits_for_a_torch_with_cuda(package, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    write_binary(package)
    write_binary(package, "_C_cuda")
    cpu, cuda = load_binaries(package)
    assert cpu.problem is None
    assert f"torch {torch.__version__}, which is one without CUDA" in cuda.problem


# --- Broken or stale: one warning --------------------------------------------------------------


@pytest.mark.usefixtures("cuda_torch")
def test_a_broken_binary_is_one_warning_and_no_error(package):
    path = write_binary(package)
    write_binary(package, "_C_cuda")
    with pytest.warns(RuntimeWarning, match=r"rmnet\._C does not load: .*PyTorch") as warned:
        cpu, cuda = load_binaries(package)
    assert len(warned) == 1
    assert str(path) in cpu.problem
    assert cuda.problem == "is not loaded: of no use without rmnet._C"


def test_a_binary_of_other_sources_is_not_loaded_in_their_checkout(checkout):
    write_binary(checkout / "src" / "rmnet")
    with pytest.warns(RuntimeWarning, match="is older than .*csrc; `pip install"):
        cpu, _ = load_binaries(checkout / "src" / "rmnet")
    assert cpu.problem is not None


@pytest.mark.usefixtures("every_file_loads")
@pytest.mark.parametrize("edited", ["schema.cpp", "regional_read.h", "cuda/new.cuh"])
def test_an_edit_of_a_source_or_header_makes_the_binary_stale(checkout, edited):
    package = checkout / "src" / "rmnet"
    write_binary(package, built_from=source_hash(checkout / "csrc", "_C"))
    assert load_binaries(package)[0].problem is None
    (checkout / "csrc" / edited).write_text("// new\n", encoding="utf-8")
    with pytest.warns(RuntimeWarning, match="is older than"):
        assert load_binaries(package)[0].problem is not None


@pytest.mark.usefixtures("every_file_loads")
def test_an_edit_of_the_other_binarys_sources_does_not(checkout):
    package = checkout / "src" / "rmnet"
    write_binary(package, built_from=source_hash(checkout / "csrc", "_C"))
    (checkout / "csrc" / "cuda" / "regional_read_cuda.cu").write_text("// new\n", encoding="utf-8")
    assert load_binaries(package)[0].problem is None


def test_a_removed_source_is_a_warning_too(checkout):
    package = checkout / "src" / "rmnet"
    write_binary(package)
    (checkout / "csrc" / "schema.cpp").unlink()
    with pytest.warns(RuntimeWarning, match=r"schema\.cpp"):
        load_binaries(package)


def test_the_library_works_with_a_broken_binary_and_says_so_once(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "rmnet", ignore=shutil.ignore_patterns("pretrained"))
    write_binary(tmp_path / "rmnet")
    code = "import rmnet, rmnet.ops.regional_read; rmnet.RMNetSegmenter; print(rmnet.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "RMNET_BACKEND": "auto"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert Path(result.stdout.strip()).is_relative_to(tmp_path)
    assert result.stderr.count("RuntimeWarning") == 1
    assert "rmnet._C does not load" in result.stderr


# --- Sources -----------------------------------------------------------------------------------


@pytest.mark.skipif(not CSRC.is_dir(), reason="no checkout: csrc/ is not here")
def test_every_file_of_csrc_is_a_header_or_listed_in_one_binary():
    listed = [name for names in SOURCES.values() for name in names]
    files = [path for path in CSRC.rglob("*") if path.is_file()]
    compiled = [path for path in files if path.suffix not in HEADER_SUFFIXES]
    assert sorted(listed) == sorted(path.relative_to(CSRC).as_posix() for path in compiled)
