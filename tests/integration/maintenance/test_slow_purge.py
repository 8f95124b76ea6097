"""Statements of a purge that the server ends, as a DBA may long ones: it goes on in smaller steps."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.maintenance import completed_purge
from poddispatchd.pod import tasks
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_CANCEL = """
CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF (SELECT count(*) FROM gone) > {most} THEN
        PERFORM pg_cancel_backend(pg_backend_pid());
        PERFORM pg_sleep(30);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER cancel AFTER DELETE ON runner_manager_task REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION cancel();
"""


@pytest.fixture
async def here(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(completed_purge, "_BATCH", 16)
    async with bench(pod_database, media_root, changes={"retention": {"completed_days": 60}}) as made:
        yield made


async def _old_tasks(here: Bench, count: int) -> list[TaskPk]:
    added = here.clock.now() - timedelta(days=61)
    async with here.pod.connection() as connection:
        return [
            await add_task(connection, TaskType.ENCODING, status=TaskStatus.COMPLETED, date_added=added)
            for _ in range(count)
        ]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The rows that each statement was to look at: behind which one, and up to which."""
    purge, rows = tasks.purge_completed, list[tuple[int, int]]()

    async def noted(connection: Connection, *, added_before: datetime, after: int, up_to: int) -> int:
        rows.append((after, up_to))
        return await purge(connection, added_before=added_before, after=after, up_to=up_to)

    monkeypatch.setattr(tasks, "purge_completed", noted)
    return rows


async def _left(here: Bench) -> int:
    return int(await here.value("SELECT count(*) FROM runner_manager_task"))


async def test_a_statement_that_the_server_ends_is_tried_with_fewer_rows_and_the_others_go_on(
    here: Bench,
) -> None:
    """It ended the purge of that hour, and of each one after it: no completed task was ever deleted again."""
    await _old_tasks(here, 40)
    await here.execute(_CANCEL.format(most=5))

    await features.maintenance(here.parts).purge()

    assert await _left(here) == 0
    assert [incident.job for incident in here.parts.incidents.active] == ["purge of completed tasks"]


async def test_halving_ends_with_the_time_of_a_purge_and_the_next_one_goes_on_there(
    here: Bench, asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred halves of a minute each took hours, for which the watchdog had the daemon killed."""
    made = await _old_tasks(here, 40)
    await here.execute(_CANCEL.format(most=5))
    monkeypatch.setattr(completed_purge, "LONG_ENOUGH", 0.0)
    maintenance = features.maintenance(here.parts)

    await maintenance.purge()
    assert len(asked) == 1
    assert await _left(here) == 40

    # Four rows at a time from now on, one statement in each purge.
    for _ in range(3):
        await maintenance.purge()
    assert await _left(here) < 40
    for _ in range(40):
        await maintenance.purge()
    assert await _left(here) == 0
    assert all(after < up_to <= made[-1] for after, up_to in asked)


async def test_a_statement_that_takes_longer_than_any_may_is_tried_with_fewer_rows_the_next_time(
    here: Bench, asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks like a lost database, and took as long each hour."""
    await _old_tasks(here, 40)
    purge = tasks.purge_completed

    async def slow(connection: Connection, *, added_before: datetime, after: int, up_to: int) -> int:
        if len(range(max(after, 0), up_to)) > 5:
            asked.append((after, up_to))
            raise DatabaseUnavailableError("The database did not answer in time.")
        return await purge(connection, added_before=added_before, after=after, up_to=up_to)

    monkeypatch.setattr(tasks, "purge_completed", slow)
    maintenance = features.maintenance(here.parts)
    with pytest.raises(DatabaseUnavailableError):
        await maintenance.purge()
    assert await _left(here) == 40

    await maintenance.purge()
    assert await _left(here) == 0
