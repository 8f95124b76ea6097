"""The webhook on a socket that systemd keeps: no callback is refused while the daemon is restarted."""

import signal
import socket
from collections.abc import Iterator

import aiohttp
import pytest

from poddispatchd.domain.task import TaskType
from tests.acceptance.callback_load import CallbackLoad
from tests.acceptance.process import Process
from tests.acceptance.rig import TOKEN, Rig

_WIDE = 100
"""Callbacks that run side by side."""


@pytest.fixture
def kept() -> Iterator[socket.socket]:
    """A listening socket that stays open, as a socket unit's."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as kept:
        yield kept


async def _start(rig: Rig, handed: socket.socket, name: str = "webhook", *options: str) -> Process:
    process = await Process.start(*("run", "-c", str(rig.config), *options), handed={name: handed.fileno()})
    rig.processes.append(process)
    return process


@pytest.mark.slow
async def test_no_callback_is_refused_while_the_daemon_is_restarted(rig: Rig, kept: socket.socket) -> None:
    [task] = await rig.add(TaskType.ENCODING)
    daemon = await _start(rig, kept)
    await rig.is_ready(daemon)
    await daemon.event("task.completed", task=task)
    load = CallbackLoad(f"{rig.webhook}/runner/notify_task_end/", next(iter(rig.manager.tasks)), TOKEN)
    load.start()

    for _ in range(3):
        await load.go_on_for(_WIDE)
        daemon.signal(signal.SIGTERM)
        assert await daemon.ended() == 0
        daemon = await _start(rig, kept)
        await daemon.event("daemon.ready")
    await load.go_on_for(_WIDE)

    assert await load.refused() == []


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
        ("webhook", ("--dry-run",), "disable --now poddispatchd-webhook.socket'), a shadow"),
    ],
)
async def test_a_socket_that_cannot_be_used_is_refused_in_words(
    rig: Rig, kept: socket.socket, name: str, options: tuple[str, ...], words: str
) -> None:
    daemon = await _start(rig, kept, name, *options)

    assert await daemon.ended() == 2
    assert words in daemon.text
