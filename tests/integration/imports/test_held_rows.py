"""Another session holds the row of a finished task: its result waits, uncounted, and is fetched once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import TaskType
from poddispatchd.imports import commit
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.queue import ImportJob
from poddispatchd.pod.imports.plan import ImportPlan
from tests.integration.imports.bench import Bench, bench, idle, until
from tests.plugins.postgres import PodDatabase

pytestmark = pytest.mark.usefixtures("short_lock_waits")

_HOLD = "SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE"


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


def _fetched(here: Bench) -> int:
    return sum("/task/result" in request.path for request in here.fake.requests)


_WAITER = """
SELECT xact_start FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()
"""


async def _waiter(session: "asyncpg.Connection[asyncpg.Record]") -> datetime:
    """Since when somebody waits for the names."""
    async with asyncio.timeout(30):
        while (since := await session.fetchval(_WAITER)) is None:
            await session.execute("SELECT pg_stat_clear_snapshot()")
    assert isinstance(since, datetime)
    return since


async def _is(found: bool) -> bool:
    return found


async def test_nothing_is_fetched_for_a_row_that_is_held(here: Bench) -> None:
    held, other = await here.ready(), await here.ready()
    async with here.pod.connection() as session, session.transaction():
        await session.execute(_HOLD, held)
        await here.import_due()
        assert [await here.status(task) for task in (held, other)] == ["running", "completed"]
        [(state, attempts, reason)] = await here.imports_of(held)
        assert (state, attempts) == ("open", 0)
        assert "holds a row" in str(reason)
        assert here.parts.locked_rows.tasks == {held}
    await here.import_again()
    assert await here.status(held) == "completed"


async def test_a_row_that_is_held_at_the_end_is_waited_for_without_fetching_the_result_again(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await here.ready()
    importer = features.importer(here.parts)
    tried = asyncio.Event()
    met, record = here.parts.locked_rows.met, ImportCommit.record

    def noticed(pk: int) -> None:
        met(pk)
        tried.set()

    monkeypatch.setattr(here.parts.database, "on_locked", noticed)
    async with here.pod.connection() as session:
        transaction = session.transaction()

        async def recorded(self: ImportCommit, job: ImportJob, plan: ImportPlan) -> None:
            await record(self, job, plan)
            await transaction.start()
            await session.execute(_HOLD, task)

        monkeypatch.setattr(ImportCommit, "record", recorded)
        await importer.step()
        async with asyncio.timeout(30):
            await tried.wait()
        fetched = _fetched(here)
        await transaction.rollback()
        await idle(importer)
    assert await here.status(task) == "completed"
    assert _fetched(here) == fetched > 0
    assert [state for state, *_ in await here.imports_of(task)] == ["done"]


async def test_a_result_whose_video_is_held_waits_in_words_and_is_not_fetched_again(here: Bench) -> None:
    """The row of the video was once met at the end only: each attempt fetched it all, and nobody was told."""
    held, other = await here.ready(), await here.ready()
    video = await here.value("SELECT video_id FROM runner_manager_task WHERE id = $1", held)
    async with here.pod.connection() as session, session.transaction():
        await session.execute("SELECT FROM video_video WHERE id = $1 FOR UPDATE", video)
        await here.import_due()
        assert [await here.status(task) for task in (held, other)] == ["running", "completed"]
        await here.parts.locked_rows.step()
        [problem] = here.parts.locked_rows.problems
        assert problem.startswith(f"Task {held} waits since ")
        assert "the row of its video is held by process" in problem
        fetched = _fetched(here)
        await here.import_again()
        assert _fetched(here) == fetched
        assert [(state, attempts) for state, attempts, _ in await here.imports_of(held)] == [("open", 0)]
    await here.import_again()
    assert await here.status(held) == "completed"


async def test_a_stop_does_not_wait_for_held_rows(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty results whose rows somebody held, each in its turn: a stop took all its seconds."""
    monkeypatch.setattr(commit, "_MOST_RETRIES", 100_000)
    tasks = [await here.ready() for _ in range(2)]
    importer = features.importer(here.parts)
    met, arrived, held, record = set[int](), list[int](), asyncio.Event(), ImportCommit.record

    async def recorded(self: ImportCommit, job: ImportJob, plan: ImportPlan) -> None:
        await record(self, job, plan)
        arrived.append(job.task_pk)
        await held.wait()

    monkeypatch.setattr(ImportCommit, "record", recorded)
    monkeypatch.setattr(here.parts.database, "on_locked", met.add)
    async with here.pod.connection() as session, session.transaction():
        await importer.step()
        await until(lambda: _is(len(arrived) == len(tasks)))
        await session.execute("SELECT FROM runner_manager_task FOR UPDATE")
        held.set()
        await until(lambda: _is(met == set(tasks)))
        async with asyncio.timeout(20):
            await importer.stop(60)
        for task in tasks:
            assert [(state, attempts) for state, attempts, _ in await here.imports_of(task)] == [("open", 0)]
        assert here.staged() == []
    monkeypatch.setattr(ImportCommit, "record", record)
    await here.import_again()
    assert {await here.status(task) for task in tasks} == {"completed"}


async def test_results_that_wait_for_held_rows_leave_connections_to_others(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kept one while it waited: with many of them none was to be had, as if the database was lost."""
    changes: dict[str, dict[str, object]] = {"database": {"pool_size": 2}, "imports": {"concurrency": 6}}
    async with bench(pod_database, media_root, changes=changes) as here:
        tasks = [await here.ready() for _ in range(6)]
        importer = features.importer(here.parts)
        arrived, held, met, most = list[int](), asyncio.Event(), set[int](), 0
        record = ImportCommit.record

        async def recorded(self: ImportCommit, job: ImportJob, plan: ImportPlan) -> None:
            await record(self, job, plan)
            arrived.append(job.task_pk)
            await held.wait()

        monkeypatch.setattr(ImportCommit, "record", recorded)
        monkeypatch.setattr(here.parts.database, "on_locked", met.add)
        async with here.pod.connection() as session:
            await importer.step()
            await until(lambda: _is(len(arrived) == len(tasks)))
            async with session.transaction():
                await session.execute("SELECT FROM runner_manager_task FOR UPDATE")
                held.set()
                await until(lambda: _is(met == set(tasks)))
                for _ in range(20):
                    await here.parts.database.fetchrow("SELECT")
                    most = max(most, here.parts.database.connections_in_use)
        await idle(importer)
        assert {await here.status(task) for task in tasks} == {"completed"}
        assert most <= 1


async def test_names_that_another_daemon_is_recording_for_long_are_waited_for_without_fetching_again(
    here: Bench,
) -> None:
    """It may be frozen between two statements: until PostgreSQL ended its session, all was fetched again."""
    task = await here.ready(TaskType.TRANSCRIPTION)
    importer = features.importer(here.parts)
    async with here.pod.connection() as session:
        async with session.transaction():
            await session.execute("SELECT pg_advisory_xact_lock(hashtext('poddispatchd.import_file'))")
            await importer.step()
            first = await _waiter(session)
            while await _waiter(session) == first:
                await session.execute("SELECT pg_stat_clear_snapshot()")
            fetched = _fetched(here)
        await idle(importer)
    assert await here.status(task) == "completed"
    assert _fetched(here) == fetched > 0
