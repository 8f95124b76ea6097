"""Recorded queues through the real dispatcher: each type goes in the order in which Pod submitted it.

Where Pod has a bug the order is that of the ranks, which Pod computes well: of several rows of one source the
first stands for all, and rows without a source are no rows.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Connection
from poddispatchd.domain.task import SUBMITTABLE, TaskType
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager, Runner
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.integration.dispatch.rewinding import RewindingWorld
from tests.integration.dispatch.scene import bring_in, running
from tests.plugins.shared_world import SharedWorld, copied_world
from tests.shared import SHARED

_CASES: list[dict[str, Any]] = (
    json.loads((SHARED / "vectors" / "queue.json").read_bytes())["cases"] if SHARED else []
)
_USUAL = [(SchemaVariant.PODFILE, 20), (SchemaVariant.NOPODFILE, 5)]
_THOROUGH = [(SchemaVariant.PODFILE, 5), (SchemaVariant.NOPODFILE, 20)]
_LIMITS = [*_USUAL, *(_THOROUGH if os.environ.get("PODDISPATCHD_TEST_THOROUGH") else ())] if SHARED else []
"""Each variant of Pod and each limit; ``make test-thorough`` takes every limit in every variant."""

_WITH_ROWS_TO_CLOSE = ("queue-39-null-video", "queue-42-duplicates-8", "queue-43-duplicates-20")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(SchemaVariant) if SHARED else [])
async def world(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RewindingWorld]:
    async with copied_world(postgres, request.param, tmp_path_factory.mktemp("order")) as copy:
        rewinding = RewindingWorld(copy)
        await rewinding.keep()
        yield rewinding


def _settings(world: SharedWorld) -> Settings:
    return Settings.read(
        {
            "database": {"dsn": world.database.dsn.get_secret_value()},
            "pod": {
                "https": False,
                "media_root": str(world.media_root),
                "use_podfile": world.database.variant is SchemaVariant.PODFILE,
            },
            "dispatch": {"grace": 0},
        }
    )


def _cases_of(world: RewindingWorld) -> list[dict[str, Any]]:
    return [case for case in _CASES if case["variant"] == world.world.database.variant]


@asynccontextmanager
async def _started(
    world: RewindingWorld, case: Mapping[str, Any], *, runners: int
) -> AsyncIterator[tuple[FakeRunnerManager, "asyncpg.Connection[asyncpg.Record]"]]:
    """A case at its start, with one runner manager that has so many runners."""
    await world.rewind()
    async with (
        FakeRunnerManager(runners=[Runner() for _ in range(runners)]) as fake,
        world.world.database.connection() as connection,
    ):
        await world.world.apply(case)
        await connection.execute("UPDATE runner_manager SET is_active = false WHERE name <> 'rm1'")
        await connection.execute(
            "UPDATE runner_manager SET url = $1, token = $2 WHERE is_active", fake.url, fake.token
        )
        # Unlike Pod, a source that runs already is not submitted a second time.
        await connection.execute("DELETE FROM runner_manager_task WHERE status = 'running'")
        yield fake, connection


async def _expected(connection: Connection, case: Mapping[str, Any], limit: int) -> dict[str, list[int]]:
    """The tasks of each type in the order in which they should go."""
    rows = {row["id"]: row for row in await connection.fetch("SELECT * FROM runner_manager_task")}
    if not case.get("upstream_bug"):
        order = [pk for pk in case["expect"][f"max{limit}"]["order_of_rows"] if pk in rows]
        return {kind: [pk for pk in order if rows[pk]["type"] == kind] for kind in SUBMITTABLE}
    ranks = {int(pk): rank for pk, rank in case["expect"]["ranks_after_refresh"].items() if rank}
    sources: dict[tuple[str, int], int] = {}
    for pk in sorted(ranks, key=ranks.__getitem__):
        source = rows[pk]["recording_id"] if rows[pk]["type"] == TaskType.STUDIO else rows[pk]["video_id"]
        if source is not None:
            sources.setdefault((rows[pk]["type"], source), pk)
    return {kind: [pk for (type_, _), pk in sources.items() if type_ == kind][:limit] for kind in SUBMITTABLE}


async def _went(connection: Connection, fake: FakeRunnerManager) -> dict[str, list[int]]:
    rows = {
        row["task_id"]: (row["type"], row["id"])
        for row in await connection.fetch(
            "SELECT id, type, task_id FROM runner_manager_task WHERE status = 'running'"
        )
    }
    order = [rows[task_id] for task_id in fake.tasks]
    return {kind: [pk for type_, pk in order if type_ == kind] for kind in SUBMITTABLE}


@pytest.mark.slow
@pytest.mark.parametrize(("world", "limit"), _LIMITS, indirect=["world"])
async def test_each_type_goes_in_the_order_in_which_pod_submitted_it_or_should_have(
    world: RewindingWorld, limit: int
) -> None:
    found: dict[str, dict[str, list[int]]] = {}
    expected: dict[str, dict[str, list[int]]] = {}
    for case in _cases_of(world):
        async with _started(world, case, runners=3 * limit) as (fake, connection):
            expected[case["id"]] = await _expected(connection, case, limit)
            async with running(_settings(world.world), budget=limit) as daemon:
                await daemon.settle()
            found[case["id"]] = await _went(connection, fake)
    assert expected == found
    assert len(found) >= 10


async def test_what_is_never_submitted_is_closed(world: RewindingWorld) -> None:
    cases = [case for case in _cases_of(world) if case["id"] in _WITH_ROWS_TO_CLOSE]
    assert cases
    for case in cases:
        async with _started(world, case, runners=100) as (fake, connection):
            sources = await connection.fetch(
                "SELECT DISTINCT type, video_id, recording_id FROM runner_manager_task"
                " WHERE status = 'pending' AND (video_id IS NOT NULL OR recording_id IS NOT NULL)"
            )
            async with running(_settings(world.world)) as daemon:
                await daemon.settle()
                await bring_in(connection)
                await connection.execute(
                    "UPDATE runner_manager_task SET status = 'completed' WHERE status = 'running'"
                )
                await daemon.settle()
            ends = await connection.fetch(
                "SELECT status, video_id IS NULL AND recording_id IS NULL AS is_empty"
                " FROM runner_manager_task WHERE id::text = ANY ($1)",
                [pk for pk, rank in case["expect"]["ranks_after_refresh"].items() if rank],
            )
        assert len(fake.tasks) == len(sources)
        assert {(end["status"], end["is_empty"]) for end in ends} <= {("completed", False), ("failed", True)}
