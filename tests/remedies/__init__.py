"""Error messages and their remedies: each row provokes a message, then does what it says."""

from remedies.messages import Message, messages
from remedies.table import ROWS, Row, World, row

__all__ = ["ROWS", "Message", "Row", "World", "messages", "row"]
