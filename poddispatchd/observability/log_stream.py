"""Writing lines where nobody may be reading them: a log that is stuck holds up nothing (I11, I12)."""

import os
import select
import stat
from typing import TextIO

_LONGEST_WAIT = 0.2
"""Seconds that a line waits for whoever reads the stream; after them none waits until one is taken."""

_PIECE = 1000
"""Characters written at once: no more bytes than a pipe or a socket takes that says that it has room."""


class LogStream:
    """A stream for lines; what nobody takes in time is lost, and the rest of its line with it.

    The next line does not go on where that one was cut off.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._room = _poll_of(stream)
        self._is_stuck = False
        self._is_cut = False

    def write(self, line: str) -> bool:
        """Write a line; whether all of it was taken.

        Raises:
            OSError, ValueError: the stream is gone.
        """
        if self._is_cut:
            line = "\n" + line
        for start in range(0, len(line), _PIECE):
            if not self._has_room():
                self._is_cut = self._is_cut or start > 0
                return False
            self._stream.write(line[start : start + _PIECE])
            self._stream.flush()
        self._is_cut = False
        return True

    def _has_room(self) -> bool:
        if self._room is None:
            return True
        wait = 0 if self._is_stuck else round(_LONGEST_WAIT * 1000)
        # That its reader is gone is told by the write.
        self._is_stuck = not self._room.poll(wait)
        return not self._is_stuck


def _poll_of(stream: TextIO) -> "select.poll | None":
    """What tells whether a pipe, a socket or a terminal has room; None for what does not say."""
    try:
        number = stream.fileno()
        if stat.S_ISREG(os.fstat(number).st_mode):
            return None
    except (OSError, ValueError):
        return None
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return poll
