"""Fair share: parties take turns, ranks say so, and nobody is put back for too long."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.database.connections import Connection
from poddispatchd.domain.fair_share import due_places
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.journal import fair_share
from poddispatchd.journal.fair_share import GivenRunner, RunLengths
from poddispatchd.maintenance.job import Maintenance
from poddispatchd.pod.tasks import task_of
from tests.integration.counting import counted
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_OWNER = {"grace": 0, "fair_share": "owner"}


async def _flood(pod: Scene, count: int) -> list[TaskPk]:
    return [await pod.encoding(title=f"Flood {number}", owner="employee") for number in range(count)]


async def _begun(pod: Scene) -> list[TaskPk]:
    """Tasks in the order in which they were submitted."""
    rows = await pod.connection.fetch("SELECT task_pk FROM poddispatchd.submission ORDER BY id")
    return [TaskPk(row["task_pk"]) for row in rows]


async def _had(pod: Scene, name: str, *, seconds: float, hours_ago: float = 3) -> None:
    """A person had runner time."""
    await pod.connection.execute(
        "INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, owner_id, priority, ran, ended_at)"
        " VALUES (900, 'encoding', 'completed', $1, 1, $2, now() - make_interval(hours => $3))",
        pod.world.people[name].id,
        seconds,
        int(hours_ago),
    )


async def _runs_took(pod: Scene, seconds: float, count: int = 40) -> None:
    """Nearly all runs of anybody took so long."""
    await pod.connection.execute(
        "INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, priority, ran, ended_at)"
        " SELECT 900 + n, 'encoding', 'completed', 1, $1, now() - interval '1 hour'"
        " FROM generate_series(1, $2) AS n",
        seconds,
        count,
    )


async def _next_run(pod: Scene, daemon: Daemon, maintenance: Maintenance) -> None:
    """What runs ends, and the next one is submitted."""
    await maintenance.counter.look()
    for pk in await pod.connection.fetch("SELECT id FROM runner_manager_task WHERE status = 'running'"):
        await pod.end(pk["id"])
    for fake in pod.fakes.values():
        for record in [record for record in fake.tasks.values() if record.in_flight]:
            await fake.finish(record.task_id)
    await maintenance.counter.look()
    daemon.clock.advance(60)
    await daemon.settle()


async def test_the_one_task_of_another_is_next_after_the_first_of_a_flood_and_students_still_come_last(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        daemon = await pod.daemon(dispatch=_OWNER)
        maintenance = features.maintenance(daemon.parts)
        flood = await _flood(pod, 3)
        student = await pod.encoding(title="Student", owner="student")
        behind = await pod.encoding(title="One", owner="subscriber")
        await daemon.settle()
        await maintenance.ranks.write()
        ranks = {pk: (await pod.row(pk))["rank"] for pk in (*flood[1:], student, behind)}
        assert sorted(ranks, key=lambda pk: ranks[pk]) == [behind, *flood[1:], student]

        for _ in range(4):
            await _next_run(pod, daemon, maintenance)
        assert await _begun(pod) == [flood[0], behind, *flood[1:], student]


async def test_runner_time_of_the_last_days_decides_who_is_next(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        daemon = await pod.daemon(dispatch=_OWNER)
        maintenance = features.maintenance(daemon.parts)
        await _had(pod, "employee", seconds=3600)
        await _had(pod, "subscriber", seconds=4000, hours_ago=96)
        busy = await pod.encoding(title="Busy", owner="employee")
        idle = await pod.encoding(title="Idle", owner="subscriber")
        await daemon.settle()
        await _next_run(pod, daemon, maintenance)
        # Four days ago is nearly forgotten: its hour counts four minutes.
        assert await _begun(pod) == [idle, busy]


@pytest.mark.parametrize("by", ["owner", "establishment"])
async def test_runs_that_ended_by_a_clock_that_was_years_ahead_keep_nothing_from_being_submitted(
    pod_database: PodDatabase, media_root: Path, by: str
) -> None:
    """Their share was beyond all numbers: the order could not be read, and every task waited, for years."""
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        daemon = await pod.daemon(dispatch={"grace": 0, "fair_share": by})
        for years in (1, 4, 70):
            await _had(pod, "employee", seconds=60, hours_ago=-years * 366 * 24)
        task = await pod.encoding(title="One", owner="employee")
        await daemon.settle()
        assert await _begun(pod) == [task]


async def test_a_task_that_was_put_back_for_the_longest_delay_is_next(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        settings = {**_OWNER, "fair_share_delay": "5m"}
        daemon = await pod.daemon(dispatch=settings)
        maintenance = features.maintenance(daemon.parts)
        await _had(pod, "employee", seconds=36_000)
        await _runs_took(pod, 60)
        flood = await _flood(pod, 3)
        await daemon.settle()
        quick = [await pod.encoding(title=f"Quick {number}", owner="subscriber") for number in range(3)]
        await _next_run(pod, daemon, maintenance)
        assert await _begun(pod) == [flood[0], quick[0]]

        # It has the runner for six minutes: the others of the flood have waited for long enough.
        await pod.connection.execute(
            "UPDATE poddispatchd.overtaking SET begun_at = begun_at - interval '6 minutes'"
        )
        daemon.clock.advance(20)
        await daemon.settle()
        await pod.connection.execute(
            "UPDATE poddispatchd.overtaking SET begun_at = begun_at - interval '6 minutes'"
        )
        await _next_run(pod, daemon, maintenance)
        await _next_run(pod, daemon, maintenance)
        assert (await _begun(pod))[2:] == flood[1:]


async def test_fair_share_never_leaves_a_runner_idle_while_something_waits(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=4), Spec("two", runners=3)) as pod:
        daemon = await pod.daemon(dispatch=_OWNER)
        await _flood(pod, 10)
        await daemon.settle()
        assert (await pod.statuses())["running"] == 7


async def test_without_fair_share_nothing_is_read_or_written_for_it(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=9)) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        await pod.encoding()
        with counted(monkeypatch) as cost:
            await daemon.dispatcher.step()
            await daemon.dispatcher.drain()
        assert await pod.statuses() == {"running": 1}
        assert len(cost.statements) == 4  # as before there was fair share
        assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.overtaking") == 0


async def test_what_is_given_while_others_are_written_down_is_not_lost(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs read the order at the same moment, and the database went away in between."""
    async with scene(pod_database, media_root, Spec("one", runners=9)) as pod:
        daemon = await pod.daemon(dispatch=_OWNER)
        first, *others = [task_of(await pod.row(pk)) for pk in await _flood(pod, 4)]
        shares = daemon.parts.fair_shares
        note, calls = fair_share.note, list[int]()

        async def interrupted(connection: Connection, given: Sequence[GivenRunner]) -> int:
            shares.gives(others[len(calls)], 1, [TaskType.ENCODING])
            calls.append(len(given))
            if len(calls) == 1:
                raise DatabaseUnavailableError("It went away.")
            return await note(connection, given)

        shares.gives(first, 1, [TaskType.ENCODING])
        monkeypatch.setattr(fair_share, "note", interrupted)
        with pytest.raises(DatabaseUnavailableError):
            await shares.order()
        await asyncio.gather(shares.order(), shares.order())
        monkeypatch.undo()
        daemon.clock.advance(60)
        await shares.order()

        # That of the first task is forgotten: nobody stands before it.
        rows = await pod.connection.fetch("SELECT task_pk FROM poddispatchd.overtaking ORDER BY 1")
        assert {row["task_pk"] for row in rows} >= {other.pk for other in others[: len(calls)]}


