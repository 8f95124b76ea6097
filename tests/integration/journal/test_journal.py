"""What the journal remembers, on a real server and with several at work at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import pytest

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.inbox import CallbackEnd, CallbackState, RecordedCallback, Turn
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.duplicates import Taken
from poddispatchd.domain.lifecycle import LONGEST_WAIT
from poddispatchd.domain.task import (
    ManagerId,
    Run,
    RunnerStatus,
    RunnerTaskId,
    Task,
    TaskPk,
    TaskStatus,
    TaskType,
    VideoId,
)
from poddispatchd.imports import queue
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal import imports, pauses, scheduling, submissions
from poddispatchd.journal.imports import ImportState
from poddispatchd.journal.submissions import Submission, SubmissionState
from poddispatchd.maintenance import journal_purge
from poddispatchd.runtime.queue_tables import CALLBACKS, IMPORTS
from tests.integration.journal.writing import add_intent, until_one_waits
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase

_MANAGER = ManagerId(1)


_NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def _id(text: str) -> RunnerTaskId:
    return RunnerTaskId(text)


def _run(text: str) -> Run:
    return Run(_MANAGER, _id(text))


def _task(pk: int, *, date_added: datetime = _NOON) -> Task:
    return Task(
        pk=TaskPk(pk),
        type=TaskType.ENCODING,
        status=TaskStatus.PENDING,
        task_id=None,
        runner_manager_id=None,
        video_id=VideoId(7),
        recording_id=None,
        date_added=date_added,
    )


_Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@asynccontextmanager
async def _sessions(pod_database: PodDatabase) -> AsyncIterator[tuple[_Session, _Session]]:
    """Two sessions on a database with our schema."""
    async with opened(pod_database) as database:
        await migration.upgrade(database)
    async with pod_database.connection() as one, pod_database.connection() as two:
        yield one, two


async def _callbacks(connection: Connection, limit: int) -> list[RecordedCallback]:
    """Lease the next callbacks, in the order they came."""
    leased = await CALLBACKS.claim(connection, "a", limit)
    return [RecordedCallback.of(each) for each in sorted(leased, key=lambda each: int(str(each.lease.key)))]


async def _imports(connection: Connection, owner: str, limit: int) -> list[ImportJob]:
    return [ImportJob.of(each) for each in await IMPORTS.claim(connection, owner, limit)]


# --- submissions -----------------------------------------------------------------------------------------


async def _opened(connection: Connection, task: int = 1) -> Submission:
    return await add_intent(connection, _task(task), _MANAGER)


async def _take(connection: Connection, instance: str, *, seconds: float = 60) -> int | None:
    look = await scheduling.take_lease(connection, instance, seconds=seconds, schema=migration.LATEST)
    return look.term


@pytest.mark.parametrize(("renewed_for", "term"), [(60, None), (0, 2)])
async def test_whoever_waits_for_a_renewal_goes_by_what_it_says(
    pod_database: PodDatabase, renewed_for: int, term: int | None
) -> None:
    async with _sessions(pod_database) as (one, two):
        assert await _take(one, "old", seconds=0) == 1
        async with one.transaction():
            await scheduling.renew_lease(one, 1, "old", seconds=renewed_for)
            beginning = asyncio.create_task(_take(two, "new"))
            await until_one_waits(pod_database)
        assert await beginning == term
        assert (await scheduling.leader(one)).term == (term or 1)


async def test_a_refused_first_post_leaves_no_trace_and_a_second_one_does(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        await submissions.discard(one, await _opened(one), "connection refused")
        assert await submissions.of_task(one, TaskPk(1)) == []
        intent = await _opened(one)
        await submissions.repost(one, intent, term=0)
        await submissions.discard(one, intent, "full")
        [kept] = await submissions.of_task(one, TaskPk(1))
        # Its first post may have been carried out: it can still be found by a callback.
        assert (kept.state, kept.posts) == (SubmissionState.REFUSED, 2)
        assert [found.id for found in await submissions.unidentified(one, (_MANAGER,))] == [kept.id]


@pytest.mark.parametrize("restarted", [timedelta(days=1), timedelta(days=-1)])
async def test_attempts_are_counted_since_the_task_was_added_whatever_pods_clock_says(
    pod_database: PodDatabase, restarted: timedelta
) -> None:
    async with _sessions(pod_database) as (one, _):
        for state in (SubmissionState.ACCEPTED, SubmissionState.ORPHANED, SubmissionState.REFUSED):
            await submissions.close_intent(one, await _opened(one), state, task_id=_id(state))
        again = _task(1, date_added=_NOON + restarted)
        assert await submissions.attempts(one, again) == 0
        intent = await add_intent(one, again, _MANAGER, attempt=3)
        await submissions.close_intent(one, intent, SubmissionState.ACCEPTED, task_id=_id("b"))
        assert await submissions.attempts(one, again) == 1


async def test_a_submission_is_for_those_that_waited_then_and_have_not_been_restarted(
    pod_database: PodDatabase,
) -> None:
    async with _sessions(pod_database) as (one, _):
        waiting = {TaskPk(2): _NOON, TaskPk(3): _NOON}
        for task_id in ("first", "second"):
            intent = await add_intent(one, _task(1), _MANAGER, waiting=waiting)
            so_far = [] if task_id == "first" else [Taken(TaskPk(1), _run("first"))]
            assert await submissions.taken_for(one, {TaskPk(2): _NOON}) == {2: so_far}
            await submissions.close_intent(one, intent, SubmissionState.ACCEPTED, task_id=_id(task_id))
        both = [Taken(TaskPk(1), _run("second")), Taken(TaskPk(1), _run("first"))]
        restarted = _NOON - timedelta(days=1)
        wanted = {TaskPk(1): _NOON, TaskPk(2): restarted, TaskPk(3): _NOON}
        assert await submissions.taken_for(one, wanted) == {1: [], 2: [], 3: both}
        await one.execute("UPDATE poddispatchd.submission SET settled_at = now() - interval '91 days'")
        await journal_purge.purge(one, days=90, batch=1)
        assert await one.fetchval("SELECT count(*) FROM poddispatchd.wish") == 0


async def test_a_lost_submission_is_counted_whoever_made_it(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        await submissions.close_intent(one, await _opened(one), SubmissionState.ACCEPTED, task_id=_id("ours"))
        for task, task_id in ((1, "ours"), (1, "ours"), (2, "pods"), (2, "pods")):
            await submissions.lose(one, _task(task), _run(task_id), "forgotten")
            assert await submissions.attempts(one, _task(task)) == 1
        for task in (1, 2):
            [lost] = await submissions.of_task(one, TaskPk(task))
            assert (lost.state, lost.attempt) == (SubmissionState.LOST, 1)
        # Their ids are known: no callback with another one can mean them.
        assert await submissions.unidentified(one, (_MANAGER,)) == []


# --- callbacks -------------------------------------------------------------------------------------------


def _callback(task_id: str = "t", output: str | None = None, error: str | None = None) -> Callback:
    return Callback(_id(task_id), RunnerStatus.RUNNING, error, output)


async def test_the_same_callback_is_recorded_once_while_it_is_open(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        await asyncio.gather(*(inbox.record(each, (_MANAGER,), _callback()) for each in (one, two)))
        for different in (_callback(output=""), _callback(error=""), _callback(output="x"), _callback("u")):
            await inbox.record(one, (_MANAGER,), different)
        await inbox.record(one, (ManagerId(2),), _callback())
        claimed = await _callbacks(one, 10)
        assert len(claimed) == 6
        await inbox.close_callbacks(one, [CallbackEnd(claimed[0], CallbackState.APPLIED, "wait")])
        await inbox.record(one, (_MANAGER,), _callback())
        assert len(await _callbacks(one, 10)) == 1


async def test_two_sessions_claim_different_callbacks(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        for number in range(6):
            await inbox.record(one, (_MANAGER,), _callback(f"t-{number}"))
        transaction = one.transaction()
        await transaction.start()
        mine = await _callbacks(one, 3)
        async with asyncio.timeout(5):
            theirs = await _callbacks(two, 10)
        await transaction.commit()
        assert [[each.callback.task_id for each in batch] for batch in (mine, theirs)] == [
            ["t-0", "t-1", "t-2"],
            ["t-3", "t-4", "t-5"],
        ]
        assert await _callbacks(two, 10) == []
        await one.execute(
            "UPDATE poddispatchd.callback SET next_attempt_at = now(), lease_expires_at = now()"
        )
        assert [each.lease.attempts for each in await _callbacks(two, 10)] == [2] * 6


async def test_a_callback_has_its_turn_after_earlier_ones_of_its_task(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        await inbox.record(one, (_MANAGER,), _callback(output="1"))
        await inbox.record(one, (_MANAGER,), _callback(output="2"))
        await inbox.record(one, (ManagerId(2),), _callback(output="of another manager"))
        first, second, other = await _callbacks(one, 10)
        assert await inbox.lock(two, second) is Turn.LATER
        assert await inbox.lock(two, other) is Turn.NOW
        assert await inbox.lock(two, first) is Turn.NOW
        await inbox.close_callbacks(one, [CallbackEnd(first, CallbackState.APPLIED, "wait")])
        assert await inbox.lock(two, first) is Turn.OVER
        assert await inbox.lock(two, second) is Turn.NOW


async def test_the_next_callback_is_due_when_its_claim_ends(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        assert await CALLBACKS.next_due(one) is None
        await inbox.record(one, (_MANAGER,), _callback())
        seconds = await CALLBACKS.next_due(one)
        assert seconds is not None
        assert seconds <= 0
        [claimed] = await _callbacks(one, 1)
        await CALLBACKS.postpone(one, claimed.lease, 100)
        seconds = await CALLBACKS.next_due(one)
        assert seconds is not None
        assert 90 < seconds <= 100


# --- imports ---------------------------------------------------------------------------------------------


async def _import(connection: Connection, task: int = 1) -> bool:
    return await imports.open_import(connection, TaskPk(task), _run(f"t-{task}"))


async def test_a_result_is_asked_for_once_and_again_after_a_failure(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        assert sorted(await asyncio.gather(_import(one), _import(two))) == [False, True]
        assert await imports.is_open(one, TaskPk(1), _run("t-1"))
        [job] = await _imports(one, "a", 5)
        assert await queue.finish(one, job, ImportState.FAILED, "broken")
        assert not await imports.is_open(one, TaskPk(1), _run("t-1"))
        assert await _import(one)
        [job] = await _imports(one, "a", 5)
        assert job.attempts == 1
        assert await queue.finish(one, job, ImportState.DONE)
        assert not await _import(one)


async def test_an_import_has_one_lease_at_a_time(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        for task in (1, 2, 3, 4):
            await _import(one, task)
        both = await asyncio.gather(_imports(one, "a", 2), _imports(two, "b", 4))
        leased = [job.task_pk for jobs in both for job in jobs]
        assert sorted(leased) == sorted(set(leased))
        assert len(leased) + len(await _imports(one, "a", 4)) == 4


async def test_a_lease_that_ran_out_is_anyones_and_the_late_owner_commits_nothing(
    pod_database: PodDatabase,
) -> None:
    async with _sessions(pod_database) as (one, two):
        await _import(one)
        [late] = await _imports(one, "late", 1)
        assert await _imports(two, "next", 1) == []
        await one.execute("UPDATE poddispatchd.import SET lease_expires_at = now(), next_attempt_at = now()")
        [taken] = await _imports(two, "next", 1)
        assert taken.attempts == 2
        assert not await queue.finish(one, late, ImportState.DONE)
        assert await queue.finish(two, taken, ImportState.DONE)


async def test_the_leases_of_one_that_is_gone_are_given_back_uncounted(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        await _import(one, 1)
        await _import(one, 2)
        await _imports(one, "gone", 1)
        await _imports(one, "alive", 1)
        await IMPORTS.release_dead(one, lambda owner: owner == "gone")
        [job] = await _imports(one, "next", 5)
        assert (job.task_pk, job.attempts) == (1, 1)


async def test_an_unwanted_result_is_nobodys(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        await _import(one)
        [job] = await _imports(one, "a", 1)
        await imports.drop_open(one, TaskPk(1), "The task was restarted.")
        assert not await queue.finish(one, job, ImportState.DONE)
        assert await _imports(one, "a", 1) == []


@pytest.mark.parametrize("counts", [True, False])
async def test_an_import_that_is_tried_again_waits(pod_database: PodDatabase, counts: bool) -> None:
    async with _sessions(pod_database) as (one, _):
        await _import(one)
        [job] = await _imports(one, "a", 1)
        await queue.retry(one, job, 100, "again", counts=counts)
        assert await _imports(one, "a", 1) == []
        due = await IMPORTS.next_due(one)
        assert due is not None
        assert 90 < due <= 100
        await one.execute("UPDATE poddispatchd.import SET next_attempt_at = now()")
        [job] = await _imports(one, "a", 1)
        assert job.attempts == (2 if counts else 1)


# --- what is remembered of tasks and managers, and forgotten ---------------------------------------------


async def test_pauses_are_remembered(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, two):
        await asyncio.gather(pauses.pause(one, _MANAGER), pauses.pause(two, _MANAGER))
        memory = (await scheduling.manager_memories(one))[_MANAGER]
        assert [pause.ends for pause in memory.pauses] == [None]
        assert await pauses.resume(one, _MANAGER)
        assert not await pauses.resume(one, _MANAGER)


async def test_own_tasks_are_remembered_until_they_are_submitted(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        await scheduling.add_own_tasks(one, [TaskPk(1), TaskPk(2)])
        await scheduling.add_own_tasks(one, [TaskPk(2)])
        await scheduling.forget_own_task(one, TaskPk(1))
        assert [*await scheduling.own_tasks(one, [TaskPk(1), TaskPk(2)])] == [2]


async def test_of_own_tasks_those_are_read_for_the_queue_that_are_new_or_wait(
    pod_database: PodDatabase,
) -> None:
    """After a restart of a hundred thousand tasks each look at the queue read as many rows."""
    added = datetime(2026, 3, 1, 8, tzinfo=UTC)
    async with _sessions(pod_database) as (one, _):
        await scheduling.add_own_tasks(one, [TaskPk(1), TaskPk(2), TaskPk(3)])
        await one.execute("UPDATE poddispatchd.own_task SET added_at = now() - interval '10 minutes'")
        await scheduling.add_own_tasks(one, [TaskPk(2)])  # restarted once more
        found, some_put_back = await scheduling.new_own_tasks(one, within=60.0)
        assert (set(found), some_put_back) == ({2}, False)

        await scheduling.put_back(one, TaskPk(4), added, wait=3600)
        await scheduling.put_back(one, TaskPk(5), added, wait=0)
        await one.execute(
            "UPDATE poddispatchd.own_task SET added_at = now() - interval '10 minutes' WHERE task_pk > 3"
        )
        found, some_put_back = await scheduling.new_own_tasks(one, within=60.0)
        assert (set(found), some_put_back) == ({2, 4}, True)
        assert set(await scheduling.own_tasks(one, [TaskPk(pk) for pk in (1, 3, 4, 5, 9)])) == {1, 3, 4, 5}
        assert set(await scheduling.waits(one)) == set()  # 4 waits for longer than any task does
        await scheduling.put_back(one, TaskPk(4), added, wait=60)
        assert {pk: wait.date_added for pk, wait in (await scheduling.waits(one)).items()} == {4: added}


async def test_a_task_that_was_put_back_waits_by_the_databases_clock(pod_database: PodDatabase) -> None:
    task, added = TaskPk(7), datetime(2026, 3, 1, 8, tzinfo=UTC)
    async with _sessions(pod_database) as (one, _):
        await scheduling.add_own_tasks(one, [task])
        await scheduling.put_back(one, task, added, wait=60)
        wait = await scheduling.wait_of(one, task, added)
        assert wait is not None
        assert 50 < wait.seconds <= 60
        assert wait.date_added == added
        own = (await scheduling.own_tasks(one, [task]))[task]
        assert own.wait is not None
        assert own.wait.until == wait.until
        await scheduling.put_back(one, task, added, wait=0)
        assert await scheduling.wait_of(one, task, added) is None
        assert (await scheduling.own_tasks(one, [task]))[task].wait is None


@pytest.mark.parametrize("by", ["1 hour", "1 day"])
async def test_a_clock_of_the_database_that_was_set_back_keeps_no_task_waiting(
    pod_database: PodDatabase, by: str
) -> None:
    """Tasks that were put back into the queue waited for as long as the clock was set back."""
    task, added = TaskPk(7), datetime(2026, 3, 1, 8, tzinfo=UTC)
    async with _sessions(pod_database) as (one, _):
        await scheduling.put_back(one, task, added, wait=LONGEST_WAIT)
        assert await scheduling.wait_of(one, task, added) is not None
        await one.execute(f"UPDATE poddispatchd.own_task SET not_before = not_before + interval '{by}'")
        assert await scheduling.wait_of(one, task, added) is None
        assert (await scheduling.own_tasks(one, [task]))[task].wait is None


async def test_a_task_that_was_restarted_since_does_not_wait(pod_database: PodDatabase) -> None:
    task, added = TaskPk(7), datetime(2026, 3, 1, 8, tzinfo=UTC)
    async with _sessions(pod_database) as (one, _):
        await scheduling.put_back(one, task, added, wait=60)
        assert await scheduling.wait_of(one, task, added + timedelta(microseconds=1)) is None


async def test_what_is_settled_is_forgotten_after_its_time_and_what_is_open_never(
    pod_database: PodDatabase,
) -> None:
    async with _sessions(pod_database) as (one, _):
        for task in range(1, 6):
            await submissions.close_intent(one, await _opened(one, task), SubmissionState.ACCEPTED)
            await inbox.record(one, (_MANAGER,), _callback(f"t-{task}"))
            await _import(one, task)
        for recorded in await _callbacks(one, 10):
            await inbox.close_callbacks(one, [CallbackEnd(recorded, CallbackState.APPLIED, "")])
        for job in await _imports(one, "a", 10):
            await queue.finish(one, job, ImportState.DONE)
        await one.execute(
            "UPDATE poddispatchd.submission SET settled_at = settled_at - interval '91 days' WHERE id > 1;"
            "UPDATE poddispatchd.callback SET handled_at = handled_at - interval '91 days' WHERE id > 1;"
            "UPDATE poddispatchd.import SET finished_at = finished_at - interval '91 days' WHERE task_pk > 1"
        )
        await _opened(one, 9)
        await inbox.record(one, (_MANAGER,), _callback("open"))
        await _import(one, 9)
        await one.execute(
            "UPDATE poddispatchd.callback SET received_at = now() - interval '1 year' WHERE state = 'open'"
        )
        await journal_purge.purge(one, days=90, batch=2)
        for table in ("submission", "callback", "import"):
            states = await one.fetch(f"SELECT state FROM poddispatchd.{table} ORDER BY id")
            assert [row["state"] == "open" for row in states] == [False, True], table


async def test_a_term_cannot_be_counted_twice(pod_database: PodDatabase) -> None:
    async with _sessions(pod_database) as (one, _):
        with pytest.raises(asyncpg.UniqueViolationError):
            await one.execute("INSERT INTO poddispatchd.leader (term) VALUES (7)")
