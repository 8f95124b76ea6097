"""How long a run of the suite may take."""

from enum import Enum
from typing import TypeVar

T = TypeVar("T")


class Size(Enum):
    """``QUICK`` for a first impression, ``USUAL`` for a change of what may cost, ``FULL`` for the page."""

    QUICK = 0
    USUAL = 1
    FULL = 2

    def of(self, quick: T, usual: T, full: T) -> T:
        """What belongs to this size."""
        return (quick, usual, full)[self.value]

    @property
    def rounds(self) -> int:
        """How often the daemon and the bare work are measured in turn."""
        return self.of(1, 3, 5)