async def test_a_task_that_was_given_two_runners_since_the_last_look_stops_nobody(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Its first run failed at once. No task was submitted any more until the daemon was started again."""
    async with scene(pod_database, media_root, Spec("one", runners=2)) as pod:
        daemon = await pod.daemon(dispatch=_OWNER)
        shares = daemon.parts.fair_shares
        _, twice = await _flood(pod, 2)
        given = task_of(await pod.row(twice))
        await pod.start(twice, "one", "its second run")
        for moment in (10, 20):
            shares.gives(given, 1, [TaskType.ENCODING])
            daemon.clock.advance(moment)
        await shares.order()
        begun = await pod.connection.fetch(
            "SELECT task_pk, extract(epoch FROM now() - begun_at) < 25 AS is_the_last"
            " FROM poddispatchd.overtaking"
        )
        assert [tuple(row) for row in begun] == [(twice, True)]


@pytest.mark.usefixtures("short_lock_waits")
async def test_tasks_go_in_pods_order_while_fair_share_can_not_be_had_and_people_hear_of_it(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Nothing was submitted at all while one table of ours was held, or refused what was given."""
    async with scene(pod_database, media_root, Spec("one", runners=2)) as pod:
        daemon = await pod.daemon(dispatch=_OWNER)
        incidents = daemon.parts.incidents
        await _had(pod, "employee", seconds=36_000)
        await _runs_took(pod, 60)
        flood = await _flood(pod, 3)
        await pod.encoding(title="Quick", owner="subscriber")
        async with pod_database.connection() as other, other.transaction():
            await other.execute("LOCK TABLE poddispatchd.overtaking")
            await daemon.settle()
            assert await _begun(pod) == flood[:2]
            [incident] = incidents.active
            assert "The order by fair share fails" in incident.words

        daemon.clock.advance(10)
        assert await daemon.parts.fair_shares.order() is not None
        assert not incidents.active


async def test_a_run_whose_result_is_being_imported_has_no_runner_any_more(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """It counted as one, and whoever was put back heard of a third of the time where it was half."""
    async with scene(pod_database, media_root, Spec("one", runners=2)) as pod:
        await pod.daemon(dispatch=_OWNER)
        _, importing, _, given = tasks = await _flood(pod, 4)
        await pod.connection.execute(
            "UPDATE runner_manager_task SET status = 'running', task_id = 'run ' || id WHERE id = ANY ($1)",
            tasks[1:],
        )
        await pod.connection.execute(
            "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id)"
            " SELECT $1, 1, 'run ' || $1::bigint",
            importing,
        )
        date_added = task_of(await pod.row(given)).date_added
        found = await fair_share.note(
            pod.connection, [GivenRunner(given, 1, date_added, [TaskType.ENCODING], 0.0)]
        )
        assert found == 2
        shares = await pod.connection.fetch("SELECT task_pk, share FROM poddispatchd.overtaking")
        assert [(row["task_pk"], row["share"]) for row in shares] == [(given, 0.5)]


async def test_whoever_one_run_more_would_put_back_for_too_long_is_next_at_once(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """It was noticed five seconds later, once the runs that overtook had lasted for the whole delay."""
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        daemon = await pod.daemon(dispatch={**_OWNER, "fair_share_delay": "100s"})
        shares = daemon.parts.fair_shares
        await _had(pod, "employee", seconds=36_000)
        await _runs_took(pod, 60)
        await _flood(pod, 2)
        order = await shares.order()
        assert order is not None
        assert not order.due
        quick = await pod.encoding(title="Quick", owner="subscriber")
        await pod.start(quick, "one", "runs")

        assert shares.gives(task_of(await pod.row(quick)), 1, [TaskType.ENCODING])
        order = await shares.order()

        assert order is not None
        assert {kind: pk for kind, (_, pk) in order.due.items()} == {(1, "encoding"): quick}


async def test_where_runs_take_longer_than_the_delay_it_is_pods_order(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("one", runners=1)) as pod:
        daemon = await pod.daemon(dispatch={**_OWNER, "fair_share_delay": "5m"})
        await _runs_took(pod, 400)
        await _flood(pod, 2)

        assert await daemon.parts.fair_shares.order() is None


async def test_the_statement_finds_those_who_are_due_as_the_definition_says(
    pod_database: PodDatabase, media_root: Path
) -> None:
    dice = random.Random(4)
    async with scene(pod_database, media_root, Spec("one")) as pod:
        await pod.daemon()
        running = [await pod.encoding(title=f"Running {number}") for number in range(3)]
        for number, pk in enumerate(running):
            await pod.start(pk, "one", f"run-{number}")
        for pk in [*running, *range(5000, 5030)]:
            await pod.connection.execute(
                "INSERT INTO poddispatchd.overtaking"
                " (task_pk, task_type, priority, date_added, share, begun_at, ended_at)"
                " VALUES ($1, $2, $3, now() - make_interval(mins => $4), $5, now() - interval '9 minutes',"
                "         CASE WHEN $6 THEN now() - interval '2 minutes' END)",
                pk,
                dice.choice(["encoding", "transcription"]),
                dice.randrange(3),
                dice.randrange(60),
                dice.choice([1.0, 0.5, 0.25]),
                pk >= 5000,
            )
        lengths = RunLengths({"encoding": 100.0}, {"encoding": 900.0})
        for longest in (1000.0, 1500.0, 2000.0, 9000.0):
            async with pod.connection.transaction():  # in which now() is one moment
                known = await fair_share.overtakings(pod.connection, lengths)
                found = await fair_share.due(pod.connection, lengths, longest=longest)
            assert found == due_places(known, longest, lengths.longest)
            assert bool(found) == (longest < 9000)
        # Nine minutes so far of the fifteen that a run is reckoned to take.
        assert {round(each.reckoned / each.seconds, 1) for each in known} == {1.0, 1.7}


async def test_a_daemon_that_stands_by_reads_the_order_and_writes_nothing(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root, Spec("one")) as pod:
        await pod.daemon(dispatch=_OWNER)
        standby = await pod.daemon(dispatch=_OWNER)
        assert standby.parts.session.term is None
        with counted(monkeypatch) as cost:
            assert await standby.parts.order() is not None
        assert cost.transactions == 0
