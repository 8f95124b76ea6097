"""One HTTP request to a runner manager: sending, reading within limits, naming what went wrong.

Nothing is ever sent twice from here. aiohttp by itself repeats a GET once when a kept connection turns out to
be closed, never a POST.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from msgspec import Struct, field
from yarl import URL

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import RunnerManagerError, RunnerManagerMisconfiguredError
from poddispatchd.runner.request_errors import CONNECT_TIMEOUT, FAILURES, Method, named

SHORT_ANSWER = 64 * 2**10
"""Bytes read of an answer that holds a few words, or refuses; the rest cannot change what is done."""

_READ_BUFFER = 256 * 2**10
"""Bytes; at most twice as much waits in memory for each download."""

_SEGMENT_SAFE = "!$&'()*+,;=:@"
"""What may stand unescaped in one segment of a path (RFC 3986), beside letters, digits and ``-._~``."""


class HttpAnswer(Struct, frozen=True):
    """An answer; ``is_cut``: its body is only the beginning of it.

    ``content_type`` is in lower case and without parameters. ``is_unended``: nothing says where the body
    ends, so that one which a proxy has given up looks like a whole one. ``is_encoded``: it was
    compressed, as by a proxy, which it was not asked to, and cannot be read.
    """

    status: int
    content_type: str
    body: bytes
    location: str = ""
    is_cut: bool = False
    is_unended: bool = False
    is_encoded: bool = False

    @property
    def is_success(self) -> bool:
        """Any 2xx."""
        return 200 <= self.status < 300

    @property
    def is_html(self) -> bool:
        """A page made for people: it comes from a reverse proxy, never from a runner manager."""
        return self.content_type in ("text/html", "application/xhtml+xml")

    @property
    def is_json(self) -> bool:
        """What a runner manager answers, whatever is wrong."""
        return self.content_type == "application/json"


def route(*segments: str) -> str:
    """A path of a runner manager, each segment escaped so that it stays one segment."""
    return "/".join(_segment(segment) for segment in segments)


@lru_cache(maxsize=1024)
def _segment(text: str) -> str:
    if text in (".", ".."):
        # quote() leaves dots, and proxies resolve such a segment.
        return text.replace(".", "%2E")
    return quote(text, safe=_SEGMENT_SAFE)


class Request(Struct, frozen=True):
    """What is asked of a runner manager.

    Args:
        method: a POST that got as far as a connection is never known to be without effect.
        path: from ``route``, relative to the manager's URL.
        body: sent as it is, as JSON.
        headers: added to ``Accept``, ``Authorization`` and, with a body, ``Content-Type``.
        with_token: False for the routes that are public.
    """

    method: Method
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    with_token: bool = True


@asynccontextmanager
async def exchange(
    session: aiohttp.ClientSession,
    manager: RunnerManager,
    request: Request,
    *,
    limits: aiohttp.ClientTimeout,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send one request and give its answer as soon as its head is there; redirects are not followed.

    The block that uses the answer must name errors of its own files itself: an OSError or TimeoutError that
    leaves it is taken for one of the connection.

    Args:
        session: from ``open_session``.
        manager: whose URL and token are used.
        request: what is asked.
        limits: ``connect`` must be shorter than ``total``.

    Raises:
        RunnerManagerMisconfiguredError: its URL, token or certificate is wrong.
        RunnerManagerUnavailableError: no connection; or, for a GET, no whole answer.
        AnswerLostError: a POST may have been carried out.
    """
    has_head = False
    try:
        async with (
            asyncio.timeout(_head_limit(limits)) as limit,
            _sent(session, manager, request, limits) as response,
        ):
            # The head is there: from now on ``sock_read`` bounds each silence, and the rate the whole.
            limit.reschedule(None)
            has_head = True
            yield response
    except FAILURES as error:
        raise named(error, manager, request.method) from error
    except Exception as error:
        # What the library meets before is this manager's matter, as in ``ask``; then it is whose block it is.
        if has_head or isinstance(error, RunnerManagerError):
            raise
        raise named(error, manager, request.method) from error


