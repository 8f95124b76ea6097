"""Rows that share a run are locked by primary key, by everybody: no two transactions wait for each other."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from poddispatchd import pod as pod_package
from poddispatchd.app import features
from poddispatchd.callbacks import inbox
from poddispatchd.callbacks import worker as worker_module
from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.lifecycle import Decision, Retries
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, Task, TaskPk
from poddispatchd.pod import duplicates
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.transitions import apply_report
from tests.integration.imports.bench import Bench, bench, until
from tests.plugins.postgres import PodDatabase

_SOMEBODY_WAITS = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock')"
)
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def _sharer(here: Bench, task: TaskPk) -> TaskPk:
    """Another row of the same source and run, as two quick clicks of an owner make it."""
    pk = await here.value(
        "INSERT INTO runner_manager_task (type, status, task_id, date_added, video_id, runner_manager_id)"
        " SELECT type, status, task_id, date_added, video_id, runner_manager_id"
        " FROM runner_manager_task WHERE id = $1 RETURNING id",
        task,
    )
    return TaskPk(pk)


async def test_a_callback_and_a_commit_about_the_same_rows_wait_for_each_other_in_one_order(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback took them high to low, the commit of the import low to high: a deadlock."""
    first = await here.ready()
    second = await _sharer(here, first)
    order: list[TaskPk] = []
    begun = asyncio.Event()
    worker = features.callback_worker(here.parts)
    applying: list[asyncio.Task[float]] = []

    async def apply(
        connection: Connection, task: Task, report: RunReport, *, retries: Retries, language: str
    ) -> Decision:
        decision = await apply_report(connection, task, report, retries=retries, language=language)
        order.append(task.pk)
        if len(order) == 1:
            begun.set()
            await until(lambda: here.value(_SOMEBODY_WAITS))
        return decision

    async def complete(connection: Connection, task: Task) -> bool:
        """The import is about to commit: only now the callback takes its first row."""
        if not applying:
            applying.append(asyncio.create_task(worker.step()))
            await begun.wait()
        return await complete_rows(connection, task)

    complete_rows = duplicates.complete
    monkeypatch.setattr(duplicates, "complete", complete)
    monkeypatch.setattr(worker_module, "apply_report", apply)
    async with here.parts.database.connection() as connection:
        task_id = RunnerTaskId(str(await here.of(first, "task_id")))
        callback = Callback(task_id, RunnerStatus.RUNNING, None, "a line\n")
        await inbox.record(connection, (here.world.managers[0].id,), callback)
    async with asyncio.timeout(60):
        await here.import_due()
        await asyncio.gather(*applying)
    assert order == [first, second]
    assert [await here.status(pk) for pk in (first, second)] == ["completed", "completed"]
    assert await here.imports_of(first) == [("done", 1, None)]
    assert await here.value(_DEADLOCKS) == 0


async def test_a_commit_locks_an_older_row_of_its_run_before_its_own(here: Bench) -> None:
    """A failed row of the run is completed with it, and may be the older one."""
    older = await here.running()
    task = await _sharer(here, older)
    await here.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", older)
    await here.end(task)
    await here.open_import(task)
    async with here.pod.connection() as connection:
        async with connection.transaction():
            await connection.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", older)
            importing = asyncio.create_task(here.import_due())
            await until(lambda: here.value(_SOMEBODY_WAITS))
            # It waits for the older row without holding its own.
            await connection.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE NOWAIT", task)
        await importing
    assert [await here.status(pk) for pk in (older, task)] == ["completed", "completed"]


def _statements() -> Iterator[tuple[str, str]]:
    for file in sorted(Path(pod_package.__file__).parent.joinpath("sql").glob("*.sql")):
        for name, query in load_queries("poddispatchd.pod", file.name).items():
            yield f"{file.name}: {name}", query.source


_ONE_ROW = re.compile(r"WHERE (?:\w+\.)?id = (?::task|\$1)\b")
_IN_ORDER = re.compile(r"ORDER BY (?:\w+\.)?id\s+(?:LIMIT (?::\w+|\$\d)\s+)?FOR UPDATE")
_LOCKED_BEFORE = ("tasks.sql: restart", "tasks.sql: write_outputs")
"""Their rows are locked by a statement before them in the same transaction: restartable, and lock_called."""


def test_every_statement_that_changes_several_tasks_locks_them_by_primary_key() -> None:
    changing = {
        title: query
        for title, query in _statements()
        if re.search(
            r"(UPDATE|DELETE FROM) runner_manager_task|FROM runner_manager_task.*FOR UPDATE", query, re.DOTALL
        )
    }
    assert len(changing) > 8
    unordered = [
        title
        for title, query in changing.items()
        if not (_ONE_ROW.search(query) or _IN_ORDER.search(query) or title in _LOCKED_BEFORE)
    ]
    assert unordered == []
