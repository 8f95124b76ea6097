"""Files of settings as bytes."""

from pathlib import Path

LONGEST = 2**20
"""Bytes that are read of a file: to parse as many takes a minute."""


class TooLongError(Exception):
    """This is no file of settings."""


def bytes_of(file: Path) -> bytes:
    """What a file holds.

    Raises:
        TooLongError: that is more than ``LONGEST``.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        data = opened.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise TooLongError
    return data


def is_blank(data: bytes) -> bool:
    """Whether a file holds nothing, or what some file systems leave of one after a crash."""
    return not data.strip(b"\0 \t\r\n")
