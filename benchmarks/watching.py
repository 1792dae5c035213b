"""Functions of the library exchanged from outside, so that benchmarks can time its parts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

Function = Callable[..., Any]


def exchanged(
    function: Function, wrap: Callable[[Function], Function]
) -> AbstractContextManager[object]:
    """Put `wrap(function)` wherever a module or class of this code base holds a function.

    Args:
        function: A public function, or a method as its class holds it (`RMNet.decode`).
        wrap: Makes the function to call instead.

    Returns:
        A context manager; the original function is back at its end.
    """
    wrapped = wrap(function)
    with ExitStack() as stack:
        for owner, name in _holders(function):
            stack.enter_context(patch.object(owner, name, wrapped))
        return stack.pop_all()


def _holders(function: Function) -> list[tuple[Any, str]]:
    """Return the modules and classes that hold a function, each with its name there."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in ("rmnet", "benchmarks")
    ]
    classes = {x for module in modules for x in vars(module).values() if isinstance(x, type)}
    return [
        (owner, name)
        for owner in (*modules, *classes)
        for name, value in vars(owner).items()
        if value is function
    ]
