"""Writing lines where nobody may be reading them: a log that is stuck holds up nothing (I11, I12)."""

import os
import select
import stat
from contextlib import suppress
from typing import TextIO

from poddispatchd.observability.log_wait import LogWait

_PIECE = 1000
"""Bytes written at once: no more than a pipe or a socket takes that says that it has room."""


class LogStream:
    """A stream for lines; what nobody takes in time is lost, and the rest of its line with it.

    The next line does not go on where that one was cut off.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_in_memory = not _has_descriptor(stream)
        self._own = _reopened(stream)
        self._room = _poll_of(stream, self._own)
        self._wait = LogWait()
        self._is_cut = False

    def write(self, line: str) -> bool:
        """Write a line; whether all of it was taken: not if the stream is gone, or the disk full."""
        if self._is_cut:
            line = "\n" + line
        try:
            return self._is_written(line)
        except (OSError, ValueError):  # ValueError: it is closed
            return False

    def close(self) -> None:
        """Close what was opened here; the stream is somebody else's."""
        if self._own is not None:
            os.close(self._own)
            self._own = self._room = None

    def _is_written(self, line: str) -> bool:
        if self._is_in_memory:
            self._stream.write(line)
            self._stream.flush()
            return True
        number = self._stream.fileno() if self._own is None else self._own
        data = line.encode(self._stream.encoding or "utf-8", "backslashreplace")
        written = 0
        try:
            while written < len(data):
                taken = self._put(number, data[written : written + _PIECE])
                if not taken:
                    return False
                written += taken
                self._is_cut = True
        finally:
            self._is_cut = self._is_cut and written < len(data)
        return True

    def _put(self, number: int, piece: bytes) -> int:
        """How many bytes of a piece were taken; 0: nobody took them in time."""
        if self._own is not None:
            # It says by itself that it has no room: to ask before each line costs a fifth of the line.
            with suppress(BlockingIOError):
                taken = os.write(number, piece)
                self._wait.taken()
                return taken
        if self._has_room():
            with suppress(BlockingIOError):  # somebody else was quicker
                return os.write(number, piece)
        return 0

    def _has_room(self) -> bool:
        if self._room is None:
            return True
        # That its reader is gone is told by the write.
        has_room = bool(self._room.poll(int(self._wait.begin() * 1000)))
        self._wait.end(is_taken=has_room)
        return has_room


def _has_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError):
        return False


def _reopened(stream: TextIO) -> int | None:
    """A descriptor of our own for a pipe or a terminal, which never waits; None where it cannot be had.

    A terminal says that it has room for a few bytes, and waits with more of them; a pipe may be filled by
    somebody else meanwhile. Whoever else has the stream open would not expect it not to wait.
    """
    with suppress(OSError, ValueError):
        mode = os.fstat(stream.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{stream.fileno()}", flags)
    return None


def _poll_of(stream: TextIO, own: int | None) -> "select.poll | None":
    """What tells whether a pipe, a socket or a terminal has room; None for what does not say."""
    try:
        number = stream.fileno() if own is None else own
        if stat.S_ISREG(os.fstat(number).st_mode):
            return None
    except (OSError, ValueError):
        return None
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return poll
