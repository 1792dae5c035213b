"""The command `rmnet`."""

from rmnet.cli.command import main

__all__ = ["main"]
