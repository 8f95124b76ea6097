"""Whichever statement of a job fails, and however: nothing is lost, done twice or stuck (I6, I11, I12)."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.app.parts import Parts
from poddispatchd.callbacks import inbox
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk, TaskStatus, TaskType
from poddispatchd.errors import DatabaseError
from poddispatchd.runtime.queue_tables import QUEUES
from poddispatchd.sandbox.fake_runner_manager import Mode
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.imports.bench import Bench, bench, idle
from tests.integration.recovery.failing_statements import Failure, failing, in_turn
from tests.plugins.postgres import PodDatabase
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]

THOROUGH = bool(os.environ.get("PODDISPATCHD_TEST_THOROUGH"))
"""Each statement fails in each way; else each third one in one of them."""

_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "imports": {"keep_free": "1B", "after": ["/bin/true"]},
    "mail": {"enabled": False},
    "retention": {"completed_days": 60},
    "reconcile": {"retry_wait": "0s"},
    "events": {"command": ["/bin/true"]},
}


pytestmark = pytest.mark.timeout(1800 if THOROUGH else 120)


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED, changes=_SETTINGS) as made:
        yield made


@dataclass(slots=True)
class Story:
    """A job at work on something.

    ``begin`` makes what it is to do, ``pass_`` is one pass of the job of some daemon, ``check`` sees that it
    was done in the end, once. ``stop`` is what a daemon does besides cancelling the pass.
    """

    begin: Callable[[], Awaitable[TaskPk]]
    pass_: Callable[[Parts], Awaitable[None]]
    check: Callable[[TaskPk], Awaitable[None]]


@asynccontextmanager
async def _successor(here: Bench, name: str) -> AsyncIterator[Bench]:
    """Another daemon, after whatever the one before held has run out."""
    for queue in QUEUES.values():
        table = queue.table
        await here.execute(
            f"UPDATE poddispatchd.{table.name} SET next_attempt_at = now(), {table.lease_owner} = NULL,"
            f" {table.lease_expires_at} = NULL WHERE state = 'open'"
        )
    await here.execute("UPDATE poddispatchd.unwanted_run SET next_request_at = now()")
    async with here.another(name) as there:
        yield there


async def _completed(here: Bench) -> TaskPk:
    async with here.pod.connection() as connection:
        return await add_task(
            connection, TaskType.ENCODING, video=await here.video(), status=TaskStatus.COMPLETED
        )


async def _whichever_fails(here: Bench, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for nth in itertools.count(1, 1 if THOROUGH else 3):
        was_met = False
        for failure in in_turn(tuple(Failure), nth, thorough=THOROUGH):
            subject = await story.begin()
            async with _successor(here, f"first:{nth}:1") as first:
                work = asyncio.ensure_future(story.pass_(first.parts))
                async with failing(monkeypatch, nth, failure, work) as fails:
                    await asyncio.wait({work}, timeout=60)
                    assert work.done(), (nth, failure)
                    error = None if work.cancelled() else work.exception()
                    assert isinstance(error, DatabaseError | None), (nth, failure)
                was_met |= fails.met
            for again in range(2):
                async with _successor(here, f"second:{nth}:{again}") as second:
                    await story.pass_(second.parts)
            try:
                await story.check(subject)
            except AssertionError as error:
                raise AssertionError(f"call {nth}, {failure}: {error}") from error
        if not was_met:
            assert nth > 1
            return


@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO])
async def test_an_import(here: Bench, monkeypatch: pytest.MonkeyPatch, kind: TaskType) -> None:
    videos = 0

    async def begin() -> TaskPk:
        nonlocal videos
        task = await here.ready(kind)
        videos = int(await here.value("SELECT count(*) FROM video_video"))
        return task

    async def pass_(parts: Parts) -> None:
        importer = features.importer(parts)
        try:
            await importer.step()
        except asyncio.CancelledError:
            await importer.stop(30)
            raise
        finally:
            await idle(importer)

    async def check(task: TaskPk) -> None:
        assert await here.status(task) == "completed"
        # What a commit leaves whose answer was lost.
        await features.maintenance(here.parts).purge()
        assert here.staged() == []
        assert [state for state, *_ in await here.imports_of(task)] == ["done"]
        told = "SELECT count(*) FROM poddispatchd.notice WHERE task_pk = $1 AND event = 'completed'"
        assert await here.value(told, task) == 1
        left = "SELECT count(*) FROM poddispatchd.import_file"
        assert await here.value(left) == 0
        assert await here.value("SELECT count(*) FROM poddispatchd.obsolete_file") == 0
        if kind is TaskType.STUDIO:
            assert await here.value("SELECT count(*) FROM video_video") == videos + 1

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_a_callback(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> TaskPk:
        task = await here.running()
        await here.end(task)
        said = Callback(RunnerTaskId(await here.of(task, "task_id")), RunnerStatus.COMPLETED, None, "a line")
        async with here.parts.database.connection() as connection:
            await inbox.record(connection, (here.world.managers[0].id,), said)
        return task

    async def pass_(parts: Parts) -> None:
        worker = features.callback_worker(parts)
        try:
            await worker.step()
        finally:
            await worker.stop()

    async def check(task: TaskPk) -> None:
        assert [state for state, *_ in await here.imports_of(task)] == ["open"]
        assert (await here.words(task)).count("a line") == 1
        assert await here.value("SELECT count(*) FROM poddispatchd.callback WHERE state = 'open'") == 0
        await here.execute("UPDATE poddispatchd.import SET state = 'dropped' WHERE task_pk = $1", task)
        await here.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", task)

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_a_look_at_a_task_that_was_lost(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> TaskPk:
        task = await here.running()
        await here.end(task)
        here.fake.forget(await here.of(task, "task_id"))
        return task

    async def pass_(parts: Parts) -> None:
        watcher = features.reconciler(parts)
        try:
            for _ in range(2):
                await watcher.step()
                await watcher.until_idle()
                here.clock.ahead += 60
        finally:
            await watcher.stop()

    async def check(task: TaskPk) -> None:
        assert await here.status(task) == "pending"
        assert (await here.words(task)).count("submitted again") == 1
        lost = "SELECT count(*) FROM poddispatchd.submission WHERE task_pk = $1 AND state = 'lost'"
        assert await here.value(lost, task) == 1
        await here.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", task)

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_a_submission(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await here.execute("UPDATE poddispatchd.leader SET term = 1")

    async def begin() -> TaskPk:
        async with here.pod.connection() as connection:
            return await add_task(connection, TaskType.ENCODING, video=await here.video())

    async def pass_(parts: Parts) -> None:
        dispatcher = features.dispatcher(parts)
        try:
            for _ in range(3):
                await dispatcher.step()
                await dispatcher.drain()
                here.clock.ahead += 60
        finally:
            await dispatcher.stop(30)

    async def check(task: TaskPk) -> None:
        assert await here.status(task) == "running"
        task_id = await here.of(task, "task_id")
        running = [run.task_id for run in here.fake.tasks.values() if run.status is RunnerStatus.RUNNING]
        assert running == [task_id]
        states = "SELECT array_agg(state ORDER BY id) FROM poddispatchd.submission WHERE task_pk = $1"
        assert (await here.value(states, task))[-1] == "accepted"
        assert "open" not in await here.value(states, task)
        await here.end(task)
        await here.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", task)

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_what_programs_are_told(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> TaskPk:
        task = await _completed(here)
        await here.execute(
            "INSERT INTO poddispatchd.import"
            " (task_pk, runner_manager_id, task_id, state, last_error, finished_at)"
            " SELECT id, 1, 'run', 'set_aside', 'Why', now() FROM runner_manager_task WHERE id = $1",
            task,
        )
        return task

    async def pass_(parts: Parts) -> None:
        await features.event_watch(parts, features.scheduler_watch(parts)).step()

    async def check(task: TaskPk) -> None:
        told = (
            "SELECT count(*) FROM poddispatchd.delivery WHERE channel = 'event'"
            " AND (content::json -> 'data' ->> 'task')::bigint = $1"
        )
        assert await here.value(told, task) == 1

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_what_people_are_told(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> TaskPk:
        task = await _completed(here)
        await here.execute(
            "INSERT INTO poddispatchd.notice (event, task_pk, task_type, video_id, words)"
            " SELECT 'completed', id, type, video_id, '' FROM runner_manager_task WHERE id = $1",
            task,
        )
        return task

    async def pass_(parts: Parts) -> None:
        await features.notifier(parts).step()

    async def check(task: TaskPk) -> None:
        queued = "SELECT count(*) FROM poddispatchd.delivery WHERE task_pk = $1 AND channel = 'hook'"
        assert await here.value(queued, task) == 1
        assert await here.value("SELECT count(*) FROM poddispatchd.notice WHERE state = 'open'") == 0

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_a_hook(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> TaskPk:
        task = await _completed(here)
        await here.execute(
            "INSERT INTO poddispatchd.delivery (channel, task_pk, content)"
            """ VALUES ('hook', $1, '{"type": "encoding", "video": 1}')""",
            task,
        )
        return task

    async def pass_(parts: Parts) -> None:
        await features.hooks(parts).step()

    async def check(task: TaskPk) -> None:
        states = "SELECT array_agg(state) FROM poddispatchd.delivery WHERE task_pk = $1"
        assert await here.value(states, task) == ["done"]

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_a_run_that_nobody_wants(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: dict[TaskPk, RunnerTaskId] = {}

    async def begin() -> TaskPk:
        task = await here.running()
        runs[task] = RunnerTaskId(await here.of(task, "task_id"))
        await here.execute(
            "INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk, next_request_at)"
            " SELECT runner_manager_id, task_id, id, now() FROM runner_manager_task WHERE id = $1",
            task,
        )
        await here.execute(
            "UPDATE runner_manager_task SET status = 'failed', task_id = NULL, runner_manager_id = NULL"
            " WHERE id = $1",
            task,
        )
        return task

    async def pass_(parts: Parts) -> None:
        await features.stops(parts).step()

    async def check(task: TaskPk) -> None:
        record = here.fake.tasks[runs[task]]
        async with asyncio.timeout(20):
            await record.finished.wait()
        assert record.error == "Cancelled by user."
        assert await here.value("SELECT count(*) FROM poddispatchd.unwanted_run") == 0

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)


async def test_upkeep(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    number = itertools.count()

    async def begin() -> TaskPk:
        old = await _completed(here)
        await here.execute(
            "UPDATE runner_manager_task SET date_added = now() - interval '90 days' WHERE id = $1", old
        )
        async with here.pod.connection() as connection:
            task = await add_task(connection, TaskType.ENCODING, video=await here.video())
        path = f"videos/x/{next(number)}.mp4"
        file = here.world.media_root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"old")
        insert = "INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ($1, $2)"
        await here.execute(insert, path, old)
        return task

    async def pass_(parts: Parts) -> None:
        maintenance = features.maintenance(parts)
        await maintenance.step()

    async def check(task: TaskPk) -> None:
        assert await here.of(task, "rank") == 1
        assert await here.value("SELECT count(*) FROM runner_manager_task WHERE status = 'completed'") == 0
        assert not [name for name in here.files() if name.startswith("videos/x/")]
        assert await here.value("SELECT count(*) FROM poddispatchd.obsolete_file") == 0
        await here.execute("DELETE FROM runner_manager_task WHERE id = $1", task)

    await _whichever_fails(here, Story(begin, pass_, check), monkeypatch)
