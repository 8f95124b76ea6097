"""Requests as unauthenticated clients, scanners, broken managers and attackers make them."""

import gzip
import zlib
from dataclasses import dataclass
from random import Random

from fuzz.values import CANARY, WORDS, changed, damaged, value, written

PATH = "/runner/notify_task_end/"
_METHODS = ("POST",) * 8 + (
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PRI",
    "post",
    "P@ST",
)
_TARGETS = (PATH,) * 12 + (
    "/",
    "*",
    "//",
    "/runner/notify_task_end",
    "/runner/../runner/notify_task_end/",
    "/runner/notify%5Ftask_end/",
    f"{PATH}?a={CANARY}#b",
    f"http://pod.example.org{PATH}",
    "http://[::1",
    "pod.example.org:443",
    f"/{CANARY}",
    "/%ff%fe\xff",
    "/" + "a" * 9000,
)
_OPS = (
    "/",
    "/metrics",
    "/status",
    "/api/status",
    "/health/live",
    "/health/ready",
    f"/{CANARY}",
    "/metrics?name[]=x",
)
_TYPES = ("application/json",) * 10 + ("application/json; charset=latin-1", "text/plain", "", "\xff", CANARY)
_CALLBACK = {"task_id": "t-1", "status": "completed", "error_message": None, "script_output": "out"}
_STATUSES = ("completed", "failed", "timeout", "running", "warning", "pending")


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes to send; ``is_signed``: the right token is among them, whole or not."""

    data: bytes
    is_signed: bool


class Requests:
    """Generates requests to the webhook, or to the ops listener; with a token, half of them carry it."""

    def __init__(self, seed: int, *, token: str | None = None, is_ops: bool = False) -> None:
        self._random = Random(seed)
        self._token = token
        self._is_ops = is_ops

    def next(self) -> Request:
        """The next one."""
        generator = self._random
        data = b"".join(self._request() for _ in range(generator.choice((1,) * 15 + (2, 5))))
        if generator.random() < 0.35:
            data = damaged(generator, data)
        elif generator.random() < 0.03:
            data = generator.randbytes(generator.choice((1, 10, 500, 20_000)))
        token = self._token
        return Request(data, token is not None and token.encode() in data)

    def _request(self) -> bytes:
        generator = self._random
        method = generator.choice(_METHODS)
        target = generator.choice(_TARGETS)
        if self._is_ops:
            method = generator.choice(("GET",) * 6 + _METHODS)
            target = generator.choice(_OPS * 3 + _TARGETS)
        version = generator.choice(("HTTP/1.1",) * 12 + ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.1 ", ""))
        body = self._body()
        headers = self._headers()
        encoding = generator.choice(
            (None,) * 12 + ("gzip", "deflate", "br", "gzip, gzip", "identity", CANARY)
        )
        if encoding is not None:
            headers.append(("Content-Encoding", encoding))
            body = generator.choice((body, gzip.compress(body), zlib.compress(body)))
        body = self._framed(body, headers)
        generator.shuffle(headers)
        lines = [f"{method} {target} {version}", *(f"{name}: {text}" for name, text in headers), "", ""]
        return "\r\n".join(lines).encode("utf-8", "surrogatepass") + body

    def _framed(self, body: bytes, headers: list[tuple[str, str]]) -> bytes:
        generator = self._random
        match generator.randrange(20):
            case 0:
                headers.append(("Transfer-Encoding", "chunked"))
                return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            case 1:
                headers.append(
                    ("Transfer-Encoding", generator.choice(("chunked, gzip", "x", "chunked\0", CANARY)))
                )
                return body
            case 2:
                headers.append(("Transfer-Encoding", "chunked"))
                return (
                    generator.choice((b"zz\r\n", b"ffffffffffffffffff\r\n", b"5\r\nab", b"-1\r\n\r\n")) + body
                )
            case 3:
                headers.append(
                    ("Content-Length", generator.choice(("-1", "x", "1e3", "9" * 30, "0", "99999999")))
                )
                return body
            case 4:
                headers += [("Content-Length", str(len(body))), ("Content-Length", str(len(body) + 1))]
                return body
            case 5:
                return body
            case _:
                headers.append(("Content-Length", str(len(body))))
                return body

    def _headers(self) -> list[tuple[str, str]]:
        generator = self._random
        headers = [
            (
                "Host",
                generator.choice(("localhost",) * 6 + ("127.0.0.1:1", "evil.example", "", "\xff", "[::1")),
            )
        ]
        headers.append(("Content-Type", generator.choice(_TYPES)))
        if generator.random() < 0.9:
            headers.append(("Authorization", self._authorization()))
        if generator.random() < 0.8:
            headers.append(
                ("Connection", generator.choice(("close", "close", "keep-alive", "upgrade", CANARY)))
            )
        for name, texts in (
            ("Expect", ("100-continue", "\xff", CANARY)),
            ("Upgrade", ("websocket", "h2c", CANARY)),
            ("X-Forwarded-For", ("203.0.113.9", "127.0.0.1", CANARY, "x" * 4000)),
            ("Cookie", (CANARY, "a=b")),
            ("Sec-WebSocket-Key1", (CANARY,)),
            ("Range", ("bytes=0-", CANARY)),
            (f"X-{CANARY}", WORDS),
            ("X-Long", ("x" * 9000,)),
        ):
            if generator.random() < 0.06:
                headers.append((name, generator.choice(texts)))
        if generator.random() < 0.01:
            headers += [(f"X-{number}", "1") for number in range(150)]
        return headers

    def _authorization(self) -> str:
        generator = self._random
        if self._token is not None and generator.random() < 0.5:
            return f"{generator.choice(('Bearer', 'bearer', 'BEARER'))} {self._token}"
        return generator.choice(
            (
                f"Bearer {CANARY}",
                f"Basic {CANARY}",
                "Bearer",
                "Bearer ",
                f"Bearer {CANARY} {CANARY}",
                "Bearer \xff\xfe",
                "Bearer " + "x" * 7000,
                "",
                f"Bearer {generator.random()}",
            )
        )

    def _body(self) -> bytes:
        generator = self._random
        match generator.randrange(16):
            case 0:
                return b""
            case 1:
                return generator.randbytes(generator.choice((3, 300, 3000)))
            case 2:
                return generator.choice((b"[", b'{"a":', b"[[],")) * generator.choice((10, 1000, 20_000))
            case 3:
                return written(generator, value(generator))
            case 4:
                long = generator.choice(("x", '"', "\\", "é", "\0", "\ud83d")) * generator.choice(
                    (70_000, 200_000)
                )
                return written(generator, _CALLBACK | {"script_output": long})
            case 5 | 6 | 7:
                return written(generator, changed(generator, _CALLBACK))
            case _:
                said = {
                    "task_id": generator.choice(("t-1", "t-2", "unknown")),
                    "status": generator.choice(_STATUSES),
                }
                return written(generator, _CALLBACK | said)
