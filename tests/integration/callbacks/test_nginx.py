"""The snippet that we ship, in a real nginx in front of the real webhook."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from structlog.testing import capture_logs

from poddispatchd.config.units import Address
from poddispatchd.sandbox.ports import free_ports
from tests.integration.callbacks.bench import PATH, Bench, ShiftedClock, bench
from tests.integration.callbacks.conftest import TOKEN, Pod
from tests.integration.web.wire import connect, many, said

_ROOT = Path(__file__).parents[3]
_SNIPPETS = _ROOT / "contrib" / "nginx"
_UNPACKED = _ROOT / ".venv" / "nginx"
_MISSING = (
    "nginx is not here. 'make nginx' unpacks Debian's; elsewhere, or without apt, install it "
    "(on Debian as root: apt-get install nginx)."
)


def _installed() -> tuple[str, dict[str, str]]:
    """The program and its environment; no test is left out because it is missing."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is not None:
        return found, {}
    program = _UNPACKED / "usr" / "sbin" / "nginx"
    assert program.exists(), _MISSING
    folders = [*_UNPACKED.glob("usr/lib/*-linux-*"), *_UNPACKED.glob("lib/*-linux-*")]
    return str(program), {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


@asynccontextmanager
async def _nginx(webhook: Bench, directory: Path) -> AsyncIterator[Address]:
    [port] = free_ports(1)
    snippet = (_SNIPPETS / "poddispatchd.conf").read_text(encoding="utf-8")
    assert "127.0.0.1:8765" in snippet
    assert "burst=1000 " in snippet
    (directory / "location.conf").write_text(
        # A tenth of the burst, for a test that takes a second.
        snippet.replace("127.0.0.1:8765", str(webhook.address)).replace("burst=1000 ", "burst=100 "),
        encoding="utf-8",
    )
    folders = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (directory / "nginx.conf").write_text(
        f"daemon off; master_process off; {user} pid {directory}/pid; error_log {directory}/error.log info;"
        f"events {{ worker_connections 1024; }} http {{ access_log off; {folders}"
        f"include {_SNIPPETS}/poddispatchd-limits.conf;"
        f"server {{ listen 127.0.0.1:{port}; client_header_timeout 1s;"
        f"include {directory}/location.conf; }} }}",
        encoding="utf-8",
    )
    program, environment = _installed()
    process = await asyncio.create_subprocess_exec(
        program,
        *("-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")),
        env={"PATH": os.defpath, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    address = Address("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            while process.returncode is None:
                try:
                    _, writer = await connect(address)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        assert process.returncode is None, (await process.communicate())[1]
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


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


async def test_half_heads_and_slow_bodies_do_not_reach_us(pod: Pod, tmp_path: Path) -> None:
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
