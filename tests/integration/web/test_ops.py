"""The private listener shows itself to nobody else's pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from poddispatchd.config.units import Address
from poddispatchd.observability.metrics import Metrics
from poddispatchd.web.listener import ListenerOptions, listening
from poddispatchd.web.ops import OPS_HEADERS, OPS_LIMITS, ops_application
from tests.integration.web.wire import ended, many, said


@asynccontextmanager
async def _ops(*allowed: str) -> AsyncIterator[Address]:
    application = ops_application(
        Metrics(), lambda: None, list, waiting=lambda: "It waits.", allowed_hosts=allowed
    )
    async with listening(
        application,
        Address("127.0.0.1", 0),
        "ops.listen",
        ListenerOptions(limits=OPS_LIMITS, headers=OPS_HEADERS),
    ) as address:
        yield address


async def _get(address: Address, path: str, *headers: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", *headers, "Connection: close", "", "")
    return await said(address, "\r\n".join(lines).encode("latin-1"))


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("127.0.0.1:9765", True),
        ("127.0.0.1", True),
        ("[::1]:9765", True),
        ("10.1.2.3:9765", True),
        ("localhost:9765", True),
        ("LOCALHOST", True),
        ("pod.example.org:9765", True),
        ("Pod.Example.org.", True),
        ("evil.example.net:9765", False),
        ("localhost.evil.example.net", False),
        ("127.0.0.1.evil.example.net", False),
        ("pod.example.org.evil.example.net", False),
        ("", False),
        ("x@127.0.0.1", False),
        ("[::1].evil.example.net", False),
        ("[::1", False),
        ("[evil.example.net]", False),
        ("\xff", False),
    ],
)
async def test_a_page_cannot_reach_it_by_a_name_of_its_own(host: str, is_served: bool) -> None:
    async with _ops("pod.example.org") as address:
        for path in ("/metrics", "/status", "/api/status", "/health/live", "/health/ready", "/", "/none"):
            answer = await _get(address, path, f"Host: {host}")
            assert (b" 421 " in answer.partition(b"\r\n")[0]) is not is_served, (path, answer)
            if not is_served:
                assert b"poddispatchd_" not in answer


@pytest.mark.parametrize("path", ["/metrics", "/status", "/api/status", "/health/live", "/health/ready"])
async def test_whatever_stands_behind_the_question_mark_changes_nothing(path: str) -> None:
    queries = ("limit=99999999999999999999", "limit=-1", "limit=%00", "a=%ff%fe", "a&&&=;", "a=" + "x" * 6000)
    async with _ops() as address:
        plain = (await _get(address, path, "Host: localhost")).partition(b"\r\n")[0]
        for query in queries:
            assert (await _get(address, f"{path}?{query}", "Host: localhost")).startswith(plain)
        for odd in ("%00", "/%2e%2e/", "/../x", "%ff"):
            answer = await _get(address, f"{path}{odd}", "Host: localhost")
            assert answer.startswith(b"HTTP/1.1 404 ")
            assert b"Traceback" not in answer


async def test_a_health_check_without_a_name_is_answered() -> None:
    async with _ops() as address:
        assert b" 200 " in await said(address, b"GET /health/live HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("path", ["/metrics", "/status", "/api/status", "/health/live", "/none"])
async def test_no_answer_is_framed_guessed_at_or_kept(path: str) -> None:
    async with _ops() as address:
        head = (await _get(address, path, "Host: localhost")).partition(b"\r\n\r\n")[0].decode()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "poddispatchd"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
async def test_nothing_but_looking_is_possible(method: str) -> None:
    async with _ops() as address:
        answer = await said(
            address, f"{method} /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
        assert b"Traceback" not in answer


async def test_it_is_crowded_by_nobody() -> None:
    async with _ops() as address, many(address, 200) as readers:
        assert b" 200 " in await _get(address, "/health/live", "Host: localhost")
        assert await ended(readers, within=1) >= 200 - OPS_LIMITS.most
