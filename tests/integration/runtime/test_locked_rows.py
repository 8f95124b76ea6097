"""A transaction is left open on some tasks (psql, a frozen web worker): they wait, all others go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.app.checks import CheckLevel, run_checks
from poddispatchd.callbacks import inbox
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk
from poddispatchd.errors import RowLockedError
from poddispatchd.observability.events import Event
from poddispatchd.pod.lock_holders import held_row
from poddispatchd.runtime.jobs import Progress
from poddispatchd.tasks.administration import cancel_tasks, restart_tasks
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as made:
        yield made


@asynccontextmanager
async def _held(pod: Scene, statement: str, *pks: TaskPk, program: str = "psql") -> AsyncIterator[None]:
    """A session that has changed something of these tasks, and does not end its transaction."""
    async with pod.database.connection() as other:
        await other.execute("SELECT set_config('application_name', $1, false)", program)
        async with other.transaction():
            await other.execute(statement, list(pks))
            yield


_TASKS = "UPDATE runner_manager_task SET rank = rank WHERE id = ANY ($1::bigint[])"
_VIDEOS = (
    "UPDATE video_video SET title = title WHERE id IN"
    " (SELECT video_id FROM runner_manager_task WHERE id = ANY ($1::bigint[]))"
)


def _problems(daemon: Daemon) -> str:
    return " ".join(features.status(daemon.parts).state(Progress()).problems)


async def _callback(pod: Scene, daemon: Daemon, task_id: str, status: RunnerStatus) -> None:
    async with daemon.parts.database.connection() as connection:
        callback = Callback(RunnerTaskId(task_id), status, "It ended badly.", "words")
        await inbox.record(connection, (pod.ids["first"],), callback)


async def test_a_pending_task_whose_row_is_held_waits_and_the_others_are_submitted(pod: Scene) -> None:
    daemon = await pod.daemon()
    held, *others = await pod.encodings(4)
    with capture_logs() as logs:
        async with _held(pod, _TASKS, held):
            await daemon.settle()
            assert [await pod.status(pk) for pk in others] == ["running"] * 3
            # Nothing was posted for a row that somebody is about to change.
            assert pod.posts("first") == 3
            await daemon.parts.locked_rows.step()
            await daemon.settle()
            assert daemon.parts.locked_rows.tasks == {held}
            assert f"Task {held} waits since" in _problems(daemon)
            assert "program psql, idle in transaction" in _problems(daemon)
        await daemon.parts.locked_rows.step()
        await daemon.settle()
    assert await pod.status(held) == "running"
    assert _problems(daemon) == ""
    told = [entry["event"] for entry in logs if "row." in entry["event"]]
    assert told == [Event.ROW_LOCKED, Event.ROW_FREED]
    assert Event.SERVICE_CRASHED not in [entry["event"] for entry in logs]


async def test_callbacks_of_other_tasks_are_applied_while_a_running_row_is_held(pod: Scene) -> None:
    daemon = await pod.daemon()
    tasks = await pod.encodings(3)
    await daemon.settle()
    ids = [(await pod.row(pk))["task_id"] for pk in tasks]
    worker = features.callback_worker(daemon.parts)
    async with _held(pod, _TASKS, tasks[0]):
        for task_id in ids:
            await _callback(pod, daemon, task_id, RunnerStatus.TIMEOUT)
        await worker.step()
        assert [await pod.status(pk) for pk in tasks] == ["running", "timeout", "timeout"]
        await daemon.parts.locked_rows.step()
        assert f"Task {tasks[0]} waits since" in _problems(daemon)
    await daemon.parts.locked_rows.step()
    async with asyncio.timeout(20):
        while await pod.status(tasks[0]) != "timeout":
            await worker.step()
            await asyncio.sleep(0.1)


async def test_many_held_rows_do_not_exhaust_the_pool(pod: Scene) -> None:
    daemon = await pod.daemon()
    held = await pod.encodings(20)
    async with _held(pod, _TASKS, *held):
        [free] = await pod.encodings(1)
        await daemon.settle()
        async with asyncio.timeout(2):
            await daemon.parts.database.fetchrow("SELECT 1")
        assert await pod.status(free) == "running"
        assert "16 more tasks wait" in _problems(daemon) or "15 more tasks wait" in _problems(daemon)


async def test_an_answer_that_cannot_be_stored_is_stored_when_the_row_is_free_and_no_second_run_begins(
    pod: Scene,
) -> None:
    """The row of the video is held: Pod's own page is being saved, or was frozen at it."""
    daemon = await pod.daemon()
    held, other = await pod.encodings(2)
    async with _held(pod, _VIDEOS, held):
        await daemon.settle()
        assert [await pod.status(pk) for pk in (held, other)] == ["pending", "running"]
        await daemon.parts.locked_rows.step()
        assert "the row of its video is held" in _problems(daemon)
    await daemon.parts.locked_rows.step()
    await daemon.settle()
    assert await pod.status(held) == "running"
    assert len(pod.fakes["first"].tasks) == 2


