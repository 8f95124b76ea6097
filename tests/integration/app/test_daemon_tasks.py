"""The daemon consists of tasks: each is killed, and it goes on or ends for good, but never goes deaf."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from poddispatchd.app import daemon as daemon_module
from poddispatchd.app.daemon import Daemon
from poddispatchd.database import migration
from poddispatchd.domain.task import TaskType
from poddispatchd.errors import SchemaNewerError, TaskEndedError
from poddispatchd.observability.events import Event
from poddispatchd.runtime.systemd import ServiceNotifier
from poddispatchd.web.figures import JournalFigures
from poddispatchd.web.state import DaemonState
from poddispatchd.web.status import DaemonStatus
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_TASKS = {
    "watchdog",
    "database session",
    "inbox",
    "reconciler",
    "importer",
    "dispatcher",
    "maintenance",
    "notifier",
    "hooks",
    "prober",
    "locked rows",
}


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root, Spec("first", runners=30)) as made:
        yield made


@asynccontextmanager
async def _running(pod: Scene) -> AsyncIterator[tuple[Daemon, "asyncio.Task[None]"]]:
    settings = pod.settings(
        webhook={"listen": "127.0.0.1:0"}, ops={"listen": "127.0.0.1:0"}, imports={"keep_free": "1B"}
    )
    daemon = Daemon(settings)
    running = asyncio.create_task(daemon.run())
    try:
        await _until(lambda: daemon._work is not None or running.done())
        yield daemon, running
    finally:
        daemon._stop.set()
        await asyncio.gather(running, return_exceptions=True)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def test_each_task_that_is_killed_is_started_again_and_the_queue_moves_on(pod: Scene) -> None:
    async with _running(pod) as (daemon, running):
        names = sorted(daemon._supervisor.tasks)
        assert set(names) >= _TASKS
        for name in names:
            killed = daemon._supervisor.tasks[name]
            with capture_logs() as logs:
                killed.cancel()
                await _until(lambda: daemon._supervisor.tasks.get(name) not in (None, killed))  # noqa: B023
            assert [entry["job"] for entry in logs if entry["event"] == Event.SERVICE_ENDED] == [name]
            [pk] = await pod.encodings(1)
            daemon._resources.wakeups.dispatcher.ring()
            async with asyncio.timeout(30):
                while await pod.status(pk) == "pending":
                    daemon._resources.wakeups.dispatcher.ring()
                    await asyncio.sleep(0.02)
            assert not running.done()


async def test_the_session_s_task_ending_in_silence_is_noticed(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in it left a daemon that served and never scheduled."""
    async with _running(pod) as (daemon, _):
        session = daemon._resources.session
        monkeypatch.setattr(session, "_attention", None)
        ended = daemon._supervisor.tasks["database session"]
        with capture_logs() as logs:
            ended.cancel()
            await _until(lambda: daemon._supervisor.tasks.get("database session") not in (None, ended))
        assert Event.SERVICE_ENDED in [entry["event"] for entry in logs]


async def test_a_listener_that_is_gone_ends_the_daemon(pod: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_module, "_LONGEST_BEAT", 0.05)
    async with _running(pod) as (daemon, running):
        daemon._listeners["webhook"].acceptor.close()
        with pytest.raises(TaskEndedError, match="'webhook' takes no connections"):
            await asyncio.wait_for(running, 30)


async def test_a_daemon_whose_schema_became_newer_hands_over_and_ends_in_words(pod: Scene) -> None:
    async with _running(pod) as (daemon, running):
        [pk] = await pod.encodings(1)
        daemon._resources.wakeups.dispatcher.ring()
        await _until(lambda: pod.posts("first") == 1)
        with capture_logs() as logs:
            await pod.connection.execute(
                "INSERT INTO poddispatchd.schema_version (version) VALUES ($1)", migration.LATEST + 1
            )
            # As a newer release does at the end of its upgrade.
            await pod.connection.execute("SELECT pg_notify('poddispatchd_task', 'schema upgraded')")
            with pytest.raises(SchemaNewerError, match="install the newer poddispatchd"):
                await asyncio.wait_for(running, 30)
        # Whoever schedules next need not wait, and finds the run where it is.
        assert await pod.connection.fetchval("SELECT lease_expires_at FROM poddispatchd.leader") is None
        events = [entry["event"] for entry in logs]
        assert events.index(Event.LEADER_LOST) < events.index(Event.DAEMON_STOPPING)
        assert (await pod.row(pk))["type"] == TaskType.ENCODING


async def test_a_status_that_cannot_be_told_ends_nobody(pod: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signs of life went with it: after six of them the daemon ended, and after five starts for good."""
    monkeypatch.setattr(daemon_module, "_LONGEST_BEAT", 0.01)

    def broken(*_: object, **__: object) -> DaemonState:
        raise ValueError("a row that nobody foresaw")

    monkeypatch.setattr(DaemonStatus, "state", broken)
    beats: list[bool] = []

    def beat(_: ServiceNotifier) -> bool:
        beats.append(True)
        return True

    monkeypatch.setattr(ServiceNotifier, "watchdog", beat)
    with capture_logs() as logs:
        async with _running(pod) as (daemon, running):
            beats.clear()  # those of the start, while there is nothing to tell
            await _until(lambda: len(beats) >= 20 or running.done())
            assert not running.done()
            assert "watchdog" in daemon._supervisor.tasks
    told = [entry for entry in logs if entry["event"] == Event.SERVICE_CRASHED]
    assert [entry["job"] for entry in told] == ["status for systemd"]


async def test_metrics_are_shown_though_a_count_cannot_be_made(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row that nobody foresaw, and Prometheus saw no daemon at all."""

    async def broken(_: JournalFigures) -> None:
        raise ValueError("a row that nobody foresaw")

    monkeypatch.setattr(JournalFigures, "measure_backlogs", broken)
    async with _running(pod) as (daemon, _):
        url = f"http://{daemon._listeners['ops'].address}"
        async with aiohttp.ClientSession() as session:
            for path in ("/metrics", "/status", "/api/status"):
                async with session.get(url + path) as answer:
                    assert answer.status == 200, path
            async with session.get(f"{url}/health/ready") as answer:
                ready = await answer.json()
    assert ready["ready"]
    assert "The count for whoever looks fails" in " ".join(ready["problems"])
