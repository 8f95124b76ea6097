"""An answer as bytes, for whoever needs no parser's help."""

from collections.abc import Mapping
from http import HTTPStatus


def raw_answer(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """The whole of an answer; the length of its body is added to the headers."""
    named = {**headers, "Content-Length": str(len(body))}
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        *(f"{key}: {value}" for key, value in named.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
