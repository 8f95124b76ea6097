"""One question to a listener of this machine: whoever that is, it is heard for some seconds."""

import io
import socket
import time
from http.client import HTTPResponse

from poddispatchd.config.units import Address

_SECONDS = 5.0
_LONGEST = 16 * 2**20
"""Bytes; a daemon's state has some hundred thousand."""

_PIECE = 2**16


class _Received:
    """What was received, as ``HTTPResponse`` wants it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def ask(address: Address, path: str, *, seconds: float | None = None) -> tuple[int, bytes]:
    """The status and the body of an answer. No proxy is asked, and no redirect is followed.

    Args:
        address: where it listens.
        path: what is asked for.
        seconds: how long it is heard at most; None: for some seconds.

    Raises:
        OSError: nobody answers, or not in time.
        HTTPException: it is no HTTP.
        ValueError: it is too long.
    """
    seconds = _SECONDS if seconds is None else seconds
    until = time.monotonic() + seconds
    question = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((address.host, address.port), timeout=seconds) as connection:
        connection.sendall(question.encode("ascii", "replace"))
        answer = HTTPResponse(_Received(_all(connection, until)))  # type: ignore[arg-type] # as a socket
        answer.begin()
        return answer.status, answer.read()


def _all(connection: socket.socket, until: float) -> bytes:
    received = bytearray()
    while (left := until - time.monotonic()) > 0:
        # What is left of all: a limit for each piece would let single bytes come for ever.
        connection.settimeout(left)
        piece = connection.recv(_PIECE)
        if not piece:
            return bytes(received)
        received += piece
        if len(received) > _LONGEST:
            raise ValueError("it is too long")
    raise TimeoutError("timed out")
