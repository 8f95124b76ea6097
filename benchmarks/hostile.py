"""Real callbacks beside hostile connections: ``python -m benchmarks.hostile [CONNECTIONS [ATTACK…]]``.

The webhook runs in a process of its own, with a real database behind it. Each kind of attack is made by
another process while callbacks are made one after the other, over new connections and over one that is kept
in turn, and timed. ``bare`` is a server of aiohttp alone under the same attack, which answers at once and
keeps connections open for ever: what it takes is the machine's, and the attacker's share of it. ``nginx`` is
the daemon behind nginx with the snippet that we ship. In the environment HOSTILE_ON says which of them are
attacked (``daemon bare``), HOSTILE_FROM from how many addresses (1). The exit status is 1 when a callback to
the daemon, or to nginx before it, was not answered 200.
"""

import argparse
import asyncio
import gc
import gzip
import json
import math
import multiprocessing
import os
import random
import statistics
import sys
import time
from contextlib import AsyncExitStack, suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.clock import Clock
from poddispatchd.config.listeners import WebhookSettings
from poddispatchd.config.units import Address
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.postgresql import PostgresServer
from poddispatchd.web.listener import ListenerOptions, listening
from poddispatchd.web.webhook import early_answers, webhook_application, webhook_limits
from tests.integration.callbacks.nginx import nginx
from tests.integration.pod import rows

PATH = "/runner/notify_task_end/"
TOKEN = "token-of-the-benchmark"
_SECONDS = 10.0


