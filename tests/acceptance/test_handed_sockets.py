"""The webhook on a socket that systemd keeps: no callback is refused while the daemon is restarted."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import pytest

from poddispatchd.domain.task import TaskType
from tests.acceptance.process import Process
from tests.acceptance.rig import TOKEN, Rig

_HAND_OVER = """\
import os, sys
for position in range(int(sys.argv[1])):
    os.dup2(int(sys.argv[3 + position]), 3 + position)
os.environ |= {
    "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[1], "LISTEN_FDNAMES": sys.argv[2]
}
os.execv(sys.executable, [sys.executable, "-m", "poddispatchd", *sys.argv[3 + int(sys.argv[1]):]])
"""
"""What systemd does before it starts a service: the sockets are there from descriptor 3 on."""

_WIDE = 100
"""Callbacks that run side by side."""


@pytest.fixture
def kept() -> Iterator[socket.socket]:
    """A listening socket that stays open, as a socket unit's."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as kept:
        yield kept


async def _start(rig: Rig, handed: socket.socket, name: str = "webhook", *options: str) -> Process:
    # Out of the way of the numbers that it is to have.
    number = os.dup(handed.fileno())
    while number < 10:
        number = os.dup(number)
    os.set_inheritable(number, True)
    command = ["1", name, str(number), "run", "-c", str(rig.config), *options]
    process = await Process.start(*command, program=(sys.executable, "-c", _HAND_OVER), inherited=(number,))
    os.close(number)
    rig.processes.append(process)
    return process


@dataclass(slots=True)
class _Load:
    """Callbacks without a pause, each on a connection of its own as from a web server."""

    url: str
    task_id: str
    answers: list[object] = field(default_factory=list)
    is_over: bool = False

    async def run(self) -> None:
        await asyncio.gather(*(self._caller() for _ in range(8)))

    async def _caller(self) -> None:
        body = {"task_id": self.task_id, "status": "completed"}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        connector = aiohttp.TCPConnector(force_close=True)
        # As long as a runner manager waits.
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self.is_over:
                try:
                    async with session.post(self.url, json=body, headers=headers) as answer:
                        self.answers.append(answer.status)
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    self.answers.append(repr(error))

    async def go_on_for(self, count: int) -> None:
        """Until so many more were answered."""
        until = len(self.answers) + count
        async with asyncio.timeout(60):
            while len(self.answers) < until:  # noqa: ASYNC110 - the callers have no event to wait for
                await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_no_callback_is_refused_while_the_daemon_is_restarted(rig: Rig, kept: socket.socket) -> None:
    [task] = await rig.add(TaskType.ENCODING)
    daemon = await _start(rig, kept)
    await rig.is_ready(daemon)
    await daemon.event("task.completed", task=task)
    load = _Load(f"{rig.webhook}/runner/notify_task_end/", next(iter(rig.manager.tasks)))
    calling = asyncio.create_task(load.run())

    for _ in range(3):
        await load.go_on_for(_WIDE)
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        daemon = await _start(rig, kept)
        await daemon.event("daemon.ready")
    await load.go_on_for(_WIDE)
    load.is_over = True
    await calling

    assert {answer for answer in load.answers if answer != 200} == set()


async def test_a_socket_of_systemd_wins_over_the_address_of_the_settings_and_the_log_says_so(
    rig: Rig, kept: socket.socket
) -> None:
    daemon = await _start(rig, kept)

    address = "{}:{}".format(*kept.getsockname())
    received = await daemon.event("socket.received")
    assert (received["address"], received["instead_of"]) == (address, "webhook.listen (127.0.0.1:0)")
    assert (await daemon.event("daemon.ready"))["webhook"] == address


async def test_callers_are_told_to_call_again_when_the_database_stays_away(
    rig: Rig, kept: socket.socket
) -> None:
    dead = rig.database.dsn.get_secret_value().rpartition("@")[0] + "@127.0.0.1:1/nowhere"
    rig.use(dead)
    await _start(rig, kept)
    url = "http://{}:{}/runner/notify_task_end/".format(*kept.getsockname())
    async with aiohttp.ClientSession() as session:
        timeout = aiohttp.ClientTimeout(total=15)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        body = {"task_id": "1", "status": "completed"}
        async with session.post(url, json=body, headers=headers, timeout=timeout) as answer:
            assert (answer.status, answer.headers.get("Retry-After")) == (503, "30")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("poddispatchd-webhook.socket", (), "set FileDescriptorName=webhook in its socket unit"),
        ("webhook", ("--dry-run",), "a shadow (--dry-run) takes no callbacks"),
    ],
)
async def test_a_socket_that_cannot_be_used_is_refused_in_words(
    rig: Rig, kept: socket.socket, name: str, options: tuple[str, ...], words: str
) -> None:
    daemon = await _start(rig, kept, name, *options)

    assert await daemon.ended() == 2
    assert words in daemon.text
