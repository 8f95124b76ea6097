"""The tasks that a runner manager speaks of, found without searching years of them."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import ManagerId, RunnerTaskId, Task, TaskPk
from poddispatchd.pod import tasks
from poddispatchd.tasks.task_ids import known_tasks_called, tasks_called
from tests.integration.dispatch.scene import scene
from tests.integration.pod.rows import manager, opened, recording, site, task, video
from tests.plugins.postgres import PodDatabase

_IDS = [RunnerTaskId(name) for name in ("a", "b", "c", "d")]
_STATUSES = ("pending", "running", "warning", "completed", "failed", "timeout")


@asynccontextmanager
async def _pod(pod_database: PodDatabase) -> AsyncIterator[tuple[Connection, list[ManagerId]]]:
    async with opened(pod_database) as database, pod_database.connection() as connection:
        await migration.upgrade(database)
        here = await site(connection, "pod.example.org")
        yield connection, [ManagerId(await manager(connection, here)) for _ in range(2)]


async def _submitted(connection: Connection, pk: int, rm: ManagerId, task_id: str) -> None:
    await connection.execute(
        "INSERT INTO poddispatchd.submission"
        " (task_pk, task_type, runner_manager_id, attempt, body, state, task_id)"
        " VALUES ($1, 'encoding', $2, 1, '', 'accepted', $3)",
        pk,
        rm,
        task_id,
    )


async def _seen(connection: Connection, pk: int, task_id: str) -> None:
    await connection.execute(
        "INSERT INTO poddispatchd.sighting (task_pk, task_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        pk,
        task_id,
    )


async def _ran(connection: Connection, status: str, film: int, rm: ManagerId, task_id: str = "a") -> TaskPk:
    return await task(connection, status=status, video_id=film, runner_manager_id=rm, task_id=task_id)


async def _years_pass(connection: Connection) -> None:
    """More tasks of other managers than are looked at one by one."""
    await connection.execute(
        "INSERT INTO runner_manager_task (type, status, date_added)"
        " SELECT 'encoding', 'completed', now() FROM generate_series(1, 1001)"
    )


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_found_is_what_a_search_finds(pod_database: PodDatabase, seed: int) -> None:
    """Runs by us and by Pod, shared, let go of, deleted; ids that two managers gave."""
    chance = random.Random(seed)
    async with _pod(pod_database) as (connection, managers):
        films, recordings = [await video(connection) for _ in range(3)], [await recording(connection)]
        for rm in managers:
            for task_id in _IDS:
                kind = chance.choice(["encoding", "transcription", "studio"])
                room, film = (
                    (chance.choice(recordings), None) if kind == "studio" else (None, chance.choice(films))
                )
                for _ in range(chance.randrange(4)):
                    carries = chance.random() < 0.7
                    pk = await task(
                        connection,
                        kind,
                        chance.choice(_STATUSES),
                        runner_manager_id=rm if carries else None,
                        task_id=task_id if carries else None,
                        video_id=film,
                        recording_id=room,
                    )
                    if chance.random() < 0.5:
                        await _submitted(connection, pk, rm, task_id)
                    if chance.random() < 0.3:
                        await _seen(connection, pk, task_id)
                    if chance.random() < 0.1:
                        await connection.execute("DELETE FROM runner_manager_task WHERE id = $1", pk)
        if chance.random() < 0.7:
            await _years_pass(connection)
        found = 0
        for rm in managers:
            for task_id in (*_IDS, RunnerTaskId("nobody's")):
                searched = await tasks.find_tasks(connection, [rm], task_id)
                assert await tasks_called(connection, [rm], task_id) == searched
                found += len(searched)
        assert found


@pytest.mark.parametrize("by", ["us", "Pod"])
async def test_a_known_run_and_whoever_shares_it_are_found_without_a_search(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    async with _pod(pod_database) as (connection, [mine, other]):
        film = await video(connection)
        follower = await _ran(connection, "failed", film, mine)
        first = await _ran(connection, "running", film, mine)
        await _ran(connection, "running", film, other)
        await _ran(connection, "running", film, mine, "b")
        await (_submitted(connection, first, mine, "a") if by == "us" else _seen(connection, first, "a"))
        await _years_pass(connection)
        monkeypatch.setattr(tasks, "find_tasks", _searched)
        assert _pks(await tasks_called(connection, [mine], _IDS[0])) == [first, follower]


async def test_one_id_of_two_managers_with_one_token_is_that_of_both_tasks(pod_database: PodDatabase) -> None:
    async with _pod(pod_database) as (connection, managers):
        pks = []
        for rm in managers:
            pks.append(await task(connection, status="running", task_id="a", runner_manager_id=rm))
            await _submitted(connection, pks[-1], rm, "a")
        await _years_pass(connection)
        assert _pks(await tasks_called(connection, managers, _IDS[0])) == pks[::-1]


async def test_a_run_that_only_pod_knows_and_that_ended_long_ago_is_searched(
    pod_database: PodDatabase,
) -> None:
    async with _pod(pod_database) as (connection, [mine, _]):
        film = await video(connection)
        old = await _ran(connection, "failed", film, mine)
        await task(connection, video_id=film)
        await _years_pass(connection)
        assert _pks(await tasks_called(connection, [mine], _IDS[0])) == [old]
        assert await known_tasks_called(connection, [mine], _IDS[0]) == []


async def test_no_submission_searches_for_its_new_id(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        pk = await pod.encoding()
        daemon = await pod.daemon()
        monkeypatch.setattr(tasks, "find_tasks", _searched)
        await daemon.settle()
        assert await pod.status(pk) == "running"


async def _searched(*_: object) -> list[Task]:
    raise AssertionError("Pod's whole table was searched.")


def _pks(found: list[Task]) -> list[TaskPk]:
    return [row.pk for row in found]
