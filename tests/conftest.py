"""Shared by all tests: fixed seeds, no network access, and the folder of real clips."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import random
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def pytest_report_header() -> str:
    """Say which rmnet is tested: the installed one, or that of a checkout."""
    spec = importlib.util.find_spec("rmnet")
    origin = spec.origin if spec else "not installed: pip install '.[test]'"
    return f"rmnet: {origin}; torch {torch.__version__}, {torch.get_num_threads()} threads"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip `cuda` tests without a GPU, unless RMNET_REQUIRE_CUDA=1 says there must be one."""
    if item.get_closest_marker("cuda") is None or torch.cuda.is_available():
        return
    if os.environ.get("RMNET_REQUIRE_CUDA") == "1":
        pytest.fail("RMNET_REQUIRE_CUDA=1, but torch finds no CUDA device", pytrace=False)
    pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder with `davis480/`: $RMNET_DATA, or ../shared/data beside the checkout."""
    given = os.environ.get("RMNET_DATA")
    root = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"no real clips: {root} is not a folder (set RMNET_DATA to one)")
    return root


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Start each test from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 the global state is what could leak
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to another machine or looks up its address."""
    for name in PROXY_VARIABLES:  # a proxy on this machine would reach others
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(socket.socket, "connect", _loopback_only(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", _loopback_only(socket.socket.connect_ex))
    resolve = socket.getaddrinfo

    def resolve_loopback(host, *args, **options):
        _refuse_other_machines(host)
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_loopback)


def _loopback_only(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_other_machines(address[0])
        return connect(self, address)

    return guarded


def _refuse_other_machines(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return
    try:
        if ipaddress.ip_address(name).is_loopback:
            return
    except ValueError:
        pass  # a host name
    # Raises no Exception, so that no `except` on the way mistakes it for a lost connection.
    pytest.fail(f"a test tried to reach {name!r}; tests may connect to this machine only")
