"""Answering unauthenticated requests by their head alone: no task, no parser, no transport.

That costs less than a whole request. A few of them a second are served as all requests are; when more come,
the others hear the same status in this way, and callbacks do not wait behind them.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from msgspec import Struct

from poddispatchd.callbacks.rate_limits import Bucket, Rate
from poddispatchd.web.raw_answer import raw_answer


class Serve(Struct, frozen=True):
    """A request is to be served; ``whose``: the token that it carries and that is somebody's, else empty."""

    whose: bytes = b""


Verdict: TypeAlias = bytes | Serve | asyncio.Future[None]
"""The whole answer, or what is to be done; a future: judge again when that is done."""


class Early(Protocol):
    """Judges the head of a request alone."""

    def __call__(self, address: str, head: bytes, looked: "asyncio.Future[None] | None" = None) -> Verdict:
        """What is to be done with it.

        Args:
            address: the other end of the connection.
            head: whole; something may stand behind it.
            looked: the future that a judgement of before has waited for.
        """


class Tokens(Protocol):
    """What is known of tokens without a look at the database."""

    def has_seen(self, token: bytes) -> bool:
        """Whether it is, or was a moment ago, somebody's."""

    def is_refused(self, token: bytes) -> bool:
        """Whether it is known to be nobody's."""

    def refuse(self, token: bytes) -> None:
        """It was looked for and not found."""

    def reading(self) -> "asyncio.Future[None] | None":
        """The look at the database that is going on or begins now; None: the last one has just failed."""


_SERVED = Rate(50, 50)
"""Unauthenticated ones that are served as all are: who tries out a token, or 'poddispatchd check'."""

RETRY_AFTER = 30.0
"""Seconds after which whoever cannot be told now should ask again."""

_MOST_TOKENS = 64
"""Headers of a request that is served."""

_END = b"\r\n\r\n"
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_AUTHORIZATION = re.compile(rb"\r\nauthorization:([^\r\n]*)", re.IGNORECASE)
_FRAMING = re.compile(rb"\r\n(transfer-encoding|content-length)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_TYPE = re.compile(rb"\r\ncontent-type:([^\r\n]*)", re.IGNORECASE)


class Head(Struct, frozen=True):
    """What of a head decides on the status of an unauthenticated request."""

    method: bytes
    path: bytes
    """Empty when the first line is none of a plain request."""
    content_type: bytes
    tokens: tuple[bytes, ...]
    """Of all ``Authorization`` headers: whichever of them counts."""


def head_of(data: bytes) -> Head:
    """The head of a request, which is whole; something may stand behind it."""
    head = data.partition(_END)[0]
    kind = _TYPE.search(head)
    method, path = _method_and_path(head.partition(b"\r\n")[0])
    return Head(
        method=method,
        path=path,
        content_type=b"" if kind is None else kind[1],
        tokens=tuple(filter(None, map(_token, _AUTHORIZATION.findall(head)[:_MOST_TOKENS]))),
    )


def _method_and_path(line: bytes) -> tuple[bytes, bytes]:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
    if not method.isalpha() or not version.startswith(b"HTTP/1."):
        return method, b""
    if (whole := _ABSOLUTE.match(target)) is not None:
        target = target[whole.end() :]
        target = target if target.startswith(b"/") else b"/" + target
    return method, target.partition(b"?")[0] if target.startswith(b"/") else b""


def _token(value: bytes) -> bytes:
    scheme, _, token = value.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def is_framed(data: bytes) -> bool:
    """Whether a request says plainly where its body ends; one that does not is not worth a parser."""
    found = _FRAMING.findall(data.partition(_END)[0])
    if not found:
        return True
    [(name, value), *others] = found
    value = value.strip()
    return not others and (value.isdigit() if name[:1] in b"cC" else value.lower() == b"chunked")


def is_whole(data: bytes) -> bool:
    """Whether a request of which so much has arrived is all there; in doubt it is not."""
    head, end, rest = data.partition(_END)
    lengths = [value.strip() for _, value in _FRAMING.findall(head)]
    return bool(end) and lengths in ([], [b"%d" % len(rest)])


def status_for(head: Head, path: bytes) -> int:
    """What somebody without a valid token hears: the same as when the request is served."""
    if not head.path:
        return 400
    if head.path != path:
        return 404
    if head.method != b"POST":
        return 405
    if b"application/json" not in head.content_type:
        return 415
    return 403 if head.tokens else 401


class UnauthenticatedRequests:
    """Decides whom to answer by the head alone.

    Args:
        path: of the webhook.
        answers: the words of each status, under the key that they are given by.
        headers: of every answer.
        tokens: what is known of them.
        refused: what is to be told, with address and status.
        monotonic: the clock.
    """

    def __init__(
        self,
        path: str,
        answers: Mapping[int, Mapping[str, str]],
        headers: Mapping[str, str],
        *,
        tokens: Tokens,
        refused: Callable[[str, int], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._path = path.encode()
        self._answers = {status: _answer(status, words, headers) for status, words in answers.items()}
        self._tokens = tokens
        self._refused = refused
        self._monotonic = monotonic
        self._served = Bucket(_SERVED)

    def judge(self, address: str, head: bytes, looked: "asyncio.Future[None] | None" = None) -> Verdict:
        """What is to be done with a request: see ``Early``."""
        parsed = head_of(head)
        # Also one that was good a moment ago: whether it still is, a whole request finds out.
        if (token := next(filter(self._tokens.has_seen, parsed.tokens), None)) is not None:
            return Serve(token) if is_framed(head) else self._refuse(address, 400, parsed)
        if looked is None and not self._served.wait(1, self._monotonic()):
            self._served.take(1)
            return Serve()
        status = status_for(parsed, self._path)
        if status == 403 and (
            unknown := [each for each in parsed.tokens if not self._tokens.is_refused(each)]
        ):
            reading = self._tokens.reading() if looked is None else looked
            if reading is not None and not reading.done():
                return reading
            if reading is None or reading.cancelled() or reading.exception() is not None:
                status = 503
            else:
                for token in unknown:
                    self._tokens.refuse(token)
        return self._refuse(address, status, parsed)

    def _refuse(self, address: str, status: int, head: Head) -> bytes:
        self._refused(address, status)
        whole = self._answers[status]
        return whole[: whole.index(_END) + len(_END)] if head.method == b"HEAD" else whole


def _answer(status: int, words: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    named = {**headers, "Content-Type": "application/json; charset=utf-8", "Connection": "close"}
    if status == 405:
        named["Allow"] = "POST"
    if status == 503:
        named["Retry-After"] = f"{RETRY_AFTER:.0f}"
    return raw_answer(status, named, json.dumps(dict(words)).encode())
