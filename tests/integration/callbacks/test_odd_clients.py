"""Clients that speak HTTP in unusual ways are answered at once, as everybody else is."""

import asyncio
import json
import socket

import pytest

from tests.integration.callbacks.bench import PATH, Bench, bench
from tests.integration.callbacks.conftest import TOKEN, Pod
from tests.integration.web.wire import connect

_BODY = json.dumps({"task_id": "t-1", "status": "running"}).encode()
_AT_ONCE = 10.0
"""Seconds: less than any of our time limits to bodies (30 s) and idle connections (75 s)."""


def _request(*headers: str, token: str = TOKEN, body: bytes = _BODY) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {token}", *headers]
    if not any(header.startswith("Transfer-Encoding") for header in headers):
        lines.append(f"Content-Length: {len(_BODY)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


_CHUNKED = _request("Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY))


async def _half_closed(webhook: Bench, *pieces: bytes) -> list[int]:
    """The statuses of all answers to these pieces, after which nothing more is sent."""
    reader, writer = await connect(webhook.address)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.05 if len(pieces) > 1 else 0)
        writer.write_eof()
        async with asyncio.timeout(_AT_ONCE):
            answers = await reader.read()
    finally:
        writer.close()
    return [int(answer.split(maxsplit=1)[0]) for answer in answers.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    ("pieces", "statuses"),
    [
        ([_request()], [200]),
        ([_CHUNKED], [200]),
        ([_request("Connection: close")], [200]),
        ([_request() * 3], [200, 200, 200]),
        ([_request(), _request()], [200, 200]),
        ([_request(body=b""), _BODY], [200]),
        ([_request()[:-5]], [400]),
        ([_request(body=b""), _BODY[:5]], [400]),
        ([_CHUNKED[:-7]], [400]),
        ([_request(), _request()[:-5]], [200, 400]),
        ([_request(token="wrong")], [403]),
        ([_request(token="wrong")[:-5]], [403]),
        ([_request("Expect: 100-continue", body=b"")], [100, 400]),
        ([_request()[:50]], []),
        ([], []),
    ],
    ids=lambda value: "-".join(map(str, map(len, value))) if value and isinstance(value[0], bytes) else None,
)
async def test_whoever_sends_nothing_more_hears_the_answer_to_what_was_asked(
    pod: Pod, pieces: list[bytes], statuses: list[int]
) -> None:
    await pod.running()
    async with bench(pod.database) as webhook:
        assert await _half_closed(webhook, *pieces) == statuses
        assert len(await pod.callbacks()) == (200 in statuses)


async def test_a_callback_of_a_client_that_has_gone_is_recorded_all_the_same(pod: Pod) -> None:
    await pod.running()
    async with bench(pod.database) as webhook:
        _, writer = await connect(webhook.address)
        writer.write(_request())
        writer.close()
        async with asyncio.timeout(_AT_ONCE):
            while not await pod.callbacks():  # noqa: ASYNC110 - it is in the database
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "headers",
    [
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"),
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eHg="),
        ("Upgrade: websocket",),
        ("Connection: Upgrade", "Upgrade: websocket", "Expect: 100-continue"),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["of a length", "chunked"])
async def test_an_upgrade_is_not_made_and_the_request_is_answered(
    pod: Pod, headers: tuple[str, ...], is_in_pieces: bool, is_chunked: bool
) -> None:
    await pod.running()
    request = _request(*headers)
    if is_chunked:
        request = _request(
            *headers, "Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)
        )
    cut = request.index(b"\r\n\r\n") + 4
    async with bench(pod.database) as webhook:
        reader, writer = await connect(webhook.address)
        for piece in (request[:cut], request[cut:]) if is_in_pieces else (request,):
            writer.write(piece)
            await asyncio.sleep(0.05 if is_in_pieces else 0)
        async with asyncio.timeout(_AT_ONCE):
            answer = await reader.read()  # and the connection is closed
        assert b"HTTP/1.1 200 OK" in answer
        assert b"Connection: close" in answer
        assert b"101 " not in answer
        writer.close()


async def test_an_upgrade_without_a_body_does_not_wait_for_one(pod: Pod) -> None:
    head = _request("Connection: Upgrade", "Upgrade: websocket", body=b"")
    async with bench(pod.database) as webhook:
        for request in (
            head.replace(f"Content-Length: {len(_BODY)}\r\n".encode(), b""),
            head.replace(f"Content-Length: {len(_BODY)}".encode(), b"Content-Length: 0"),
            head.replace(b"POST", b"GET").replace(f"Content-Length: {len(_BODY)}\r\n".encode(), b""),
        ):
            reader, writer = await connect(webhook.address)
            writer.write(request)
            async with asyncio.timeout(_AT_ONCE):
                assert (await reader.readline())[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 405")
            writer.close()
