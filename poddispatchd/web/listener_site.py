"""What all connections of a listener share, and the answers that need no parser."""

import asyncio
import json

from aiohttp import web

from poddispatchd.observability.events import Event
from poddispatchd.web.connection_limits import ConnectionTable
from poddispatchd.web.raw_answer import raw_answer
from poddispatchd.web.refusal_log import RefusalLog
from poddispatchd.web.unauthenticated import Early, Serve, Verdict

LONGEST_HEAD = 16 * 2**10
"""Bytes of the head of a request."""

SLICE = 2**14
"""Bytes that are taken of a connection in one turn of the event loop: a parser that is given chunks of one
byte is done with so many of them in some milliseconds."""

SLICE_SECONDS = 0.0005
"""Of processor time in one turn of the event loop for accepting connections, for reading heads, for answering
unauthenticated clients and for what they still send, each; then everybody else has theirs. A callback takes
about ten."""

_SERVER = "poddispatchd"
WORDS = {400: "Bad request.", 431: "The head of the request is too long.", 503: "Try again later."}
"""Of the answers to what is no request."""

HEADERS = {"Server": _SERVER, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""Of every answer; its ``Server`` has no version."""


class ListenerSite:
    """What all connections of a listener share."""

    def __init__(
        self,
        server: web.Server,
        table: ConnectionTable,
        refusals: RefusalLog,
        headers: dict[str, str],
        early: Early | None = None,
    ) -> None:
        self.server = server
        self.table = table
        self.refusals = refusals
        self.headers = HEADERS | headers
        self.is_ending = False
        self._early = early
        self.loop = asyncio.get_running_loop()
        self.slice = memoryview(bytearray(SLICE))
        """What has just been received of one of the connections."""

    @property
    def holds_bodies(self) -> bool:
        """Whether bodies are kept from the parser until ``recognise`` (invariant I13)."""
        return self._early is not None

    def refuse(self, address: str, status: int, reason: str) -> None:
        """Note that a request was none."""
        self.refusals.tell(Event.REQUESTS_REFUSED, remote=address, status=status, reason=reason)

    def judge(self, address: str, head: bytes, looked: "asyncio.Future[None] | None" = None) -> Verdict:
        """What is to be done with a request whose head is whole: see ``Early``."""
        if self._early is None or self.is_ending:
            return Serve()
        return self._early(address, head, looked)


def canned(status: int) -> bytes:
    """A whole answer, without any parser's help."""
    headers = {"Server": _SERVER, "Content-Type": "text/plain", "Connection": "close"}
    return raw_answer(status, headers, f"{WORDS[status]}\n".encode())


FULL = raw_answer(
    503,
    HEADERS | {"Content-Type": "application/json", "Connection": "close", "Retry-After": "5"},
    json.dumps({"error": "All connections are in use: ask again in some seconds."}).encode(),
)
"""What a connection hears that finds all others busy; in the form of every other answer 503."""
