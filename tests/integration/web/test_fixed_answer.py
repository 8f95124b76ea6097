"""The answer to a callback is made once; whoever reads it cannot tell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import web

from poddispatchd.clock import Clock
from poddispatchd.config.units import Address
from poddispatchd.web.fixed_answer import FixedAnswer
from poddispatchd.web.listener import ListenerOptions, listening
from tests.integration.web.wire import said

_GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
_LAST = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_ANSWER = FixedAnswer({"status": "OK"}, Clock())


@asynccontextmanager
async def _listener() -> AsyncIterator[Address]:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return _ANSWER if request.path == "/fixed" else web.json_response({"status": "OK"})

    async with listening(
        answer, Address("127.0.0.1", 0), "webhook.listen", ListenerOptions(headers={"X-Own": "é"})
    ) as address:
        yield address


def _parts(answer: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return first, dict(line.split(b": ", 1) for line in lines), body


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /other HTTP/1.0\r\n\r\n",
        b"GET %s HTTP/1.0\r\n\r\n",
        b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + _LAST % b"/other",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + _LAST % b"/other",
        _GET + _LAST % b"/other",
        _LAST,
    ],
)
async def test_it_is_what_any_other_answer_would_be(request_line: bytes) -> None:
    async with _listener() as address:
        # Where nothing ends the connection it stays for ten seconds: for both at once.
        fixed, other = await asyncio.gather(
            *(said(address, request_line.replace(b"%s", path)) for path in (b"/fixed", b"/other"))
        )

    assert fixed.count(b"HTTP/1.") == other.count(b"HTTP/1.") > 0
    for one, another in zip(fixed.split(b"HTTP/1.")[1:], other.split(b"HTTP/1.")[1:], strict=True):
        (first, headers, body), (other_first, other_headers, other_body) = _parts(one), _parts(another)
        assert (first, body) == (other_first, other_body)
        dates = (headers.pop(b"Date"), other_headers.pop(b"Date"))
        assert headers == other_headers
        assert all(parsedate_to_datetime(date.decode()) for date in dates)


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
@pytest.mark.parametrize("path", [b"/fixed", b"/other"])
async def test_nobody_waits_for_what_came_behind_an_upgrade_that_is_not_made(
    path: bytes, protocol: bytes
) -> None:
    """The parser loses it: it was never answered, and the connection stayed."""
    upgrade = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n" % (path, protocol)
    async with _listener() as address, asyncio.timeout(5):
        heard = await said(address, upgrade + _LAST % b"/other")

    first, headers, _ = _parts(heard)
    assert first == b"HTTP/1.1 200 OK"
    assert headers[b"Connection"] == b"close"
    assert heard.count(b"HTTP/1.") == 1


class _Clock(Clock):
    moment = datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def now(self) -> datetime:
        return self.moment


def test_its_date_is_the_present() -> None:
    clock = _Clock()
    answer = FixedAnswer({"status": "OK"}, clock)
    headers = {"Server": "poddispatchd"}
    first = answer.whole(headers)
    clock.moment += timedelta(minutes=1)

    assert _parts(first)[1][b"Date"] == b"Sun, 09 Sep 2001 01:46:40 GMT"
    assert _parts(answer.whole(headers))[1][b"Date"] == b"Sun, 09 Sep 2001 01:47:40 GMT"


def test_each_listener_has_its_own_headers_in_it() -> None:
    answer = FixedAnswer({"status": "OK"}, _Clock())

    servers = [_parts(answer.whole({"Server": name}))[1][b"Server"] for name in ("one", "other", "one")]

    assert servers == [b"one", b"other", b"one"]
