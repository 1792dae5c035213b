"""Drop-ins for other libraries: their calls and shapes, on sessions of rmnet."""

__all__ = []