async def test_the_reconciler_goes_on_with_the_others(pod: Scene) -> None:
    daemon = await pod.daemon()
    held, other = await pod.encodings(2)
    await daemon.settle()
    for pk in (held, other):
        await pod.fakes["first"].finish((await pod.row(pk))["task_id"], "timeout")
    async with _held(pod, _TASKS, held):
        with capture_logs() as logs:
            await features.reconciler(daemon.parts).step()
        assert [await pod.status(pk) for pk in (held, other)] == ["running", "timeout"]
        assert daemon.parts.locked_rows.tasks == {held}
    assert Event.SERVICE_CRASHED not in [entry["event"] for entry in logs]


async def test_a_person_is_told_that_a_row_is_held_and_the_others_are_treated(pod: Scene) -> None:
    daemon = await pod.daemon()
    parts = daemon.parts
    held, other = await pod.encodings(2)
    async with _held(pod, _TASKS, held):
        restarted = await restart_tasks(parts.database, parts.client, [held, other], by="a test")
        cancelled = await cancel_tasks(parts.database, parts.client, [held, other], by="a test")
    for treated in (restarted, cancelled):
        assert {item.task: item.done for item in treated} == {held: False, other: True}
        [words] = [item.words for item in treated if item.task == held]
        assert words.startswith("Another database session holds its row")


async def test_check_names_the_task_and_who_holds_it(pod: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poddispatchd.pod.lock_holders._LONG", 0.0)
    [held, _] = await pod.encodings(2)
    async with _held(pod, _TASKS, held):
        findings = [finding async for finding in run_checks(pod.settings())]
    [found] = [finding for finding in findings if finding.subject == "held rows"]
    assert found.severity is CheckLevel.PROBLEM
    assert found.words.startswith(f"Task {held} waits: ")
    assert "program psql, idle in transaction" in found.words
    findings = [finding async for finding in run_checks(pod.settings())]
    assert {finding.severity for finding in findings if finding.subject == "held rows"} == {CheckLevel.FINE}


async def test_an_import_of_ours_that_waits_for_a_row_is_not_named_as_who_holds_the_task(pod: Scene) -> None:
    """``status`` once told people to end a session of the daemon itself."""
    daemon = await pod.daemon()
    [task] = await pod.encodings(1)
    async with _held(pod, _TASKS, task, program="poddispatchd"):
        assert await held_row(daemon.parts.database, task) is None
        async with _held(pod, _VIDEOS, task):
            found = await held_row(daemon.parts.database, task)
    assert found is not None
    assert found.what == "the row of its video"
    assert "program psql" in found.by


async def test_a_thousand_tasks_go_on_as_soon_as_what_held_them_all_lets_go(pod: Scene) -> None:
    daemon = await pod.daemon()
    [video] = await pod.encodings(1)
    await pod.connection.execute(
        "INSERT INTO runner_manager_task (type, status, task_id, date_added, script_output, video_id) "
        "SELECT 'encoding', 'pending', '', now(), '', video_id"
        " FROM runner_manager_task, generate_series(1, 300)"
        " WHERE id = $1",
        video,
    )
    pks = [row["id"] for row in await pod.connection.fetch("SELECT id FROM runner_manager_task")]
    async with _held(pod, _TASKS, *pks[:7]):
        for pk in pks:
            daemon.parts.locked_rows.met(pk)
        await daemon.parts.locked_rows.step()
        assert daemon.parts.locked_rows.tasks >= set(pks[:5])
    for _ in range(3):
        await daemon.parts.locked_rows.step()
    assert daemon.parts.locked_rows.tasks == frozenset()


async def test_who_holds_a_whole_table_is_told_until_it_can_be_had(pod: Scene) -> None:
    """VACUUM FULL, ALTER TABLE: nothing was submitted any more, and nothing told who held which table."""
    daemon = await pod.daemon()
    with capture_logs() as logs:
        async with pod.database.connection() as other, other.transaction():
            await other.execute("LOCK TABLE video_video, poddispatchd.callback IN ACCESS EXCLUSIVE MODE")
            pid = await other.fetchval("SELECT pg_backend_pid()")
            with pytest.raises(RowLockedError):
                await daemon.parts.database.execute("UPDATE video_video SET title = title")
            await daemon.parts.locked_rows.step()
            words = _problems(daemon)
            checked = [
                each.words async for each in run_checks(daemon.parts.settings) if each.subject == "held rows"
            ]
        daemon.clock.advance(2)
        await daemon.parts.locked_rows.step()
    assert "(poddispatchd.callback, video_video), by process " in words
    assert f"process {pid} of the database server" in words
    assert "As a whole tables are held" not in " ".join(checked)  # for a moment only
    assert _problems(daemon) == ""
    assert [entry["event"] for entry in logs if "row." in entry["event"]] == [
        Event.ROW_LOCKED,
        Event.ROW_FREED,
    ]
