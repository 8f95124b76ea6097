"""The queue by fair share in SQL, held to its definition in ``domain/fair_share.py``."""

import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from poddispatchd.database.pool import Connection
from poddispatchd.domain.fair_share import Claim, FairOrder, FairShare, fair_order
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.queue_order import (
    CandidateQuery,
    claim_of,
    pending_tasks,
    write_ranks,
    wrong_ranks,
)
from poddispatchd.pod.workload import waiting_work
from tests.integration.pod.rows import NOON, later, pod, recording, task, user, video
from tests.plugins.postgres import PodDatabase

_COSTS = {"encoding": 512.0, "transcription": 2048.0}


async def _owners(connection: Connection) -> list[int]:
    owners = [
        await user(connection, affiliation, priority=priority)
        for affiliation, priority in (
            ("employee", False),
            ("employee", False),
            ("student", False),
            ("student", True),
            (None, False),
        )
    ]
    for number, owner in enumerate(owners):
        await connection.execute(
            "UPDATE authentication_owner SET establishment = $2 WHERE user_id = $1",
            owner,
            f"Etab_{number % 2}",
        )
    return owners


async def _queue(connection: Connection, owners: Sequence[int], dice: random.Random) -> None:
    for _ in range(60):
        owner, added = dice.choice(owners), later(dice.randrange(30))
        status = dice.choice(["pending", "pending", "pending", "running", "completed"])
        kind = dice.choice(["encoding", "encoding", "transcription", "studio"])
        if kind == "studio":
            source = {"recording_id": await recording(connection, user_id=owner)}
        else:
            source = {"video_id": await video(connection, owner)}
        await task(connection, kind, status, date_added=added, **source)


@pytest.mark.parametrize("by", [FairShare.OWNER, FairShare.ESTABLISHMENT])
@pytest.mark.parametrize("seed", range(4))
async def test_the_statement_orders_as_the_definition_says(
    pod_database: PodDatabase, by: FairShare, seed: int
) -> None:
    dice = random.Random(seed)
    async with pod(pod_database) as (database, capabilities, connection):
        owners = await _owners(connection)
        await _queue(connection, owners, dice)
        parties = [str(owner) for owner in owners] if by is FairShare.OWNER else ["Etab_0", "Etab_1"]
        due = {(1, "encoding"): (later(8), TaskPk(30)), (2, "transcription"): (later(20), TaskPk(0))}
        order = FairOrder(by, {party: float(dice.randrange(4000)) for party in parties}, _COSTS, due)

        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=100), order)

        claims: list[Claim] = []
        running: dict[str, float] = {}
        for row in await connection.fetch("SELECT id, type, status FROM runner_manager_task"):
            if row["status"] == "running":
                await connection.execute(
                    "UPDATE runner_manager_task SET status = 'pending' WHERE id = $1", row["id"]
                )
                claim = await claim_of(database, capabilities, TaskPk(row["id"]), by)
                await connection.execute(
                    "UPDATE runner_manager_task SET status = 'running' WHERE id = $1", row["id"]
                )
                assert claim is not None
                running[claim.party] = running.get(claim.party, 0.0) + _COSTS.get(claim.type, 600.0)
            elif row["status"] == "pending":
                claim = await claim_of(database, capabilities, TaskPk(row["id"]), by)
                assert claim is not None
                claims.append(claim)
        used = {
            party: order.used.get(party, 0.0) + running.get(party, 0.0) for party in {*order.used, *running}
        }
        expected = [claim.task for claim in fair_order(claims, replace(order, used=used))]
        assert [item.task.pk for item in queue] == expected
        assert [item.task.pk for item in sorted(queue, key=lambda item: item.place)] == expected

        # Ranks and forecasts go by the same order.
        assert await write_ranks(database, capabilities, order) == len(expected)
        assert await write_ranks(database, capabilities, order) == 0
        assert (await wrong_ranks(database, capabilities, limit=5, order=order)).count == 0
        ranked = await connection.fetch(
            "SELECT id FROM runner_manager_task WHERE status = 'pending' ORDER BY rank"
        )
        assert [row["id"] for row in ranked] == expected
        work = await waiting_work(database, capabilities, limit=100, order=order)
        assert [item.source.pk for item in work] == expected


async def test_without_fair_share_it_is_pods_order(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        await _queue(connection, await _owners(connection), random.Random(9))

        queue = await pending_tasks(database, capabilities, CandidateQuery(limit=100))

        assert {item.turn for item in queue} == {0.0}
        in_pods_order = sorted(queue, key=lambda item: (item.priority, item.task.date_added, item.task.pk))
        assert queue == in_pods_order


async def test_a_page_holds_the_first_of_a_party_behind_a_flood(pod_database: PodDatabase) -> None:
    async with pod(pod_database) as (database, capabilities, connection):
        flooding, other = await user(connection), await user(connection)
        for number in range(50):
            await task(
                connection,
                video_id=await video(connection, flooding),
                date_added=NOON + timedelta(seconds=number),
            )
        behind = await task(connection, video_id=await video(connection, other), date_added=later(30))

        page = await pending_tasks(
            database, capabilities, CandidateQuery(limit=2), FairOrder(FairShare.OWNER)
        )

        assert page[1].task.pk == behind
