"""How slowly a body may come before its sender is given up."""

from msgspec import Struct


class TransferRate(Struct):
    """Judges one window of waiting after another.

    Only time spent waiting for the sender counts: a slow disk of ours is not its fault.

    Args:
        minimum: bytes a second that must come on average in each window; 0: any.
        window: seconds of waiting judged together.
    """

    minimum: int
    window: float
    _waited: float = 0.0
    _received: int = 0

    @property
    def left(self) -> float:
        """Seconds that the next bytes may take at most."""
        return max(0.001, self.window - self._waited)

    def is_too_low(self, size: int, waited: float) -> bool:
        """Count bytes that came after so many seconds of waiting; whether they came too slowly."""
        self._received += size
        self._waited += waited
        if self._waited < self.window:
            return False
        is_too_low = self._received < self.minimum * self.window
        self._received, self._waited = 0, 0.0
        return is_too_low

    def __str__(self) -> str:
        """What is asked for, in words."""
        return f"{self.minimum} bytes a second over {self.window:g} s"


def longest_transfer(size: int, *, minimum: int, allowance: float) -> float:
    """Seconds that a whole result of so many bytes may take.

    Args:
        size: bytes received so far.
        minimum: bytes a second that must come on average; 0: there is no limit.
        allowance: seconds for what takes long whatever its size: first bytes, small files, new attempts.
    """
    return allowance + size / minimum if minimum else float("inf")
