"""Answering strangers by the head of their request alone: no task, no parser, no transport.

That costs less than a whole request. A few strangers a second are served as everybody is; when more come,
the others hear the same status in this way, and callbacks do not wait behind them.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec import Struct

from poddispatchd.callbacks.rate_limits import Bucket, Rate

Early: TypeAlias = Callable[[str, bytes], bytes | None]
"""The whole answer to a stranger, given the address and what has arrived; None: it is to be served."""

_SERVED = Rate(50, 50)
"""Strangers that are served as everybody is: someone who tries out a token, or 'poddispatchd check'."""

_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
}

_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_AUTHORIZATION = re.compile(rb"\r\nauthorization:([^\r\n]*)", re.IGNORECASE)
_TYPE = re.compile(rb"\r\ncontent-type:([^\r\n]*)", re.IGNORECASE)


class Head(Struct, frozen=True):
    """What of a head decides on the status of a stranger."""

    method: bytes
    path: bytes
    """Empty when the first line is none of a plain request."""
    content_type: bytes
    tokens: tuple[bytes, ...]
    """Of all ``Authorization`` headers: whichever of them counts."""


def head_of(data: bytes) -> Head | None:
    """The head of a request; None when it is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end]
    kind = _TYPE.search(head)
    method, path = _method_and_path(head.partition(b"\r\n")[0])
    return Head(
        method=method,
        path=path,
        content_type=b"" if kind is None else kind[1],
        tokens=tuple(filter(None, map(_token, _AUTHORIZATION.findall(head)))),
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


class Strangers:
    """Decides whom to answer by the head alone.

    Args:
        path: of the webhook.
        answers: the words of each status, under the key that they are given by.
        headers: of every answer.
        has_seen: whether a token is, or was a moment ago, somebody's.
        is_refused: whether a token is known to be nobody's.
        refused: what is to be told, with address and status.
        monotonic: the clock.
    """

    def __init__(
        self,
        path: str,
        answers: Mapping[int, Mapping[str, str]],
        headers: Mapping[str, str],
        *,
        tokens: tuple[Callable[[bytes], bool], Callable[[bytes], bool]],
        refused: Callable[[str, int], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._path = path.encode()
        self._answers = {status: _answer(status, words, headers) for status, words in answers.items()}
        self._has_seen, self._is_refused = tokens
        self._refused = refused
        self._monotonic = monotonic
        self._served = Bucket(_SERVED)

    def answer(self, address: str, data: bytes) -> bytes | None:
        """The whole answer; None: serve the request as everybody's."""
        head = head_of(data)
        if head is None or any(map(self._has_seen, head.tokens)):
            return None
        status = status_for(head, self._path)
        if status == 403 and not all(map(self._is_refused, head.tokens)):
            return None
        if not self._served.wait(1, self._monotonic()):
            self._served.take(1)
            return None
        self._refused(address, status)
        whole = self._answers[status]
        return whole[: whole.index(b"\r\n\r\n") + 4] if head.method == b"HEAD" else whole


def _answer(status: int, words: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    body = json.dumps(dict(words)).encode()
    named = {
        **headers,
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    if status == 405:
        named["Allow"] = "POST"
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
