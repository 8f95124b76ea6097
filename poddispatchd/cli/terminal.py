"""Standard output and standard error of the commands: nothing that is written there acts on a terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from poddispatchd.domain.display import colored
from poddispatchd.errors import PoddispatchdError


class OutputError(PoddispatchdError):
    """What a command has to say cannot be written, as to a file on a full disk."""


class UnreadError(OutputError):
    """Nobody reads any more what a command says: ``head`` has seen enough, or a pager was left."""


class SafeStream:
    """A text stream that escapes control sequences, whosever text it is; colors and bold print pass.

    It has no ``buffer``: nothing gets round it by accident.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def raw(self) -> TextIO:
        """The stream itself, for who moves the cursor and prints texts of this program only."""
        return self._stream

    @property
    def encoding(self) -> str:
        """That of the stream."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str | None:
        """That of the stream."""
        return self._stream.errors

    def write(self, text: str) -> int:
        """Write a text; what the stream cannot encode is escaped as well.

        Raises:
            OutputError: it cannot be written.
            UnreadError: nobody reads it any more.
        """
        # A locale of ASCII is no reason to end with an error in the middle of a table.
        safe = colored(text).encode(self.encoding, "backslashreplace").decode(self.encoding)
        with _told():
            self._stream.write(safe)
        return len(text)

    def flush(self) -> None:
        """Write what is held back.

        Raises:
            OutputError: it cannot be written.
            UnreadError: nobody reads it any more.
        """
        with _told():
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether this is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's file descriptor."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """It is."""
        return True


@contextmanager
def _told() -> Iterator[None]:
    """Have what goes wrong with a stream be told apart from all other files.

    A BrokenPipeError would be taken by click for its own: it ends the process with streams that are not
    these, and Python complains of its last flush, with status 120.
    """
    try:
        yield
    except BrokenPipeError:
        raise UnreadError("Nobody reads any more what is to be said.") from None
    except OSError as error:
        raise OutputError(f"What is to be said cannot be written: {error.strerror or error}.") from None


def open_closed_streams() -> None:
    """Let standard streams that were closed before the start lead nowhere.

    Python has None in their place; and a connection or a file that is opened would get their number, and
    what some library or child writes there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # The stubs do not know that they can be None.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end


def leave(*streams: TextIO) -> None:
    """Nothing more can be said there: the interpreter's last flush must not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


@contextmanager
def safe_output() -> Iterator[None]:
    """Let everything that is printed within pass through ``SafeStream``."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SafeStream(sys.stdout), SafeStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
