"""What anybody can do to a listener: connect, and be sent away."""

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from poddispatchd.config.units import Address
from poddispatchd.errors import ConfigurationError
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.web import acceptor, binding, protocol
from poddispatchd.web import listener as listener_module
from poddispatchd.web.connection_limits import ListenerLimits
from poddispatchd.web.listener import ListenerOptions, listening
from tests.integration.web.wire import connect, ended, many, said
from tests.ipv6 import needs_ipv6

_ANY = Address("127.0.0.1", 0)
_GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello" if request.method == "GET" else str(len(await request.read())))


@asynccontextmanager
async def _listener(metrics: Metrics | None = None, **limits: float | None) -> AsyncIterator[Address]:
    chosen = ListenerLimits(**{"head_seconds": 60.0, **limits})  # type: ignore[arg-type] # a test's numbers
    async with listening(
        _hello, _ANY, "webhook.listen", ListenerOptions(limits=chosen, metrics=metrics)
    ) as address:
        yield address


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged by asyncio or aiohttp, at any level, but that a selector is used."""
    caplog.set_level(logging.DEBUG)
    yield
    lines = [record.getMessage() for record in caplog.records if "selector" not in record.getMessage()]
    assert [line for line in lines if not line.startswith("{")] == []


async def _say_for_ever(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Go on until the other side ends it; an hour later would be too late."""
    for _ in range(1000):
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.02)


async def test_several_requests_of_one_connection_are_answered() -> None:
    async with _listener() as address:
        answers = await said(address, _GET * 3 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK") == 4


async def test_an_answer_names_no_version_and_is_not_kept_or_guessed_at() -> None:
    async with _listener() as address:
        for data in (
            _GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            b"\x16\x03\x01",
            b"GET\r\n\r\n",
        ):
            head = (await said(address, data)).partition(b"\r\n\r\n")[0]
            assert b"\r\nServer: poddispatchd\r\n" in head + b"\r\n"
            assert b"aiohttp" not in head
            assert b"Python" not in head


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 200,
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer top-secret\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer top-secret\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, top-secret\r\n\r\n",
        b"GET top-secret HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[top-secret/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: top-secret\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"top-secret" * 900 + b"\r\n\r\n",
        b"GET /" + b"top-secret" * 900 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"top-secret" * 2000,
        b"top-secret / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nExpect: top-secret\r\n\r\n",
        b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
    ],
    ids=lambda data: ascii(data[:60]),
)
async def test_what_is_no_request_is_refused_without_quoting_it(
    data: bytes, capsys: pytest.CaptureFixture[str], quiet: None
) -> None:
    async with _listener() as address:
        answer = await said(address, data)
    assert answer[:10] in (b"HTTP/1.0 4", b"HTTP/1.1 4")
    out = capsys.readouterr()
    for text in (answer.decode("latin-1"), out.out, out.err):
        assert "top-secret" not in text
        assert "Traceback" not in text


