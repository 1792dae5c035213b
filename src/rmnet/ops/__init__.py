"""Operators of the library, and the only place that names a native one."""

from rmnet.ops.best_match import best_match_read
from rmnet.ops.regional_read import regional_read

__all__ = ["best_match_read", "regional_read"]
