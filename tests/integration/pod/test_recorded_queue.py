"""Ranks as Pod itself wrote them, and the order in which it submitted where that order is defined."""

import json
from typing import Any

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.pod.capabilities import introspect
from poddispatchd.pod.queue_order import CandidateQuery, pending_tasks, write_ranks
from tests.integration.pod.rows import opened
from tests.plugins.shared_world import SharedWorldFactory
from tests.shared import SHARED

_CASES: list[dict[str, Any]] = (
    json.loads((SHARED / "vectors" / "queue.json").read_bytes())["cases"] if SHARED else []
)
# Pod submits each type apart, in this order.
_TYPES = (TaskType.ENCODING, TaskType.STUDIO, TaskType.TRANSCRIPTION)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["id"])
async def test_the_queue_is_in_the_order_of_pod(
    shared_world: SharedWorldFactory, case: dict[str, Any]
) -> None:
    world = await shared_world(case["variant"])
    await world.apply(case)
    async with opened(world.database) as database, world.database.connection() as connection:
        capabilities = await introspect(database)

        changed = await write_ranks(database, capabilities)
        ranks = {
            str(row["id"]): row["rank"]
            for row in await connection.fetch("SELECT id, rank FROM runner_manager_task")
        }
        assert case["expect"]["ranks_after_refresh"] == ranks
        assert changed <= len(ranks)
        assert await write_ranks(database, capabilities) == 0

        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=1000))
        by_rank = sorted((rank, int(pk)) for pk, rank in ranks.items() if rank is not None)
        assert [pk for _, pk in by_rank] == [pending.task.pk for pending in queue]

        if not case.get("upstream_bug"):
            for limit in (5, 20):
                handed_out = [
                    pending.task.pk
                    for type_ in _TYPES
                    for pending in await pending_tasks(
                        database, capabilities, CandidateQuery(limit=limit, types=[type_])
                    )
                ]
                assert case["expect"][f"max{limit}"]["order_of_rows"] == handed_out