async def test_a_body_with_broken_framing_is_the_peers_mistake(quiet: None) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with _listener() as address:
        for body in (b"zz\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"-1\r\n\r\n", b"ffffffffffffffffffff\r\n"):
            assert b" 5" not in (await said(address, head + body)).partition(b"\r\n")[0]


async def test_of_thousands_of_them_two_lines_are_logged() -> None:
    with capture_logs() as logged:
        async with _listener() as address:
            for _ in range(300):
                await said(address, b"\xff\xff")
    [line] = [entry for entry in logged if entry["event"] == "requests.refused"]
    assert (line["log_level"], line["status"], line["reason"]) == ("warning", 400, "not HTTP")


async def test_a_bug_of_ours_is_answered_503_and_tells_where_it_is_but_no_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def broken(request: web.BaseRequest) -> web.Response:
        raise KeyError(request.headers["Authorization"])

    with capture_logs() as logged:
        async with listening(broken, _ANY, "webhook.listen") as address:
            answer = await said(address, b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: top-secret\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")
    [line] = [entry for entry in logged if entry["event"] == "service.crashed"]
    assert line["error"] == "KeyError"
    assert "broken" in line["place"]
    assert "top-secret" not in f"{answer!r}{logged}{capsys.readouterr()}"


async def test_a_peer_that_has_gone_is_no_bug_of_ours() -> None:
    async def slow(_: web.BaseRequest) -> web.Response:
        arrived.set()
        await gone.wait()
        raise ConnectionResetError("Cannot write to closing transport")

    arrived, gone = asyncio.Event(), asyncio.Event()
    with capture_logs() as logged:
        async with listening(slow, _ANY, "ops.listen") as address:
            _, writer = await connect(address)
            writer.write(_GET)
            await arrived.wait()
            writer.transport.abort()
            gone.set()
    assert logged == []


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost:", b"\r\n"], ids=ascii)
async def test_whoever_says_nothing_or_half_of_it_is_sent_away(
    data: bytes, monkeypatch: pytest.MonkeyPatch, quiet: None
) -> None:
    monkeypatch.setattr(listener_module, "_LOOK", 0.05)
    metrics = Metrics()
    async with _listener(metrics, head_seconds=0.3) as address, many(address, 20, data) as readers:
        assert await ended(readers) == 20
    assert (
        metrics.registry.get_sample_value(
            "poddispatchd_http_connections_dropped_total", {"listener": "webhook", "reason": "late"}
        )
        == 20
    )


async def test_byte_by_byte_is_no_way_to_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "_LOOK", 0.05)
    async with _listener(head_seconds=0.5) as address:
        reader, writer = await connect(address)
        with pytest.raises(OSError):  # noqa: PT011 - reset, or broken
            await _say_for_ever(writer, b"G")
        writer.close()
        assert reader.at_eof() or reader.exception()


async def test_a_peer_that_reads_no_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_WRITE_SECONDS", 0.2)

    async def much(_: web.BaseRequest) -> web.Response:
        return web.Response(body=bytes(2**24))

    async with listening(much, _ANY, "ops.listen") as address:
        _, writer = await connect(address)
        writer.write(_GET)
        with pytest.raises(OSError):  # noqa: PT011 - reset, or broken
            await _say_for_ever(writer, b"\r\n")
        writer.close()


async def test_of_too_many_connections_the_oldest_silent_ones_make_room_and_requests_are_answered() -> None:
    with capture_logs() as logged:
        async with _listener(most=30, most_of_one=None) as address, many(address, 100) as readers:
            assert b"hello" in await said(address, _GET.replace(b"x", b"x\r\nConnection: close"))
            assert await ended(readers, within=1) >= 70
    assert [entry["event"] for entry in logged] == ["connections.limited"]


@pytest.mark.parametrize("kind", ["sends no body", "reads no answer"])
async def test_whoever_lets_us_wait_during_a_request_makes_room_too(kind: str) -> None:
    """Sixty-four clients that announced a body and sent none kept every probe out for five seconds."""

    async def much(request: web.BaseRequest) -> web.Response:
        return web.Response(body=bytes(2**24) if request.path == "/much" else b"hello")

    announced = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    data = announced if kind == "sends no body" else b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n"
    limits = ListenerLimits(most=16, most_of_one=None)
    async with listening(much, _ANY, "ops.listen", ListenerOptions(limits=limits)) as address:
        silent = []
        for _ in range(16):
            reader, writer = await connect(address)
            writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's
            writer.write(data)
            silent.append((reader, writer))
        await asyncio.sleep(0.2)
        for _ in range(8):
            assert b"hello" in await said(address, _GET.replace(b"x", b"x\r\nConnection: close"))
        for _, writer in silent:
            writer.transport.abort()


async def test_whoever_finds_all_connections_busy_is_told_so() -> None:
    """Beside sixty-four slow questions the next one was reset: a person and a monitor saw a dead daemon."""
    end = asyncio.Event()

    async def busy(_: web.BaseRequest) -> web.Response:
        await end.wait()
        return web.Response(text="hello")

    limits = ListenerLimits(most=16, most_of_one=None)
    async with (
        listening(busy, _ANY, "ops.listen", ListenerOptions(limits=limits)) as address,
        many(address, 16, _GET.replace(b"x", b"x\r\nConnection: close")) as readers,
    ):
        silent = await connect(address)
        for data in (_GET, _GET[:9], b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n"):
            answer = await said(address, data)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert answer.endswith(b'{"error": "All connections are in use: ask again in some seconds."}')
        assert (await silent[0].read()).startswith(b"HTTP/1.1 503 ")
        silent[1].close()
        # However many come, and whether they say something or not: of a crowd some are reset.
        crowd = await asyncio.gather(*(said(address, b"") for _ in range(200)), return_exceptions=True)
        answered = [each for each in crowd if isinstance(each, bytes)]
        assert all(each in (b"", answer) for each in answered)
        assert 0 < answered.count(answer) < 200
        end.set()
        for reader in readers:
            assert (await reader.read()).endswith(b"hello")
        assert (await said(address, _GET.replace(b"x", b"x\r\nConnection: close"))).endswith(b"hello")


async def test_one_address_does_not_crowd_out_another() -> None:
    async with _listener(most=1000, most_of_one=10) as address:
        other = socket.socket()
        other.bind(("127.0.0.2", 0))
        other.setblocking(False)
        await asyncio.get_running_loop().sock_connect(other, (address.host, address.port))
        reader, writer = await asyncio.open_connection(sock=other)
        async with many(address, 60) as readers:
            assert await ended(readers, within=1) == 50
            writer.write(_GET)
            assert b"200" in await reader.readline()
        writer.close()


async def test_without_descriptors_it_neither_spins_nor_stops(quiet: None) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with capture_logs() as logged:
        async with _listener(most=100_000, most_of_one=None) as address:
            opened = [socket.socket() for _ in range(40)]
            lowest = max(each.fileno() for each in opened)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 8, hard))
            try:
                # The peers' ends count as well here: these were made before.
                for each in opened:
                    each.setblocking(False)
                    await asyncio.get_running_loop().sock_connect(each, (address.host, address.port))
                await asyncio.sleep(1)
                used = os.times()
                await asyncio.sleep(1)
                spent = os.times()
                assert (spent.user + spent.system) - (used.user + used.system) < 0.5
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for each in opened:
                    each.close()
            async with asyncio.timeout(20):
                assert b"hello" in await said(address, _GET.replace(b"x", b"x\r\nConnection: close"))
    assert [entry["event"] for entry in logged][:1] == ["connections.limited"]
    assert len(logged) <= 2


