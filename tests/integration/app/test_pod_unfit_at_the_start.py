"""Pod's tables do not fit when the daemon starts: where they did once, it waits for the migration's end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import daemon as daemon_module
from poddispatchd.app.daemon import Daemon
from poddispatchd.errors import ConfigurationError
from poddispatchd.observability.events import Event
from tests.integration.dispatch.scene import Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_MIGRATIONS = [
    pytest.param(
        "ALTER TABLE completion_track RENAME COLUMN src_id TO away",
        "ALTER TABLE completion_track RENAME COLUMN away TO src_id",
        "completion_track.src_id",
        id="a column with another name",
    ),
    pytest.param(
        "ALTER TABLE video_encode_transcript_playlistvideo RENAME TO away",
        "ALTER TABLE away RENAME TO video_encode_transcript_playlistvideo",
        "video_encode_transcript_playlistvideo",
        id="a table with another name",
    ),
]


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root, Spec("first", runners=30)) as made:
        yield made


def _daemon(pod: Scene, **sections: dict[str, object]) -> Daemon:
    return Daemon(
        pod.settings(
            webhook={"listen": "127.0.0.1:0"},
            ops={"listen": "127.0.0.1:0"},
            imports={"keep_free": "1B"},
            **sections,
        )
    )


async def _has_begun(daemon: Daemon) -> None:
    async with asyncio.timeout(30):
        while daemon._work is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)


async def _end(daemon: Daemon, running: "asyncio.Task[None]") -> None:
    daemon._stop.set()
    await asyncio.wait_for(running, 30)


@pytest.mark.parametrize(("change", "mend", "name"), _MIGRATIONS)
async def test_a_daemon_that_starts_in_the_middle_of_a_migration_waits_for_its_end(
    pod: Scene, monkeypatch: pytest.MonkeyPatch, change: str, mend: str, name: str
) -> None:
    """It ended for good: systemd does not start again what says that its configuration is wrong."""
    monkeypatch.setattr(daemon_module, "_SECOND_TRY", 0.01)
    before = _daemon(pod)
    running = asyncio.create_task(before.run())
    await _has_begun(before)
    await _end(before, running)

    await pod.connection.execute(change)
    daemon = _daemon(pod)
    with capture_logs() as logs:
        running = asyncio.create_task(daemon.run())
        async with asyncio.timeout(30):
            while name not in daemon._waiting:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        assert not running.done()
        # A second try, which says nothing new.
        reopened = daemon._resources.database.open
        opened = asyncio.Event()

        async def open_again() -> None:
            opened.set()
            await reopened()

        monkeypatch.setattr(daemon._resources.database, "open", open_again)
        await asyncio.wait_for(opened.wait(), 30)
    told = [entry for entry in logs if entry["event"] == Event.SCHEMA_CHANGED]
    assert [(entry["log_level"], name in entry["reason"]) for entry in told] == [("warning", True)]

    await pod.connection.execute(mend)
    [pk] = await pod.encodings(1)
    await _has_begun(daemon)
    async with asyncio.timeout(30):
        while await pod.status(pk) == "pending":
            daemon._resources.wakeups.dispatcher.ring()
            await asyncio.sleep(0.02)
    await _end(daemon, running)


async def test_a_database_on_which_no_daemon_has_worked_is_told_of_at_once(pod: Scene) -> None:
    await pod.connection.execute("DROP SCHEMA IF EXISTS poddispatchd CASCADE")
    await pod.connection.execute("ALTER TABLE completion_track RENAME TO away")
    with pytest.raises(ConfigurationError, match="not the database of a Pod"):
        await asyncio.wait_for(_daemon(pod).run(), 30)


async def test_tables_whose_rows_have_yet_to_come_are_waited_for(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore makes the tables first. The start ended for good: systemd does not try that again."""
    await pod.connection.execute(
        "ALTER TABLE django_site RENAME TO away; CREATE TABLE django_site (LIKE away)"
    )
    told = await _told_while_it_waits(_daemon(pod), "its table django_site is empty", monkeypatch)
    assert [event for event, _ in told] == [Event.SCHEMA_CHANGED]


async def _told_while_it_waits(
    daemon: Daemon, words: str, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[object, object]]:
    """The warnings of a start that tries three times and has to wait: what, and why."""
    monkeypatch.setattr(daemon_module, "_SECOND_TRY", 0.01)
    reopened, opened = daemon._resources.database.open, 0

    async def count() -> None:
        nonlocal opened
        await reopened()
        opened += 1

    monkeypatch.setattr(daemon._resources.database, "open", count)
    with capture_logs() as logs:
        running = asyncio.create_task(daemon.run())
        async with asyncio.timeout(60):
            while opened < 4 and not running.done():  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        assert not running.done(), running.exception()
        assert words in daemon._waiting
        await _end(daemon, running)
    return [(entry["event"], entry["reason"]) for entry in logs if entry["log_level"] == "warning"]


async def test_a_table_that_is_held_for_long_is_told_once(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was said to be down, each two seconds for as long as somebody altered the table."""
    async with pod.connection.transaction():
        await pod.connection.execute("LOCK TABLE runner_manager")
        told = await _told_while_it_waits(_daemon(pod), "Another database session holds", monkeypatch)
    assert [event for event, _ in told] == [Event.ROW_LOCKED]


async def test_a_role_without_any_right_is_told_which_ones_it_lacks(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the database was said to be down, for the rights on our own schema were missing, too."""
    before = _daemon(pod)
    running = asyncio.create_task(before.run())
    await _has_begun(before)
    await _end(before, running)

    role = f"{pod.database.name}_poor"
    await pod.connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'of-the-poor-role'")
    address = urlsplit(pod.database.dsn.get_secret_value())
    poor = f"postgresql://{role}:of-the-poor-role@{address.hostname}:{address.port}{address.path}"
    try:
        daemon = _daemon(pod, database={"dsn": poor})
        told = await _told_while_it_waits(daemon, "The database role lacks", monkeypatch)
    finally:
        await pod.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert [event for event, _ in told] == [Event.SCHEMA_CHANGED]
    assert "poddispatchd db grants" in str(told[0][1])