async def ask(
    session: aiohttp.ClientSession,
    manager: RunnerManager,
    request: Request,
    *,
    seconds: float,
    limit: int = SHORT_ANSWER,
) -> HttpAnswer:
    """Send one request and read its answer, however it decides.

    Args:
        session: from ``open_session``.
        manager: whose URL and token are used.
        request: what is asked.
        seconds: longest wait for the whole answer, once connected.
        limit: bytes that are read at most; of an answer that refuses no more than ``SHORT_ANSWER``.

    Raises:
        RunnerManagerError: as in ``exchange``.
    """
    try:
        async with _sent(session, manager, request, _limits(seconds)) as response:
            return await read_answer(response, limit)
    except RunnerManagerError:
        raise
    except Exception as error:  # whatever the library meets there is this manager's matter and no other one's
        raise named(error, manager, request.method) from error


def _sent(
    session: aiohttp.ClientSession,
    manager: RunnerManager,
    request: Request,
    limits: aiohttp.ClientTimeout,
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    headers = {"Accept": "application/json", **request.headers}
    if request.with_token:
        headers["Authorization"] = manager.authorization()
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    return session.request(
        request.method,
        _url(manager, request.path),
        data=request.body,
        headers=headers,
        # A redirect would take the token, and the payload, to wherever it leads.
        allow_redirects=False,
        timeout=limits,
        read_bufsize=_READ_BUFFER,
    )


async def read_answer(
    response: aiohttp.ClientResponse, limit: int = SHORT_ANSWER, *, within: float | None = None
) -> HttpAnswer:
    """An answer, of ``limit`` bytes at most; ``within``: seconds for its body, then what has come will do."""
    success = 200 <= response.status < 300
    limit = limit if success else min(limit, SHORT_ANSWER)
    content = bytearray()
    try:
        async with asyncio.timeout(within):
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > limit:
                    # What is left is not worth reading, and the connection cannot be used again.
                    response.close()
                    break
    except TimeoutError:
        if within is None:
            raise
        response.close()
    return HttpAnswer(
        status=response.status,
        content_type=content_type(response),
        body=bytes(content[:limit]),
        location=response.headers.get("Location", ""),
        is_cut=len(content) > limit,
        is_unended=not (
            "Content-Length" in response.headers
            or "Transfer-Encoding" in response.headers
            or response.status == HTTPStatus.NO_CONTENT
        ),
        is_encoded=response.headers.get("Content-Encoding", "identity").strip().lower() != "identity",
    )


@lru_cache(maxsize=16)
def _limits(seconds: float) -> aiohttp.ClientTimeout:
    # The total is longer than the time to connect, so that a total that runs out means a request sent.
    return aiohttp.ClientTimeout(total=CONNECT_TIMEOUT + seconds, connect=CONNECT_TIMEOUT)


def _head_limit(limits: aiohttp.ClientTimeout) -> float | None:
    """Seconds that the head of an answer may take, with all informational answers before it."""
    if limits.sock_read is None:
        return None
    return (limits.connect or 0.0) + limits.sock_read


def content_type(response: aiohttp.ClientResponse) -> str:
    """The media type of an answer, in lower case and without parameters; empty when it has none."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


@lru_cache(maxsize=256)
def _base(endpoint: str) -> str:
    """A manager's own URL may hold what a person typed (spaces, a name with accents): yarl escapes it.

    Raises:
        ValueError: it is no URL, or its host can be no name.
    """
    url = URL(endpoint)
    (url.raw_host or "").encode("idna")  # else whoever looks it up ends with this error
    if url.raw_host and ":" in url.raw_host and "%25" in url.raw_host:
        # The zone of a link-local address as RFC 6874 writes it: yarl leaves that to whoever looks it up.
        url = url.with_host(url.raw_host.replace("%25", "%", 1))
    return str(url)


def _url(manager: RunnerManager, path: str) -> URL:
    base = manager.endpoint("")
    try:
        # What follows is escaped already, and must reach the manager exactly so.
        return URL(f"{_base(base)}{path}", encoded=True)
    except ValueError:
        # The reason that the library gives quotes the URL, which may hold a password.
        raise RunnerManagerMisconfiguredError(
            f"The URL of runner manager {manager.name!r} cannot be used: correct it in Pod's administration."
        ) from None
