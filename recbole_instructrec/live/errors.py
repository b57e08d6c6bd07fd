"""What goes wrong between a recommender and its users, in words for these."""

from __future__ import annotations


class LiveError(ValueError):
    """A request cannot be answered as it stands; the message says why and what to do.

    Attributes
    ----------
    status : int
        The HTTP status that stands for it.
    """

    status = 422


class NotFound(LiveError):
    """Something that is named is not there: an item, a version, a session."""

    status = 404


class StoreError(LiveError):
    """The feedback store cannot be used or written; what it has acknowledged is unharmed."""

    status = 507
