"""The snippet that we ship, in a real nginx in front of the real webhook."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.config.units import Address
from tests.integration.callbacks.bench import PATH, Bench, ShiftedClock, bench
from tests.integration.callbacks.conftest import TOKEN, Pod
from tests.integration.callbacks.nginx import SHIPPED, nginx
from tests.integration.web.wire import many, said

_TRUSTING = "client_header_timeout 1s; set_real_ip_from 127.0.0.1; real_ip_header X-Test-Client;"
"""For tests, clients say where they come from."""


@asynccontextmanager
async def _nginx(webhook: Bench, directory: Path) -> AsyncIterator[Address]:
    # A tenth of the burst, for a test that takes a second.
    assert "burst=1000 " in SHIPPED
    location = SHIPPED.replace("burst=1000 ", "burst=100 ")
    async with nginx(webhook.address, directory, location, server=_TRUSTING) as address:
        yield address


def _callback(*headers: str, token: str = TOKEN, body: bytes | None = None) -> bytes:
    if body is None:
        body = json.dumps({"task_id": "t-1", "status": "running"}).encode()
    lines = [f"POST {PATH} HTTP/1.1", "Host: pod.example.org", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {token}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


def _status(answer: bytes) -> int:
    return int(answer.split(maxsplit=2)[1])


async def test_callbacks_pass_and_each_client_is_known_by_its_address(pod: Pod, tmp_path: Path) -> None:
    await pod.running()
    clock = ShiftedClock()
    async with bench(pod.database, clock=clock) as webhook, _nginx(webhook, tmp_path) as address:
        answer = await said(address, _callback())
        assert _status(answer) == 200
        assert answer.endswith(b'{"status": "OK"}')
        # 127.0.0.2 is no proxy of ours: what it says about itself is not believed, through nginx or not.
        for lie in ("198.51.100.66", "127.0.0.1, ::1", "10.0.0.1, 127.0.0.1"):
            for asked in (address, webhook.address):
                clock.shift += 100
                with capture_logs() as logged:
                    request = _callback(f"X-Forwarded-For: {lie}", token="wrong")
                    assert _status(await said(asked, request, "127.0.0.2")) == 403
                told = [entry["remote"] for entry in logged if entry["event"] == "callback.refused"]
                assert told[-1] == "127.0.0.2"
        # A path that is not ours never gets here.
        assert (
            _status(await said(address, b"GET /admin/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            == 404
        )


async def test_a_body_as_large_as_ours_passes_and_a_larger_one_does_not(pod: Pod, tmp_path: Path) -> None:
    await pod.running()
    async with bench(pod.database) as webhook, _nginx(webhook, tmp_path) as address:
        most = webhook.parts.settings.webhook.max_body
        for size, status in ((most, 200), (most + 1, 413)):
            frame = b'{"task_id": "t-1", "status": "failed", "script_output": ""}'
            body = frame[:-2] + b"x" * (size - len(frame)) + frame[-2:]
            assert _status(await said(address, _callback(body=body))) == status


async def test_many_tasks_that_end_at_once_are_let_through_and_a_flood_is_not(
    pod: Pod, tmp_path: Path
) -> None:
    await pod.running()
    async with bench(pod.database) as webhook, _nginx(webhook, tmp_path) as address:
        limit = asyncio.Semaphore(50)

        async def call(token: str) -> int:
            async with limit:
                return _status(await said(address, _callback(token=token)))

        assert set(await asyncio.gather(*(call(TOKEN) for _ in range(100)))) == {200}
        flood: set[int] = set()
        async with asyncio.timeout(60):
            # How many a second it takes to be one is the machine's matter.
            while 429 not in flood:
                flood.update(await asyncio.gather(*(call("wrong") for _ in range(300))))
        assert flood == {403, 429}


async def test_a_flood_from_many_addresses_of_one_ipv6_network_is_one_flood(pod: Pod, tmp_path: Path) -> None:
    await pod.running()
    async with bench(pod.database) as webhook, _nginx(webhook, tmp_path) as address:

        async def call(client: str) -> int:
            return _status(await said(address, _callback(f"X-Test-Client: {client}", token="wrong")))

        flood: set[int] = set()
        async with asyncio.timeout(60):
            while 429 not in flood:
                flood.update(await asyncio.gather(*(call(f"2001:db8::{last:x}") for last in range(1, 200))))
        # Another network is not affected, nor is any address of IPv4.
        assert await call("2001:db8:0:1::1") == 403
        assert await call("198.51.100.1") == 403


async def test_the_body_of_an_unauthenticated_request_is_neither_kept_nor_written_nor_waited_for(
    pod: Pod, tmp_path: Path
) -> None:
    """Sixty-four kilobytes each from thousands of clients: nginx wrote them to its disk for seconds."""
    await pod.running()
    async with bench(pod.database) as webhook, _nginx(webhook, tmp_path) as address:
        for size in (100, 2**16, 2**20, 2**23):
            whole = _callback(token="wrong", body=b"x" * size)
            assert _status(await said(address, whole)) == 403
            # Half of it is enough to be told so.
            assert _status(await said(address, whole[: -size // 2])) == 403
        assert list((tmp_path / "client_body").rglob("*")) == []
        assert _status(await said(address, _callback())) == 200


@pytest.mark.parametrize("size", [1, 4000])
async def test_a_body_in_chunks_ends_the_connection_before_anything_is_read_of_it(
    pod: Pod, tmp_path: Path, size: int
) -> None:
    await pod.running()
    chunk = f"{size:x}\r\n".encode() + b"[" * size + b"\r\n"
    whole = _callback(body=b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with bench(pod.database) as webhook, _nginx(webhook, tmp_path) as address:
        assert await said(address, whole + chunk * 100 + b"0\r\n\r\n") == b""
        assert _status(await said(address, _callback())) == 200


_HIDDEN = _callback()
"""A callback with a valid token in what is, or is not, the body of an unauthenticated request."""
_SIZE = str(len(_HIDDEN))
_AS_CHUNK = f"{len(_HIDDEN):x}\r\n".encode() + _HIDDEN + b"\r\n0\r\n\r\n"


_FRAMINGS: tuple[tuple[list[str], bytes], ...] = (
    ([f"Content-Length: {_SIZE}"], _HIDDEN),
    ([f"Content-Length: {_SIZE}", "Expect: 100-continue"], _HIDDEN),
    (["Content-Length: 0"], _HIDDEN),
    (["Content-Length: 0", f"Content-Length: {_SIZE}"], _HIDDEN),
    ([f"Content-Length: {_SIZE}", "Content-Length: 0"], _HIDDEN),
    ([f"Content-Length: 0, {_SIZE}"], _HIDDEN),
    ([f"Content-Length: +{_SIZE}"], _HIDDEN),
    (["Content-Length: 0x10"], _HIDDEN),
    (["Content-Length : 0"], _HIDDEN),
    (["X-A: b", " Content-Length: 0"], _HIDDEN),
    (["X-A: b\nContent-Length: 0"], _HIDDEN),
    (["X-A: b\rContent-Length: 0"], _HIDDEN),
    (["Transfer-Encoding: chunked"], _AS_CHUNK),
    (["Transfer-Encoding: chunked"], b"0\r\n\r\n" + _HIDDEN),
    (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + _HIDDEN),
    (["Transfer-Encoding: chunked", f"Content-Length: {_SIZE}"], _AS_CHUNK),
    (["Transfer-Encoding: xchunked", "Content-Length: 0"], _AS_CHUNK),
    (["Transfer-Encoding : chunked", "Content-Length: 0"], _AS_CHUNK),
    (["Transfer-Encoding:\x0bchunked", "Content-Length: 0"], _AS_CHUNK),
    (["Transfer-Encoding: identity", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + _HIDDEN),
    (["Transfer-Encoding:", " chunked", "Content-Length: 0"], _AS_CHUNK),
    (["Transfer-Encoding: chunked"], b"0;a=\n\r\n\r\n" + _HIDDEN),
    (["Transfer-Encoding: chunked"], b"0\n\n" + _HIDDEN),
)


async def test_no_framing_brings_in_a_request_behind_one_that_is_refused(pod: Pod, tmp_path: Path) -> None:
    """Nginx and we may read a body's end differently; the next request stands on another connection."""
    await pod.running()
    head = [f"POST {PATH} HTTP/1.1", "Host: pod.example.org", "Content-Type: application/json"]
    head += ["Authorization: Bearer wrong", "Connection: close"]
    async with bench(pod.database) as webhook, _nginx(webhook, tmp_path) as address:
        for headers, body in _FRAMINGS:
            whole = "\r\n".join([*head, *headers, "", ""]).encode() + body
            for asked in (webhook.address, address):
                answer = (await said(asked, whole)).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
                if answer or asked == webhook.address:
                    assert answer.count(b"HTTP/1.") == 1, headers
                    assert _status(answer) in {400, 403, 501}, headers
            assert await pod.callbacks() == [], headers
        assert _status(await said(address, _callback())) == 200


async def test_beside_half_heads_and_slow_bodies_callbacks_pass(pod: Pod, tmp_path: Path) -> None:
    await pod.running()
    half = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nX-A: "
    slow = _callback()[:-5]
    async with (
        bench(pod.database) as webhook,
        _nginx(webhook, tmp_path) as address,
        many(address, 150, half),
        many(address, 20, slow),
    ):
        registry = webhook.parts.metrics.registry
        assert _status(await said(address, _callback())) == 200
        assert registry.get_sample_value("poddispatchd_webhook_requests_total", {"code": "200"}) == 1
        assert registry.get_sample_value("poddispatchd_webhook_requests_total", {"code": "400"}) == 0
