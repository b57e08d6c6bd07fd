"""Live: ask in words, get a list with reasons, answer back, and the model learns (docs/live.md)."""

from recbole_instructrec.live.errors import LiveError, NotFound, StoreError
from recbole_instructrec.live.recommender import Recommender
from recbole_instructrec.live.session import Answer, Item, Session

__all__ = ["Answer", "Item", "LiveError", "NotFound", "Recommender", "Session", "StoreError"]
