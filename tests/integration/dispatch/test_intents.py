"""The statement that commits an intent, beside another scheduler and another submission."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.dispatch.intents import IntentRequest, Obstacle, Refused, open_intents
from poddispatchd.domain.lifecycle import LONGEST_WAIT
from poddispatchd.domain.payload import Payload
from poddispatchd.domain.task import ManagerId, TaskPk, TaskType
from poddispatchd.journal import scheduling, submissions
from poddispatchd.journal.submissions import Submission, SubmissionState
from poddispatchd.pod.tasks import get_task
from tests.integration.journal.writing import until_one_waits
from tests.integration.pod import rows
from tests.plugins.postgres import PodDatabase

_Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_MANAGER = ManagerId(1)
_PAYLOAD = Payload("Pod", "4.2.0", TaskType.ENCODING, "https://pod/1.mp4", "https://pod/notify/", ())


@asynccontextmanager
async def _sessions(pod_database: PodDatabase) -> AsyncIterator[tuple[_Session, _Session]]:
    async with rows.opened(pod_database) as database:
        await migration.upgrade(database)
    async with pod_database.connection() as one, pod_database.connection() as two:
        yield one, two


async def _open(connection: Connection, task: TaskPk, *, term: int = 0) -> Submission | Refused:
    row = await get_task(connection, task)
    assert row is not None
    [outcome] = await open_intents(connection, [IntentRequest(row, _MANAGER, _PAYLOAD, term)])
    return outcome


async def _opened(connection: Connection, task: TaskPk, *, term: int = 0) -> Submission:
    outcome = await _open(connection, task, term=term)
    assert isinstance(outcome, Submission)
    return outcome


async def _take(connection: Connection, instance: str) -> int | None:
    look = await scheduling.take_lease(connection, instance, seconds=60, schema=migration.LATEST)
    return look.term


async def test_a_task_has_one_open_submission(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        task = await rows.task(one)
        both = await asyncio.gather(_open(one, task), _open(two, task))
        [first] = [outcome for outcome in both if isinstance(outcome, Submission)]
        again = await _open(one, task)
        assert isinstance(again, Refused)
        assert again.obstacle is Obstacle.UNSETTLED
        await submissions.close_intent(one, first, SubmissionState.REFUSED)
        assert isinstance(await _open(two, task), Submission)


async def test_a_scheduler_of_the_past_opens_and_reposts_nothing(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        first, second = await rows.task(one), await rows.task(one)
        old = await _take(one, "old")
        assert old is not None
        intent = await _opened(one, first, term=old)
        await scheduling.end_lease(one, old, "old")
        new = await _take(two, "new")
        assert new == old + 1
        assert await _open(one, second, term=old) == Refused(Obstacle.TERM_IS_OVER)
        assert not await submissions.repost(one, intent, term=old)
        assert await submissions.repost(two, intent, term=new)
        assert (await scheduling.leader(one)).instance == "new"


async def test_a_clock_of_the_database_that_was_set_back_keeps_no_intent_waiting(
    pod_database: PodDatabase,
) -> None:
    async with _sessions(pod_database) as (one, _):
        task = await rows.task(one)
        row = await get_task(one, task)
        assert row is not None
        await scheduling.put_back(one, task, row.date_added, wait=LONGEST_WAIT)
        waiting = await _open(one, task)
        assert isinstance(waiting, Refused)
        assert waiting.obstacle is Obstacle.WAIT
        await one.execute("UPDATE poddispatchd.own_task SET not_before = not_before + interval '1 hour'")
        assert isinstance(await _open(one, task), Submission)


async def test_a_term_does_not_begin_in_the_middle_of_an_intent(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        task = await rows.task(one)
        async with one.transaction():
            await _opened(one, task)
            beginning = asyncio.create_task(_take(two, "new"))
            await until_one_waits(pod_database)
            assert not beginning.done()
        # Whoever begins a term finds every intent of the one before.
        assert await beginning == 1
        assert len(await submissions.open_submissions(two)) == 1


async def test_a_lease_is_renewed_in_the_middle_of_an_intent_and_no_term_begins(
    pod_database: PodDatabase,
) -> None:
    """An intent may wait for what a stalled daemon has locked: the scheduler lost its lease by that."""
    async with _sessions(pod_database) as (one, two):
        task = await rows.task(one)
        assert await _take(one, "old") == 1
        async with one.transaction():
            await _opened(one, task, term=1)
            async with asyncio.timeout(5):
                assert await scheduling.renew_lease(two, 1, "old", seconds=0)
            beginning = asyncio.create_task(_take(two, "new"))
            await until_one_waits(pod_database)
            assert not beginning.done()
        assert await beginning == 2
        assert len(await submissions.open_submissions(two)) == 1
