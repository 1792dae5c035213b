"""How a device runs the network."""

from rmnet.runtime.executor import InferenceNetwork
from rmnet.runtime.workspace import Workspace

__all__ = ["InferenceNetwork", "Workspace"]