def test_descriptors_are_kept_back_for_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    assert (
        listener_module._within_descriptors(ListenerLimits(most=2000)).most
        == 1024 - listener_module.KEPT_BACK
    )
    assert listener_module._within_descriptors(ListenerLimits(most=64)).most == 64
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    assert listener_module._within_descriptors(ListenerLimits(most=2000)).most == 25


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "no such address"),
        # Where no name server answers, that is said.
        ("no-such-host.invalid", "(no such host|cannot be looked up now)"),
        (f"{'a' * 70}.example.org", "no host can have this name"),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_told_in_words(
    host: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binding, "_PATIENCE", 0.0)
    with pytest.raises(ConfigurationError, match=f"webhook.listen: cannot listen on .*{words}"):
        async with listening(_hello, Address(host, 0), "webhook.listen"):
            pass


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    ],
)
async def test_an_address_that_comes_while_the_machine_starts_is_waited_for(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon ended as if its configuration were wrong, and nobody started it again."""
    told: list[str] = []
    tries = [error, error]
    bind = acceptor.bind

    async def late(host: str, port: int) -> list[socket.socket]:
        if tries:
            raise tries.pop()
        return await bind(host, port)

    monkeypatch.setattr(acceptor, "bind", late)
    monkeypatch.setattr(binding, "_EVERY", 0.0)
    with capture_logs() as logs:
        async with listening(
            _hello, Address("127.0.0.1", 0), "webhook.listen", ListenerOptions(waits=told.append)
        ) as address:
            assert b"hello" in await said(address, _GET.replace(b"x", b"x\r\nConnection: close"))
    assert [entry["event"] for entry in logs] == [Event.LISTENER_WAITS]
    assert len(told) == 1
    assert told[0].startswith("Waiting for webhook.listen: cannot listen on 127.0.0.1:0: ")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_an_address_needs_no_thread_that_looks_it_up(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Where the system gave none, 127.0.0.1 was called a host that does not exist."""

    async def refused(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_AGAIN, "no thread to look it up")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", refused)
    sockets = await acceptor.bind(host, 0)
    assert [each.getsockname()[0] for each in sockets] == [host]
    acceptor.close(sockets)


async def test_an_address_in_use_is_told_in_words() -> None:
    async with _listener() as address:
        with pytest.raises(ConfigurationError, match="another program listens there"):
            async with listening(_hello, address, "webhook.listen"):
                pass


async def test_both_families_of_a_name_are_listened_on() -> None:
    async with listening(_hello, Address("localhost", 0), "webhook.listen") as address:
        assert b"hello" in await said(
            Address("127.0.0.1", address.port), _GET.replace(b"x", b"x\r\nConnection: close")
        )
