"""Whether a file is all there, as far as its own content tells."""

from collections.abc import Callable
from enum import StrEnum

Read = Callable[[int, int], bytes]
"""At most so many bytes from an offset: ``read(offset, size)``."""


class Completeness(StrEnum):
    """What the form of a file says about its end."""

    COMPLETE = "complete"
    """It is all there."""
    CUT = "cut"
    """It is of a known form, and its end is missing."""
    UNLIKELY = "unlikely"
    """Its name says that it ends in some way, and it does not."""
    OPEN = "open"
    """Its form has no end."""
