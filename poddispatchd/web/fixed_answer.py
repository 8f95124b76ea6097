"""An answer that is the same for every request: to make it anew costs as much as to record a callback."""

import json
from collections.abc import Mapping
from email.utils import format_datetime

from aiohttp import web

from poddispatchd.clock import Clock
from poddispatchd.web.raw_answer import raw_answer

_FRESH_FOR = 0.5
"""Seconds for which its date is good enough."""


class FixedAnswer(web.StreamResponse):
    """A JSON document that is answered 200.

    A connection that goes on, and has room for it, is written the whole of it in one piece (``whole``);
    any other one gets the same document in an answer of aiohttp's (``ordinary``).
    """

    def __init__(self, document: Mapping[str, str], clock: Clock) -> None:
        super().__init__(status=200)
        self._document = document
        self._clock = clock
        self._made_with: Mapping[str, str] | None = None
        self._made_at = float("-inf")
        self._bytes = b""

    @property
    def keep_alive(self) -> bool:
        """A connection that was given the whole of it goes on."""
        return True

    def whole(self, headers: Mapping[str, str]) -> bytes:
        """Its bytes with these headers besides its own; made anew twice a second, for the date."""
        now = self._clock.monotonic()
        # The very same headers: a listener has one object for all answers.
        if now - self._made_at >= _FRESH_FOR or headers is not self._made_with:
            own = {
                "Content-Type": "application/json; charset=utf-8",
                "Date": format_datetime(self._clock.now(), usegmt=True),
            }
            self._bytes = raw_answer(200, own | dict(headers), json.dumps(self._document).encode())
            self._made_at, self._made_with = now, headers
        return self._bytes

    def ordinary(self) -> web.Response:
        """The same as an answer of aiohttp's, for one request."""
        return web.json_response(self._document)
