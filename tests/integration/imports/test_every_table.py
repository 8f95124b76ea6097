"""Whatever table refuses what an import writes, or is held: the result waits and comes in once."""

from contextlib import suppress
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.errors import DatabaseError
from poddispatchd.imports import commit
from tests.integration.imports.bench import Bench, bench
from tests.integration.pod.obstacles import SECRET, in_the_way, noted, rounds, with_obstacles
from tests.plugins.postgres import PodDatabase


async def _still_waits(here: Bench, task: TaskPk) -> None:
    assert await here.status(task) == "running"
    [(state, attempts, words)] = await here.imports_of(task)
    assert (state, attempts <= 1) == ("open", True)
    assert SECRET not in f"{words} {await here.words(task)}"


async def _comes_in(here: Bench, task: TaskPk) -> None:
    here.clock.ahead += 3600
    await here.execute(
        "UPDATE poddispatchd.import SET lease_owner = NULL, lease_expires_at = NULL WHERE state = 'open'"
    )
    await here.import_again()
    assert await here.status(task) == "completed"
    assert [state for state, *_ in await here.imports_of(task)] == ["done"]
    assert here.staged() == []


@pytest.mark.slow
@pytest.mark.usefixtures("short_lock_waits")
@pytest.mark.parametrize(
    ("kind", "first"), rounds(TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)
)
async def test_whichever_table_cannot_be_written_the_result_waits_and_comes_in_once(
    pod_database: PodDatabase,
    media_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: TaskType,
    first: int,
) -> None:
    monkeypatch.setattr(commit, "_MOST_RETRIES", 0)
    async with bench(pod_database, media_root) as here:
        task = await here.ready(kind)
        async with noted(pod_database) as tables:
            await here.import_due()
        assert await here.status(task) == "completed"
        assert len(tables) > 5
        for table, obstacle in with_obstacles(tables, first):
            task = await here.ready(kind)
            async with in_the_way(pod_database, table, obstacle):
                with suppress(DatabaseError):  # the queue itself: the job meets it, and looks again
                    await here.import_due()
                was_in_the_way = await here.status(task) != "completed"
                if was_in_the_way:
                    await _still_waits(here, task)
            if was_in_the_way:
                await _comes_in(here, task)
