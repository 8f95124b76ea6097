"""When the maintenance numbers the queue, and when it knows that it need not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.database.pool import Database
from poddispatchd.domain.fair_share import FairOrder
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.pod import queue_order
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def _waiting(here: Bench) -> TaskPk:
    video = await here.video()
    async with here.pod.connection() as connection:
        return await add_task(connection, TaskType.ENCODING, video=video)


async def _ranks(here: Bench) -> dict[int, int | None]:
    async with here.pod.connection() as connection:
        rows = await connection.fetch("SELECT id, rank FROM runner_manager_task")
    return {row["id"]: row["rank"] for row in rows}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many ranks were written each time."""
    write_ranks, counts = queue_order.write_ranks, list[int]()

    async def counted(database: Database, capabilities: Capabilities, order: FairOrder | None) -> int:
        counts.append(await write_ranks(database, capabilities, order))
        return counts[-1]

    monkeypatch.setattr(queue_order, "write_ranks", counted)
    return counts


async def test_ranks_that_are_right_are_left_alone_until_somebody_touches_one(
    here: Bench, written: list[int]
) -> None:
    first, second = await _waiting(here), await _waiting(here)
    maintenance = features.maintenance(here.parts)
    for _ in range(4):
        await maintenance.step()
    assert written == [2, 0]  # written, found to be right, and then seen not to have changed

    touches = (
        ("UPDATE runner_manager_task SET rank = 7 WHERE id = $1", second),
        ("UPDATE runner_manager_task SET rank = NULL WHERE id = $1", first),
        ("UPDATE runner_manager_task SET rank = 3 - rank WHERE id <> $1", TaskPk(0)),
    )
    for statement, pk in touches:
        await here.execute(statement, pk)
        await maintenance.step()
        assert await _ranks(here) == {first: 1, second: 2}
        await maintenance.step()
    assert written == [2, 0, 1, 0, 1, 0, 2, 0]

    await here.execute("UPDATE runner_manager_task SET status = 'running' WHERE id = $1", first)
    await maintenance.step()
    assert await _ranks(here) == {first: None, second: 1}
    third = await _waiting(here)
    await maintenance.step()
    assert await _ranks(here) == {first: None, second: 1, third: 2}


async def test_a_video_whose_owner_changes_finds_its_place_after_a_while(
    here: Bench, written: list[int]
) -> None:
    tasks = [await _waiting(here) for _ in range(2)]
    maintenance = features.maintenance(here.parts)
    await maintenance.step()
    await maintenance.step()
    student = await here.value("SELECT min(user_id) FROM authentication_owner WHERE affiliation = 'student'")
    video = await here.of(tasks[0], "video_id")
    await here.execute("UPDATE video_video SET owner_id = $1 WHERE id = $2", student, video)
    await maintenance.step()
    assert await _ranks(here) == {tasks[0]: 1, tasks[1]: 2}
    here.clock.ahead += 301
    await maintenance.step()
    assert await _ranks(here) == {tasks[0]: 2, tasks[1]: 1}
    await maintenance.step()
    here.clock.ahead += 301
    await maintenance.step()
    assert written == [2, 0, 2, 0]  # the second time a comparison was enough
