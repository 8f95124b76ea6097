"""Who is named for a row that cannot be had: never the daemon that waits itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import Query
from poddispatchd.database.session_parameters import APPLICATION_NAME
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod import lock_holders, task_list
from poddispatchd.pod.lock_holders import HeldRow, held_row, held_tasks
from poddispatchd.pod.task_list import pending_rows
from tests.integration.dispatch.scene import Scene, scene
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def pod(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    monkeypatch.setattr(task_list, "_HELD_FOR", 0.0)
    monkeypatch.setattr(lock_holders, "_LONG", 0.0)
    async with scene(pod_database, media_root) as made:
        yield made


@asynccontextmanager
async def _called(pod: Scene, name: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A session of a program with this name, in a transaction."""
    connection = await pod.database.connect()
    await connection.execute("SELECT set_config('application_name', $1, false)", name)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        await connection.close()


async def _locked_by(pod: Scene, pk: TaskPk) -> str | None:
    database = Database(pod.database.dsn, pool_size=2)
    await database.open()
    try:
        [row] = await pending_rows(database, task=pk)
    finally:
        await database.close()
    return row.locked_by


async def test_whoever_the_daemon_waits_for_is_named_and_not_the_daemon(pod: Scene) -> None:
    """A session of ours held the row of the task while it waited for that of its video."""
    pk = await pod.encoding()
    video = (await pod.row(pk))["video_id"]
    async with _called(pod, "psql") as other, _called(pod, APPLICATION_NAME) as ours:
        await other.execute("SELECT FROM video_video WHERE id = $1 FOR UPDATE", video)
        await ours.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", pk)
        waiting = asyncio.create_task(
            ours.execute("UPDATE video_video SET title = title WHERE id = $1", video)
        )
        waits, pid = "SELECT pg_blocking_pids($1) <> '{}'", ours.get_server_pid()
        while not await pod.connection.fetchval(waits, pid):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        told = await _locked_by(pod, pk)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert told is not None
    assert told.startswith(f"psql of postgres (process {other.get_server_pid()} of the database server")


async def test_a_row_that_the_daemon_is_writing_is_held_by_nobody(pod: Scene) -> None:
    pk = await pod.encoding()
    async with _called(pod, APPLICATION_NAME) as ours:
        await ours.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", pk)
        assert await _locked_by(pod, pk) is None
    async with _called(pod, "psql") as other:
        await other.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", pk)
        assert (await _locked_by(pod, pk) or "").startswith("psql of postgres")


async def test_a_long_transaction_of_poddispatchd_s_own_is_called_so(pod: Scene) -> None:
    """``check`` said to end the session of a process, and did not say that it was a daemon's."""
    pk = await pod.encoding()
    database = Database(pod.database.dsn, pool_size=2)
    await database.open()
    try:
        async with _called(pod, APPLICATION_NAME) as ours:
            await ours.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", pk)
            held = await held_tasks(database)
    finally:
        await database.close()
    assert held.tasks == (pk,)
    assert held.by.startswith(f"process {ours.get_server_pid()} of the database server")
    assert "program poddispatchd: a daemon, or a command of its own" in held.by


async def test_a_held_row_is_told_though_the_look_for_who_holds_it_is_cancelled(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look at all held rows ended with it, and with that the readiness of the daemon."""
    pk = await pod.encoding()
    cancelled = Query("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(30), :pid::integer")
    monkeypatch.setitem(lock_holders._QUERIES, "blockers", cancelled)
    database = Database(pod.database.dsn, pool_size=2)
    await database.open()
    try:
        async with _called(pod, "psql") as other:
            await other.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", pk)
            held = await held_row(database, pk)
    finally:
        await database.close()
    assert held == HeldRow("its row", "another database session")
