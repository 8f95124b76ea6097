"""An answer that is the same for every request: to make it anew costs as much as to record a callback."""

import json
import time
from collections.abc import Mapping
from email.utils import formatdate

from aiohttp import web


class FixedAnswer(web.StreamResponse):
    """A JSON document that is answered 200.

    A connection that goes on, and has room for it, is written the whole of it in one piece (``whole``);
    any other one gets the same document in an answer of aiohttp's (``ordinary``).
    """

    def __init__(self, document: Mapping[str, str]) -> None:
        super().__init__(status=200)
        self._document = document
        self._made_for: tuple[int, Mapping[str, str]] | None = None
        self._bytes = b""

    @property
    def keep_alive(self) -> bool:
        """A connection that was given the whole of it goes on."""
        return True

    def whole(self, headers: Mapping[str, str]) -> bytes:
        """Its bytes with these headers besides its own; made anew once a second, for the date."""
        second = int(time.time())
        if self._made_for != (second, headers):
            body = json.dumps(self._document).encode()
            own = {
                "Content-Type": "application/json; charset=utf-8",
                "Content-Length": str(len(body)),
                "Date": formatdate(second, usegmt=True),
            }
            lines = [f"{name}: {value}\r\n" for name, value in (own | dict(headers)).items()]
            self._bytes = "".join(("HTTP/1.1 200 OK\r\n", *lines, "\r\n")).encode() + body
            self._made_for = (second, headers)
        return self._bytes

    def ordinary(self) -> web.Response:
        """The same as an answer of aiohttp's, for one request."""
        return web.json_response(self._document)
