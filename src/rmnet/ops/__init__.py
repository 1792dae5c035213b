"""Operators of the library, and the only place that names a native one."""

from rmnet.ops.regional_read import regional_read

__all__ = ["regional_read"]
