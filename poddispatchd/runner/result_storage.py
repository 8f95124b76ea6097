"""Where a download is written to, as far as it knows: descriptors and threads are the media tree's."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class PartialFile(Protocol):
    """A new file that is not whole yet. Every method blocks and may raise OSError; one call at a time."""

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append."""

    def restart(self) -> None:
        """Forget what has been written."""

    def read(self, size: int, *, at: int) -> bytes:
        """A part of what has been written; fewer bytes only at its end."""

    def finish(self, path: str) -> None:
        """Give the file its mode and its name, whatever stands there.

        It need not be on stable storage yet: nothing of a download is used again after a crash.
        """

    def close(self) -> None:
        """Close it, at any moment, without waiting for a call that is under way."""


class ResultStorage(Protocol):
    """A directory for one result. Every method but ``run`` and ``later`` blocks and may raise OSError."""

    def __str__(self) -> str:
        """What it is called in messages."""

    async def run(self, function: Callable[[], T], *, is_long: bool = False) -> T:
        """Call what blocks, in a thread; ``is_long`` when it takes longer the larger a file is.

        Raises:
            MediaSlowError: it does not end in time. It goes on nevertheless.
        """

    def later(self, function: Callable[[], object]) -> None:
        """Have something called as soon as nothing else is going on; nobody waits for it."""

    @property
    def is_clean(self) -> bool:
        """Whether no half-written file was made since ``prepare``."""

    def prepare(self) -> None:
        """Make the directory if need be, and remove what is half-written of an earlier download."""

    def clean(self) -> None:
        """Remove what is half-written."""

    def create(self, name: str, mode: int | None) -> PartialFile:
        """A new file; ``mode`` of the finished one, None leaves it to the umask."""

    def write_files(self, files: Sequence[tuple[str, bytes]], mode: int | None) -> None:
        """Make whole files, each with its name and content, whatever stands there; ``mode`` as in ``create``.

        They need not be on stable storage yet.
        """

    def free_space(self) -> int:
        """Bytes that may still be written."""
