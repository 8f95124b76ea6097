"""One lease queue under five tables: whatever holds for one of them holds for all."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from poddispatchd.clock import Clock
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.domain.backoff import Backoff
from poddispatchd.domain.import_failures import LONGEST_DELAY
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.observability.events import Event
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.lease_holder import LeaseHolder
from poddispatchd.runtime.lease_queue import LONGEST_WORDS, AtWork, Leased, LeaseQueue
from poddispatchd.runtime.queue_tables import CALLBACKS, DELIVERIES, FILES, IMPORTS, NOTICES, QUEUES
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_ADD = {
    CALLBACKS: "INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest)"
    " VALUES (ARRAY[$2::bigint], 't-' || $1::int, 'failed', sha256($1::int::text::bytea))",
    IMPORTS: "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id)"
    " VALUES ($1::int, $2, 't-' || $1::int)",
    NOTICES: "INSERT INTO poddispatchd.notice (event, task_pk, task_type)"
    " VALUES (CASE $2::bigint WHEN 1 THEN 'completed' ELSE 'failed' END, $1::int, 'encoding')",
    DELIVERIES: "INSERT INTO poddispatchd.delivery (channel, task_pk, content)"
    " VALUES (CASE $2::bigint WHEN 1 THEN 'mail' ELSE 'push' END, $1::int, '{}')",
    FILES: "INSERT INTO poddispatchd.obsolete_file (path, task_pk) VALUES ('videos/' || $1::int, $2)",
}
"""Item number $1 of partition $2."""

every_queue = pytest.mark.parametrize("queue", list(QUEUES.values()), ids=list(QUEUES))


@asynccontextmanager
async def _sessions(pod_database: PodDatabase) -> AsyncIterator[tuple[Connection, Connection]]:
    async with opened(pod_database) as database:
        await migration.upgrade(database)
    async with pod_database.connection() as one, pod_database.connection() as two:
        yield one, two


async def _add(connection: Connection, queue: LeaseQueue, *numbers: int, partition: int = 1) -> None:
    for number in numbers:
        await connection.execute(_ADD[queue], number, partition)


async def _later(connection: Connection, queue: LeaseQueue) -> None:
    """Let every lease and every wait be over."""
    table = queue.table
    await connection.execute(
        f"UPDATE poddispatchd.{table.name} SET next_attempt_at = now(), {table.lease_expires_at} = now()"
    )


@every_queue
async def test_an_item_is_leased_to_one_daemon_at_a_time(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, two):
        await _add(one, queue, *range(6))
        async with one.transaction():
            mine = await queue.claim(one, "a", 3)
            async with asyncio.timeout(5):
                theirs = await queue.claim(two, "b", 10)
        keys = {item.lease.key for item in mine}
        assert len(keys) == 3
        assert keys.isdisjoint(item.lease.key for item in theirs)
        rest = await queue.claim(two, "b", 10)
        assert len(theirs) + len(rest) == 3
        assert await queue.claim(two, "b", 10) == []
        assert await queue.holds(one, mine[0].lease)
        assert not await queue.holds(one, replace(mine[0].lease, owner="b"))


@every_queue
async def test_a_lease_that_ran_out_is_anyones_and_its_owner_changes_nothing_any_more(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, two):
        await _add(one, queue, 1)
        [late] = await queue.claim(one, "late", 1)
        due = await queue.next_due(one)
        assert due is not None
        assert queue.table.lease_seconds - 10 < due <= queue.table.lease_seconds
        await _later(one, queue)
        [taken] = await queue.claim(two, "next", 1)
        assert taken.lease.attempts == 2
        assert not await queue.set_aside(one, late.lease, "too late")
        await queue.postpone(one, late.lease, 0)
        await queue.release(one, "late", [late.lease.key])
        await queue.renew(one, "late", [late.lease.key])
        assert await queue.holds(two, taken.lease)


@every_queue
async def test_what_is_still_worked_on_stays_leased(pod_database: PodDatabase, queue: LeaseQueue) -> None:
    async with _sessions(pod_database) as (one, two):
        await _add(one, queue, 1)
        [item] = await queue.claim(one, "a", 1)
        await _later(one, queue)
        await queue.renew(one, "a", [item.lease.key])
        assert await queue.claim(two, "b", 1) == []


@every_queue
async def test_a_lease_of_an_item_that_somebody_holds_lets_no_other_one_run_out(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    """No lease was renewed while an item was held: another daemon began what this one was at."""
    async with _sessions(pod_database) as (one, two):
        await _add(one, queue, 1, 2)
        items = [item.lease.key for item in await queue.claim(one, "a", 2)]
        key, held = queue.table.key, min(items, key=str)
        await _later(one, queue)
        async with two.transaction():
            await two.execute(
                f"SELECT FROM poddispatchd.{queue.table.name} WHERE {key} = $1 FOR UPDATE", held
            )
            await one.execute("SET lock_timeout = '100ms'")
            await queue.renew(one, "a", items)
        assert [item.lease.key for item in await queue.claim(one, "b", 5)] == [held]


@every_queue
async def test_an_item_that_fails_backs_off_and_is_set_aside_with_its_words(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1)
        waits = []
        for _ in range(queue.table.max_attempts):
            await _later(one, queue)
            [item] = await queue.claim(one, "a", 1)
            waits.append(await queue.fail(one, item.lease, "It\0 is poison.", random=lambda: 1.0))
            assert await queue.claim(one, "a", 1) == []
        *growing, last = waits
        assert last is None
        assert growing == sorted(wait for wait in growing if wait is not None)
        await _later(one, queue)
        assert await queue.claim(one, "a", 1) == []
        assert await queue.next_due(one) is None
        [told] = await queue.set_aside_items(one, 10)
        assert (told.key, told.attempts, told.words) == (
            str(item.lease.key),
            queue.table.max_attempts,
            "It is poison.",
        )
        assert (await queue.figures(one)).set_aside == 1


@every_queue
async def test_a_person_has_what_was_set_aside_tried_again_or_dismisses_it(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1)
        [item] = await queue.claim(one, "a", 1)
        assert await queue.set_aside(one, item.lease, "x" * 10 * LONGEST_WORDS)
        key = str(item.lease.key)
        assert not await queue.retry(one, "no such item")
        assert await queue.retry(one, key)
        assert not await queue.retry(one, key)
        [again] = await queue.claim(one, "a", 1)
        assert again.lease.attempts == 1
        assert await queue.set_aside(one, again.lease, "again")
        assert await queue.dismiss(one, key)
        assert await queue.set_aside_items(one, 10) == []
        figures = await queue.figures(one)
        assert (figures.open, figures.set_aside) == (0, 0)


@every_queue
async def test_leases_are_given_back_although_a_session_of_a_dead_link_still_holds_an_item(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    """The server finds out after 20 s: until then a daemon could claim nothing, and said so as an error."""
    async with _sessions(pod_database) as (one, two):
        await _add(one, queue, 1, 2)
        items = {item.lease.key for item in await queue.claim(one, "a", 2)}
        key, of_the_dead = queue.table.key, min(items, key=str)
        async with two.transaction():
            await two.execute(
                f"SELECT FROM poddispatchd.{queue.table.name} WHERE {key} = $1 FOR UPDATE", of_the_dead
            )
            await one.execute("SET lock_timeout = '100ms'")
            await queue.release(one, "a", items)
            free = [item.lease.key for item in await queue.claim(one, "b", 5)]
            await queue.release_owner(one, "a")
        assert free == sorted(items - {of_the_dead}, key=str)
        await queue.release_owner(one, "a")
        assert [item.lease.key for item in await queue.claim(one, "b", 5)] == [of_the_dead]


@every_queue
async def test_what_was_not_tried_is_given_back_uncounted(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1, 2)
        await queue.claim(one, "gone", 1)
        [item] = await queue.claim(one, "alive", 1)
        await queue.release_dead(one, lambda owner: owner == "gone")
        [next_] = await queue.claim(one, "next", 5)
        assert next_.lease.attempts == 1
        await queue.release(one, "alive", [item.lease.key])
        [again] = await queue.claim(one, "next", 5)
        assert (again.lease.key, again.lease.attempts) == (item.lease.key, 1)
        await queue.postpone(one, again.lease, 100, words="Not its fault.")
        due = await queue.next_due(one)
        assert due is not None
        assert due <= queue.table.lease_seconds
        await _later(one, queue)
        assert {each.lease.attempts for each in await queue.claim(one, "next", 5)} == {1, 2}


@every_queue
async def test_partitions_take_turns_and_one_of_them_has_its_share_only(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, *range(20))
        await _add(one, queue, 100, 101, partition=2)
        await queue.claim(one, "a", 4)
        leased = await _leased(one, queue, "a")
        assert sorted(leased.values()) == [2, 2]
        # Whoever is at two of a partition already gets none of it beyond a share of two.
        assert await queue.claim(one, "a", 4, at_work=AtWork(leased, 2)) == []
        assert len(await queue.claim(one, "a", 4, at_work=AtWork(leased, 3))) == 1


async def _leased(connection: Connection, queue: LeaseQueue, owner: str) -> dict[str, int]:
    table = queue.table
    rows = await connection.fetch(
        f"SELECT {table.partition}::text AS name, count(*) FROM poddispatchd.{table.name}"
        f" WHERE {table.lease_owner} = $1 GROUP BY 1",
        owner,
    )
    return {row["name"]: row["count"] for row in rows}


@every_queue
async def test_only_what_is_settled_or_set_aside_for_long_is_purged(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1, 2, 3)
        old, young = await queue.claim(one, "a", 2)
        for item in (old, young):
            await queue.set_aside(one, item.lease, "poison")
        table = queue.table
        await one.execute(
            f"UPDATE poddispatchd.{table.name} SET {table.settled_at} = now() - interval '91 days'"
            f" WHERE {table.key} = $1",
            old.lease.key,
        )
        await queue.purge(one, days=90, batch=1)
        assert [item.key for item in await queue.set_aside_items(one, 10)] == [str(young.lease.key)]
        assert (await queue.figures(one)).open == 1


async def test_a_daemon_of_the_release_before_leaves_alone_what_is_leased(pod_database: PodDatabase) -> None:
    """It knows no leases of callbacks and deliveries: what it looks at is when an item is due."""
    async with _sessions(pod_database) as (one, _):
        for queue in (CALLBACKS, DELIVERIES):
            await _add(one, queue, 1)
            await queue.claim(one, "new", 1)
            table = f"poddispatchd.{queue.table.name}"
            due = f"SELECT id FROM {table} WHERE state = 'open' AND next_attempt_at <= now()"
            assert await one.fetch(due) == []
        # And what it has taken itself is left alone here.
        await _add(one, CALLBACKS, 2)
        await one.execute(
            "UPDATE poddispatchd.callback SET attempts = 1, next_attempt_at = now() + interval '60 seconds'"
        )
        assert await CALLBACKS.claim(one, "new", 5) == []


async def test_every_queue_is_told_of_at_once(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        for queue in QUEUES.values():
            await _add(one, queue, 1)
        [item] = await NOTICES.claim(one, "a", 1)
        await NOTICES.set_aside(one, item.lease, "poison")
        found = await queue_tables.figures(one)
        assert {name: (each.open, each.set_aside) for name, each in found.items()} == {
            name: (0, 1) if name == "notices" else (1, 0) for name in QUEUES
        }
        assert [(name, item.words) for name, [item] in (await queue_tables.set_aside(one)).items()] == [
            ("notices", "poison")
        ]
        words = queue_tables.set_aside_words({name: each.set_aside for name, each in found.items()})
        assert words is not None
        assert "1 of notices" in words


def test_a_name_that_is_no_identifier_never_reaches_a_statement() -> None:
    for table in (
        replace(CALLBACKS.table, name='callback"; DROP TABLE x; --'),
        replace(CALLBACKS.table, order=("id desc",)),
        replace(CALLBACKS.table, payload=("a b",)),
    ):
        with pytest.raises(ValueError, match="no plain identifier"):
            LeaseQueue(table)


def test_the_wait_doubles_up_to_a_limit() -> None:
    backoff = Backoff(shortest=1.0, base=2.0, cap=10.0)
    assert [backoff.delay(attempts, lambda: 1.0) for attempts in (1, 2, 3, 4, 5)] == [3, 5, 9, 11, 11]
    assert backoff.delay(5, lambda: 0.0) == 1.0


@every_queue
@pytest.mark.parametrize("by", ["1 hour", "1 year"])
async def test_a_clock_of_the_server_that_was_set_back_keeps_no_item_waiting(
    pod_database: PodDatabase, queue: LeaseQueue, by: str
) -> None:
    """Set back by less than two days, it kept all that was open from its turn for as long, without a word."""
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1, 2)
        assert len(await queue.claim(one, "killed meanwhile", 1)) == 1
        table = queue.table
        await one.execute(
            f"UPDATE poddispatchd.{table.name} SET next_attempt_at = next_attempt_at + interval '{by}',"
            f" {table.lease_expires_at} = {table.lease_expires_at} + interval '{by}'"
        )
        due = await queue.next_due(one)
        assert due is not None
        assert due <= 0
        assert len(await queue.claim(one, "one", 9)) == 2
        due = await queue.next_due(one)
        assert due is not None
        assert due > 0


@every_queue
@pytest.mark.parametrize("is_last", [False, True])
async def test_a_failure_after_the_end_of_its_lease_is_told_by_nobody_as_that_of_the_item(
    pod_database: PodDatabase, queue: LeaseQueue, is_last: bool
) -> None:
    """Another daemon is at it, or has done it: the item was told as set aside though it was well."""
    async with opened(pod_database) as database:
        await migration.upgrade(database)
        async with pod_database.connection() as one:
            await _add(one, queue, 1)
            table = queue.table
            attempts = table.max_attempts - 1 if is_last else 0
            await one.execute(f"UPDATE poddispatchd.{table.name} SET attempts = {attempts}")
            late = LeaseHolder(queue, database, "late", Clock())
            [item] = await late.claim(9)
            await _later(one, queue)
            [taken] = await queue.claim(one, "next", 9)

            async def work() -> None:
                raise ValueError

            with capture_logs() as logs:
                await late.attempt(item.lease, work, within=10, task=1)
            told = {entry["event"] for entry in logs if entry["event"].startswith("queue.")}
            assert told == {Event.QUEUE_ITEM_LEFT}
            assert await queue.holds(one, taken.lease)
            await late.stop()


@every_queue
async def test_no_wait_that_is_given_is_taken_for_a_clock_that_was_set_back(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1)
        for _attempt in range(queue.table.max_attempts - 1):
            [item] = await queue.claim(one, "one", 9)
            assert await queue.claim(one, "another", 9) == []
            seconds = await queue.fail(one, item.lease, "no", random=lambda: 1.0)
            assert seconds is not None
            due = await queue.next_due(one)
            assert due is not None
            assert seconds - 60 < due <= seconds
            assert await queue.claim(one, "one", 9) == []
            await _later(one, queue)


@every_queue
async def test_a_clock_that_was_set_back_gives_nobody_a_second_lease_of_what_it_is_at(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1)
        [held] = await queue.claim(one, "one", 9)
        table = queue.table
        await one.execute(
            f"UPDATE poddispatchd.{table.name} SET next_attempt_at = next_attempt_at + interval '1 day',"
            f" {table.lease_expires_at} = {table.lease_expires_at} + interval '1 day'"
        )
        assert await queue.claim(one, "one", 9) == []
        await queue.renew(one, "one", [held.lease.key])
        assert await queue.claim(one, "another", 9) == []
        assert await queue.holds(one, held.lease)


async def test_imports_wait_for_what_is_not_their_fault_as_long_as_they_are_told(
    pod_database: PodDatabase,
) -> None:
    """It was no clock that was set back: the attempts of an obstacle do not count, and it may last."""
    async with _sessions(pod_database) as (one, _):
        await _add(one, IMPORTS, 1)
        [item] = await IMPORTS.claim(one, "one", 9)
        await IMPORTS.postpone(one, item.lease, 1.0 + LONGEST_DELAY, words="no room")
        assert await IMPORTS.claim(one, "one", 9) == []


async def test_an_item_whose_row_is_held_when_it_fails_keeps_no_other_from_its_turn(
    pod_database: PodDatabase,
) -> None:
    """That it had failed could not be written down: the items behind it were given back, each time anew."""
    async with opened(pod_database) as database:
        await migration.upgrade(database)
        async with pod_database.connection() as one, pod_database.connection() as two:
            await _add(one, NOTICES, 1, 2, 3)
            leases, done, held = LeaseHolder(NOTICES, database, "a", Clock()), [], two.transaction()
            items = sorted(await leases.claim(10), key=lambda item: item.row["task_pk"])

            async def work(item: Leased) -> None:
                done.append(item.row["task_pk"])
                if item.row["task_pk"] == 1:
                    await held.start()
                    await two.execute("SELECT FROM poddispatchd.notice WHERE task_pk = 1 FOR UPDATE")
                    raise ValueError

            await leases.each(items, work, within=10, task="task_pk")
            assert done == [1, 2, 3]
            await held.rollback()
            # It is due again as soon as its row can be had.
            [again] = [item for item in await leases.claim(10) if item.row["task_pk"] == 1]
            assert again.lease.attempts == 1
            await leases.stop()


@every_queue
async def test_what_is_handed_back_without_the_database_is_given_back_with_the_next_claim(
    pod_database: PodDatabase, queue: LeaseQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise DatabaseUnavailableError

    async with opened(pod_database) as database:
        await migration.upgrade(database)
        async with pod_database.connection() as connection:
            await _add(connection, queue, 1, 2)
        holder = LeaseHolder(queue, database, "a", Clock())
        first, second = await holder.claim(2)
        with monkeypatch.context() as patched:
            patched.setattr(LeaseQueue, "release", lost)
            await holder.hand_back([first.lease])
        holder.let_go(second.lease)
        holder.abandon(second.lease)
        assert {item.lease.key for item in await holder.claim(2)} == {first.lease.key, second.lease.key}
        await holder.stop()


@every_queue
async def test_what_a_daemon_is_at_is_not_begun_a_second_time_by_itself(
    pod_database: PodDatabase, queue: LeaseQueue
) -> None:
    """The database was away for longer than a lease: each download of an hour was begun once more."""
    async with opened(pod_database) as database:
        await migration.upgrade(database)
        async with pod_database.connection() as connection:
            await _add(connection, queue, 1, 2)
            holder, other = (LeaseHolder(queue, database, name, Clock()) for name in ("a", "b"))
            [item] = await holder.claim(1)
            await _later(connection, queue)

            [second] = await holder.claim(9)

            assert second.lease.key != item.lease.key
            await _later(connection, queue)
            assert await holder.claim(9) == []
            # Nor is it looked for again and again.
            assert await holder.next_look(idle=40.0) == 40.0
            assert await other.next_look(idle=40.0) < 1.0
            await queue.renew(connection, "a", [item.lease.key, second.lease.key])
            assert await queue.holds(connection, item.lease)
            # It is over for this daemon: whoever asks first has it.
            await _later(connection, queue)
            holder.let_go(item.lease)
            assert [each.lease.key for each in await holder.claim(9)] == [item.lease.key]
            # Another daemon does not wait for one that may be dead.
            await _later(connection, queue)
            assert len(await other.claim(9)) == 2
            await holder.stop()
            await other.stop()


async def test_what_is_leased_anew_is_not_given_back_by_another_claim_of_the_same_moment(
    pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are deleted side by side: one gave back what another had begun with."""
    async with opened(pod_database) as database:
        await migration.upgrade(database)
        async with database.connection() as connection:
            await _add(connection, FILES, 1)
        holder = LeaseHolder(FILES, database, "a", Clock())
        [lost] = await holder.claim(1)
        holder.abandon(lost.lease)
        release, begun, may_go = FILES.release, asyncio.Event(), asyncio.Event()

        async def slow_once(connection: Connection, owner: str, keys: Collection[object]) -> None:
            if not begun.is_set():
                begun.set()
                await may_go.wait()
            await release(connection, owner, keys)

        monkeypatch.setattr(FILES, "release", slow_once)
        first = asyncio.create_task(holder.claim(1))
        await begun.wait()
        second = await holder.claim(1)
        may_go.set()

        [item] = [*second, *await first]
        async with database.connection() as connection:
            assert await FILES.holds(connection, item.lease)
        await holder.stop()


@pytest.mark.parametrize(
    ("queue", "since"),
    [(CALLBACKS, "unanswered_since"), (IMPORTS, "obstructed_since")],
    ids=["callbacks", "imports"],
)
async def test_the_days_for_which_an_item_was_set_aside_are_none_of_trying_it(
    pod_database: PodDatabase, queue: LeaseQueue, since: str
) -> None:
    """Tried again by a person, it was given up at the first look: it had waited for days, as it seemed."""
    table = f"poddispatchd.{queue.table.name}"
    async with _sessions(pod_database) as (one, _):
        await _add(one, queue, 1)
        [item] = await queue.claim(one, "a", 1)
        await one.execute(f"UPDATE {table} SET {since} = now() - interval '1 hour'")
        assert await queue.set_aside(one, item.lease, "It is poison.")
        await one.execute(
            f"UPDATE {table} SET {since} = {since} - interval '3 days',"
            " next_attempt_at = next_attempt_at - interval '3 days'"
        )

        assert await queue.retry(one, str(item.lease.key))
        assert len(await queue.claim(one, "a", 1)) == 1

        assert await one.fetchval(f"SELECT now() - {since} < interval '2 hours' FROM {table}")
