"""What the paper's ablations put in the place of the method."""

from rmnet.ablations.best_match import best_match_read
from rmnet.ablations.raft import raft_flow

__all__ = ["best_match_read", "raft_flow"]
