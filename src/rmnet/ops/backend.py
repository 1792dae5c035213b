"""RMNET_BACKEND: who computes what a native operator could."""

from __future__ import annotations

import os

from rmnet.errors import ConfigError

BACKENDS = ("auto", "native", "pytorch")


def _chosen_backend() -> str:
    name = os.environ.get("RMNET_BACKEND", "auto")
    if name not in BACKENDS:
        raise ConfigError(
            f"RMNET_BACKEND is {name!r}; accepted: {', '.join(BACKENDS)}; unset it for the best"
        )
    return name


# Read once: a call that looked it up could not be compiled in one graph.
BACKEND = _chosen_backend()