def _request(*headers: str, body: bytes = b"", token: str = TOKEN, length: bool = True) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    lines += [f"Authorization: Bearer {token}", *([f"Content-Length: {len(body)}"] if length else [])]
    lines += [*headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


_ANOTHER = b"another-token-each-time"
_CLOSE = b"close"
"""Instead of anything to say: the connection is closed at once."""

_DRIP = _request("Transfer-Encoding: chunked", token="wrong", length=False) + b"1\r\n"
"""After it, and after "G", one byte a second follows for ever."""

_BOMB = gzip.compress(b"[" + b"[]," * (8 * 2**20 // 3) + b"[]]")
ATTACKS: dict[str, tuple[bytes, ...]] = {
    "nothing": (),
    "silent": (b"",),
    "half a head": (b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ",),
    "byte by byte": (b"G",),
    "idle after 404": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",),
    "connect and close": (_CLOSE,),
    "wrong token": (_request(body=b"{}", token="wrong"),),
    "another token each time": (_request(body=b"{}", token=_ANOTHER.decode()),),
    "slow body": (_DRIP,),
    "head of 15 KiB": (b"POST / HTTP/1.1\r\nHost: x\r\n" + b"A: aaaaaaaaaaaa\r\n" * 900,),
    "wrong token, 64 KiB": (_request(body=b"[" + b"[]," * 21_000 + b"[]]", token="wrong"),),
    "wrong token, gzip bomb": (_request("Content-Encoding: gzip", body=_BOMB, token="wrong"),),
    "wrong token, chunks of 1 byte": (
        _request("Transfer-Encoding: chunked", token="wrong", length=False) + b"1\r\na\r\n" * 20_000,
    ),
    "no plain request": (b"P@ST / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "garbage": (b"\x16\x03\x01" + b"\xff" * 200,),
    "bad framing": (_request("Transfer-Encoding: chunked, x", length=False) + b"zz\r\n",),
}
ATTACKS["all of them"] = tuple(data for kind in ATTACKS.values() for data in kind)


async def _serve_bare(pipe: Pipe) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "Invalid Bearer token."}, status=403)
        await request.read()
        return web.json_response({"status": "OK"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    pipe.send(runner.addresses[0][1])
    await asyncio.to_thread(pipe.recv)
    await runner.cleanup()


async def _serve(pipe: Pipe, dsn: str) -> None:
    clock, metrics, wakeups = Clock(), Metrics(), Wakeups()
    from poddispatchd.domain.secret import SecretStr  # noqa: PLC0415 - of the child only

    database = Database(SecretStr(dsn))
    await database.open()
    settings = WebhookSettings(listen=Address("127.0.0.1", 0))
    receiver = CallbackReceiver(database, ManagerRegistry(clock, metrics), wakeups, clock)
    handler = webhook_application(receiver, settings, metrics=metrics, clock=clock)
    async with listening(
        handler,
        settings.listen,
        "webhook.listen",
        ListenerOptions(
            limits=webhook_limits(settings),
            trusted=settings.trusted_proxies,
            metrics=metrics,
            early=early_answers(receiver, settings, metrics=metrics, clock=clock),
        ),
    ) as address:
        pipe.send(address.port)
        await asyncio.to_thread(pipe.recv)


def _server(pipe: Pipe, dsn: str | None) -> None:
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    sys.stdout = sys.stderr
    gc.collect()
    gc.freeze()  # as the daemon does with what it has imported
    asyncio.run(_serve_bare(pipe) if dsn is None else _serve(pipe, dsn))


async def _attack(port: int, kinds: tuple[bytes, ...], connections: int) -> None:
    generator = random.Random(1)
    addresses = int(os.environ.get("HOSTILE_FROM", "1"))

    async def one(number: int) -> None:
        # One address is the one that callbacks come from, too.
        source = f"127.0.{number % addresses // 250 + 1}.{number % addresses % 250 + 1}"
        local = None if addresses == 1 else (source, 0)
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
                try:
                    data = generator.choice(kinds)
                    if data is not _CLOSE:
                        writer.write(data.replace(_ANOTHER, b"%d" % generator.getrandbits(60)))
                    while data in (b"G", _DRIP) and not reader.at_eof():
                        await asyncio.sleep(1)
                        writer.write(b"E")
                        await writer.drain()
                    if data is not _CLOSE:
                        await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(generator.random())

    await asyncio.gather(*map(one, range(connections)))


def _attacker(port: int, kinds: tuple[bytes, ...], connections: int) -> None:
    os.nice(5)
    asyncio.run(_attack(port, kinds, connections))


class _Caller:
    """A runner manager that makes callbacks, over new connections and over one that it keeps."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.times: list[float] = []
        self.failed = 0

    async def call(self, number: int) -> None:
        """Make one, and note how long it took."""
        body = json.dumps({"task_id": "t-1", "status": "running", "script_output": f"{number}"}).encode()
        keeps = number % 2 == 0
        begun = time.perf_counter()
        try:
            opened = self._kept if keeps else None
            reader, writer = opened or await asyncio.open_connection("127.0.0.1", self._port)
            self._kept = (reader, writer) if keeps else self._kept
            writer.write(_request(*([] if keeps else ["Connection: close"]), body=body))
            answer = await reader.readuntil(b"}")
            if not keeps:
                writer.close()
            self.failed += not answer.startswith(b"HTTP/1.1 200 ")
        except (OSError, asyncio.IncompleteReadError):
            self.failed += 1
            self._kept = None if keeps else self._kept
        self.times.append(time.perf_counter() - begun)


async def _callbacks(port: int, seconds: float) -> tuple[list[float], int]:
    """The times that callbacks took, and how many were not answered 200."""
    caller, until, number = _Caller(port), time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        number += 1
        await caller.call(number)
        await asyncio.sleep(0.02)
    return caller.times, caller.failed


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - thousands


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def _prepare(dsn: str) -> None:
    from poddispatchd.domain.secret import SecretStr  # noqa: PLC0415

    database = Database(SecretStr(dsn))
    await database.open()
    async with database.connection() as connection:
        await create_schema(connection, SchemaVariant.NOPODFILE)
        site = await rows.site(connection, "pod.example.org")
        manager = await rows.manager(connection, site, token=TOKEN)
        await rows.task(connection, status="running", task_id="t-1", runner_manager_id=manager)
    await migration.upgrade(database)
    await database.close()


async def _measure(connections: int, name: str, on: str, dsn: str) -> tuple[str, int]:
    """One line about one attack on the daemon, behind nginx or not, or on aiohttp alone; how many failed."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    daemon = context.Process(target=_server, args=(theirs, None if on == "bare" else dsn))
    daemon.start()
    port = await asyncio.to_thread(ours.recv)
    try:
        if on != "nginx":
            return await _figures(daemon.pid or 0, port, name, connections)
        with TemporaryDirectory() as directory:
            async with nginx(Address("127.0.0.1", port), Path(directory)) as address:
                return await _figures(daemon.pid or 0, address.port, name, connections)
    finally:
        ours.send(None)
        daemon.join(10)
        daemon.kill()


async def _figures(pid: int, port: int, name: str, connections: int) -> tuple[str, int]:
    context, kinds = multiprocessing.get_context("spawn"), ATTACKS[name]
    attacker = context.Process(target=_attacker, args=(port, kinds, connections))
    if kinds:
        attacker.start()
        await asyncio.sleep(3)
    used, theirs_used = _processor(pid), _processor(attacker.pid) if attacker.pid else 0.0
    times, failed = await _callbacks(port, _SECONDS)
    memory, open_files = _memory(pid), _descriptors(pid)
    share = (_processor(pid) - used) / _SECONDS
    their_share = (_processor(attacker.pid) - theirs_used) / _SECONDS if attacker.pid else 0.0
    if kinds:
        attacker.terminate()
        attacker.join()
    # Where hardly a callback gets through there is nothing to tell of them.
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else [math.inf] * 99
    return (
        f"{cuts[49] * 1000:6.1f}ms {cuts[98] * 1000:6.1f}ms {max(times, default=math.inf) * 1000:6.1f}ms"
        f" {failed:4}/{len(times):<4} {memory:5.0f}MiB {open_files:6} {share:5.0%} {their_share:8.0%}"
    ), failed


async def _attacks(connections: int, names: list[str]) -> int:
    """A line for each; how many callbacks to the daemon failed."""
    print(
        f"{'attack':>30} {'on':>6} {'p50':>8} {'p99':>8} {'max':>8} {'failed':>9} {'memory':>8} {'files':>6}"
        f" {'CPU':>5} {'attacker':>8}"
    )
    failures = 0
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(PostgresServer())
        dsn = server.dsn().get_secret_value()
        await _prepare(dsn)
        for name in names or ATTACKS:
            for on in os.environ.get("HOSTILE_ON", "daemon bare").split():
                line, failed = await _measure(connections, name, on, dsn)
                print(f"{name:>30} {on:>6} {line}", flush=True)
                failures += failed if on != "bare" else 0
    return failures


def main(arguments: list[str]) -> int:
    """Attack and print; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("connections", nargs="?", type=int, default=5000, help="default: %(default)s")
    parser.add_argument(
        "names", nargs="*", metavar="attack", help="those only, of:\n" + "\n".join(map(repr, ATTACKS))
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in ATTACKS]:
        parser.error(f"unknown: {', '.join(map(repr, unknown))}")
    return 1 if asyncio.run(_attacks(options.connections, options.names)) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
