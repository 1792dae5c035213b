"""What `pip install .` builds from a checkout, with and without the tools for the native ops.

The tests build wheels from a copy of the checkout and do not install them. They switch off pip's
build isolation, so they need no network.
"""

import importlib.metadata
import importlib.util
import logging
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CSRC = REPOSITORY / "csrc"
READ_BY_A_BUILD = (
    *("src", "csrc", "setup.py", "build_op.py"),
    *("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"),
)
NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.egg-info", "_C*", "pretrained")
SETUPTOOLS = 77  # as in build-system.requires

pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="no checkout: csrc/ is not here")
builds = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None
    or int(importlib.metadata.version("setuptools").partition(".")[0]) < SETUPTOOLS,
    reason=f"needs pip and setuptools>={SETUPTOOLS} in the environment of the tests",
)
compiles = pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler, c++")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the files that a build reads. Builds share its build/, as a user's builds do."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in READ_BY_A_BUILD:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, copy / name, ignore=NOT_COPIED)
        else:
            shutil.copy(REPOSITORY / name, copy)
    return copy


@pytest.fixture
def python(checkout):
    """Run Python in the copy, without variables that influence a build."""

    def run(*arguments, **variables):
        unwanted = ("RMNET_", "DIST_EXTRA_CONFIG", "CXX", "LDFLAGS", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=checkout,
            env={**kept, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
            check=False,
        )

    return run


@pytest.fixture
def pip_wheel(python, tmp_path):
    def build(**variables):
        options = ("-v", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path)
        return python("-m", "pip", "wheel", *options, ".", **variables)

    return build


@pytest.fixture
def build_wheel(pip_wheel, tmp_path):
    """Build a wheel; return its path, its files and the warnings."""

    def build(**variables):
        done = pip_wheel(**variables)
        assert done.returncode == 0, done.stdout
        (wheel,) = tmp_path.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        said = [line.strip() for line in done.stdout.splitlines()]
        return wheel, files, [line for line in said if line.startswith("warning: rmnet._C")]

    return build


def assert_pure(wheel, files):
    assert wheel.name.endswith("-py3-none-any.whl")
    assert [name for name in files if name.endswith(".so")] == []
    assert "rmnet/ops/regional_read.py" in files
    (metadata,) = (files[name].decode() for name in files if name.endswith(".dist-info/WHEEL"))
    assert "Root-Is-Purelib: true" in metadata


# --- With a compiler ---------------------------------------------------------------------------


@builds
@compiles
@pytest.mark.slow
def test_one_wheel_serves_every_python_and_every_torch(build_wheel, tmp_path):
    wheel, files, warned = build_wheel(RMNET_CUDA="0", RMNET_REQUIRE_EXT="1")
    assert "-cp310-abi3-" in wheel.name
    assert warned == []
    assert "rmnet/_C.abi3.so" in files
    assert "rmnet/_C.missing.txt" not in files
    assert files["rmnet/_C_cuda.missing.txt"].decode().startswith("RMNET_CUDA=0 was set")
    assert [name for name in files if not name.startswith(("rmnet/", "rmnet-"))] == []

    binary = tmp_path / "_C.abi3.so"
    binary.write_bytes(files["rmnet/_C.abi3.so"])
    assert undefined_symbols_of_cxx_torch(binary) == []


def undefined_symbols_of_cxx_torch(binary):
    """Return undefined names from torch's C++ namespaces, which torch does not keep stable."""
    if shutil.which("nm") is None:
        pytest.skip("needs nm")
    command = ["nm", "--dynamic", "--demangle", "--undefined-only", str(binary)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = [line.split(maxsplit=1)[-1] for line in listing.splitlines()]
    assert any(name.startswith("aoti_torch_") for name in names)
    return [name for name in names if any(part in name for part in ("c10::", "at::", "torch::"))]


# --- Without a compiler ------------------------------------------------------------------------


@builds
@pytest.mark.slow
def test_without_a_compiler_there_is_one_warning_and_a_wheel_for_every_platform(build_wheel):
    wheel, files, warned = build_wheel(CXX="/nowhere/c++")
    assert_pure(wheel, files)
    reason = "/nowhere/c++ does not run: No such file or directory"
    assert warned == [f"warning: rmnet._C is not built: {reason}"]
    assert files["rmnet/_C.missing.txt"].decode() == f"{reason}\n"
    assert files["rmnet/_C_cuda.missing.txt"].decode() == "it is useless without rmnet._C\n"


@builds
@compiles
@pytest.mark.slow
def test_a_failed_compilation_is_a_warning_that_quotes_the_compiler(build_wheel):
    wheel, files, warned = build_wheel(CXXFLAGS="-include no_such_header.h")
    assert_pure(wheel, files)
    (warning,) = warned
    assert "no_such_header.h" in warning
    assert "no_such_header.h" in files["rmnet/_C.missing.txt"].decode()


@builds
@pytest.mark.slow
def test_the_warning_is_an_error_if_the_binaries_are_required(pip_wheel, tmp_path):
    done = pip_wheel(CXX="/nowhere/c++", RMNET_REQUIRE_EXT="1")
    assert done.returncode != 0
    assert "error: rmnet._C is not built: /nowhere/c++ does not run" in done.stdout
    assert list(tmp_path.glob("*.whl")) == []


@builds
@pytest.mark.slow
def test_no_ext_compiles_nothing_and_leaves_nothing_of_earlier_builds(build_wheel, checkout):
    platform = f"lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    left = checkout / "build" / platform / "rmnet" / "_C.abi3.so"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.touch()
    wheel, files, warned = build_wheel(RMNET_NO_EXT="1")
    assert_pure(wheel, files)
    assert warned == []
    assert files["rmnet/_C.missing.txt"].decode().startswith("RMNET_NO_EXT=1 was set")


def test_a_build_in_place_removes_the_binary_that_it_does_not_build(python, checkout):
    package = checkout / "src" / "rmnet"
    (package / "_C.abi3.so").touch()
    done = python("setup.py", "build_ext", "--inplace", RMNET_NO_EXT="1")
    assert done.returncode == 0, done.stdout
    left = sorted(path.name for path in package.glob("_C*"))
    assert left == ["_C.missing.txt", "_C_cuda.missing.txt"]


def test_an_sdist_holds_everything_a_build_reads(python, checkout, tmp_path):
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    done = python("-c", code)
    assert done.returncode == 0, done.stdout
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    files = {path.relative_to(REPOSITORY).as_posix() for path in CSRC.rglob("*") if path.is_file()}
    assert files | {"build_op.py", "setup.py"} <= names


# --- build_op.py -------------------------------------------------------------------------------


@pytest.fixture
def build_op(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    spec = importlib.util.spec_from_file_location("build_op", REPOSITORY / "build_op.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "build_op", module)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def isolated(monkeypatch, tmp_path):
    """A site-packages folder while torch cannot be imported, as in pip's build isolation."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(site, "getsitepackages", list)
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(tmp_path / "user"))
    return tmp_path


def install_torch(site_packages, version, cuda="13.0"):
    (site_packages / "torch").mkdir()
    (site_packages / "torch" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    facts = f"__version__ = {version!r}\ncuda = {cuda!r}\n"
    (site_packages / "torch" / "version.py").write_text(facts)


def test_torch_is_found_through_pips_isolation_and_not_imported(build_op, isolated):
    install_torch(isolated, "2.11.0+cu130")
    found = build_op.find_torch()
    assert found == build_op.Torch(isolated / "torch", "2.11.0+cu130", "13.0")


def test_without_torch_the_error_says_how_to_build_later(build_op, isolated):
    with pytest.raises(build_op.NotBuiltError, match="--force-reinstall --no-deps") as error:
        build_op.find_torch()
    assert error.value.severity == logging.ERROR


def test_a_torch_without_the_required_stable_abi_is_refused(build_op, isolated):
    install_torch(isolated, "2.9.1")
    with pytest.raises(build_op.NotBuiltError, match=r"torch 2\.9\.1 is older than 2\.11"):
        build_op.find_torch()


def write_nvcc(toolkit, release):
    nvcc = toolkit / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n")
    nvcc.chmod(0o755)
    return nvcc


def test_a_toolkit_of_torchs_major_version_is_used(build_op, monkeypatch, tmp_path):
    nvcc = write_nvcc(tmp_path, "13.2")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert build_op.find_nvcc("13.0") == str(nvcc)


@pytest.mark.parametrize(
    ("release", "reason"),
    [("12.9", "torch has CUDA 13.0, but .*nvcc is release 12.9"), (None, "there is no nvcc in")],
)
def test_another_toolkit_or_none_is_a_warning(build_op, monkeypatch, tmp_path, release, reason):
    if release:
        write_nvcc(tmp_path, release)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(build_op.NotBuiltError, match=reason) as error:
        build_op.find_nvcc("13.0")
    assert error.value.severity == logging.WARNING


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("8.0;9.0+PTX", ["8.0", "9.0+PTX"]),
        (" 7.0 7.5 8.6, 9.0a ", ["8.6", "9.0a"]),  # older ones are left out
        ("10.0;12.0+PTX", ["10.0", "12.0+PTX"]),
    ],
)
def test_architectures_are_read_as_torch_writes_them(build_op, text, names):
    assert build_op.read_architectures(text) == names


@pytest.mark.parametrize("text", ["7.0;7.5", "Ampere", "sm_80", "8"])
def test_architectures_that_cannot_be_built_are_named(build_op, text):
    with pytest.raises(build_op.NotBuiltError, match="TORCH_CUDA_ARCH_LIST"):
        build_op.read_architectures(text)
