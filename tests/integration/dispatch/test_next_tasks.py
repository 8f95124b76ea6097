"""The next task of a busy manager: its intent is committed while the manager works on the one before.

Whatever happens until its turn comes, it is posted by one daemon, once, or waits as if nothing had been.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from poddispatchd.database.pool import Connection
from poddispatchd.dispatch import candidates, intents
from poddispatchd.dispatch.intents import IntentRequest
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.routing import ANSWERS_WITHIN, Lane
from poddispatchd.domain.task import ManagerId, TaskPk, TaskType
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, ValuesRefusedError
from poddispatchd.journal import pauses, submissions
from poddispatchd.journal.submissions import Submission, SubmissionState
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.pod import queue_order
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import Accepted
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind, ManualClock
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.tasks.administration import restart_tasks
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.integration.journal.aging import age_journal
from tests.plugins.postgres import PodDatabase

_LATE = AnswerFault(kind=FaultKind.SLOW, seconds=20.0)


@pytest.fixture
def its_time() -> ManualClock:
    """The manager's own: it answers late only when this goes on."""
    return ManualClock()


@pytest.fixture
async def pod(
    pod_database: PodDatabase, media_root: Path, its_time: ManualClock, request: pytest.FixtureRequest
) -> AsyncIterator[Scene]:
    runners = getattr(request, "param", 20)
    async with scene(pod_database, media_root, Spec("one", runners=runners, fake_clock=its_time)) as made:
        yield made


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await is_so():  # noqa: ASYNC110 - the manager and the database change
            await asyncio.sleep(0.01)


async def answered_late(its_time: ManualClock) -> None:
    """The time that a late answer takes passes, once the manager waits for it: a post is seen before that."""

    async def waits() -> bool:
        due = its_time.due()
        return due is not None and due <= its_time.time() + 20.0

    await until(waits)
    its_time.advance(20.0)


async def working(
    pod: Scene, tasks: list[TaskPk] | None = None, *, fair_share: str = "none"
) -> tuple[Daemon, list[TaskPk]]:
    """A daemon whose manager has taken two tasks, of six, and works on its answer about the third."""
    tasks = tasks or await pod.encodings(6)
    dispatch = {"grace": 0, "fair_share": fair_share}
    daemon = await pod.daemon(runners={"request_timeout": "60s"}, dispatch=dispatch)
    # A manager that seems to take two seconds for an answer gets no task that follows.
    daemon.clock.stop()
    for _ in range(2):
        await daemon.dispatcher.step()
        await daemon.dispatcher.drain()
    pod.fakes["one"].faults.inject(Endpoint.EXECUTE, _LATE, times=None)
    await daemon.dispatcher.step()
    await until(lambda: _has_posts(pod, 3))
    return daemon, tasks


async def prepared(pod: Scene, tasks: list[TaskPk] | None = None) -> tuple[Daemon, list[TaskPk]]:
    """The same, and the intent of the fourth stands."""
    daemon, tasks = await working(pod, tasks)

    async def is_ready() -> bool:
        if await _is_ready(pod, tasks[3]):
            return True
        # What was read may have just become too old: the next look has what was read beside.
        await daemon.dispatcher.step()
        return False

    await until(is_ready)
    assert pod.posts("one") == 3
    return daemon, tasks


async def _has_posts(pod: Scene, number: int) -> bool:
    return pod.posts("one") >= number


async def _is_ready(pod: Scene, task: TaskPk) -> bool:
    return [entry.state for entry in await pod.journal(task)] == [SubmissionState.OPEN]


async def _is_given_back(pod: Scene, task: TaskPk) -> bool:
    return await pod.journal(task) == []


async def _runs(pod: Scene, task: TaskPk) -> bool:
    return await pod.status(task) == "running"


async def test_a_task_follows_the_answer_about_the_one_before_without_another_look(
    pod: Scene, its_time: ManualClock
) -> None:
    _, tasks = await prepared(pod)
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    await until(lambda: _runs(pod, tasks[3]))
    assert pod.posts("one") == 4


async def test_the_last_task_of_a_page_follows_too_while_there_are_more(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_PAGE", 2)
    monkeypatch.setattr(candidates, "_LARGEST_FIRST_PAGE", 2)
    await prepared(pod)


async def test_one_task_stands_behind_a_manager_and_the_others_wait_for_whoever_is_free(pod: Scene) -> None:
    daemon, tasks = await prepared(pod)
    for _ in range(3):
        await daemon.dispatcher.step()
    assert daemon.dispatcher.in_hand == 2
    assert [await pod.journal(task) for task in tasks[4:]] == [[], []]


# --- why a turn does not come -----------------------------------------------------------------------------


@pytest.mark.parametrize("pod", [2], indirect=True)
async def test_a_manager_that_is_full_gets_nothing_more_and_the_task_waits_for_anybody(
    pod: Scene, its_time: ManualClock
) -> None:
    daemon, tasks = await prepared(pod)
    await answered_late(its_time)
    await daemon.dispatcher.drain()
    assert pod.posts("one") == 3
    assert [await pod.status(task) for task in tasks[2:]] == ["pending"] * 4
    assert [await pod.journal(task) for task in tasks[2:]] == [[]] * 4


async def test_a_manager_that_fails_is_left_alone(pod: Scene) -> None:
    daemon, tasks = await prepared(pod)
    await pod.fakes["one"].stop()
    await daemon.dispatcher.drain()
    assert pod.posts("one") == 3
    # What was posted may have been taken; what only stood behind it was not.
    assert [entry.state for entry in await pod.journal(tasks[2])] == [SubmissionState.OPEN]
    assert await _is_given_back(pod, tasks[3])


async def test_whoever_does_not_answer_in_time_gives_the_next_task_back(pod: Scene) -> None:
    daemon, tasks = await prepared(pod)
    await daemon.dispatcher.step()
    assert await _is_ready(pod, tasks[3])
    daemon.clock.advance(ANSWERS_WITHIN)
    await daemon.dispatcher.step()
    await until(lambda: _is_given_back(pod, tasks[3]))
    await daemon.dispatcher.step()
    assert daemon.dispatcher.in_hand == 1
    assert [await pod.journal(task) for task in tasks[3:]] == [[]] * 3


async def test_a_pause_keeps_the_next_task_back(pod: Scene, its_time: ManualClock) -> None:
    daemon, tasks = await prepared(pod)
    await pauses.pause(pod.connection, pod.ids["one"])
    await daemon.parts.managers.refresh(within=0.0)
    await answered_late(its_time)
    await until(lambda: _runs(pod, tasks[2]))
    await daemon.dispatcher.drain()
    assert pod.posts("one") == 3
    assert [await pod.status(task) for task in tasks[3:]] == ["pending"] * 3
    assert [await pod.journal(task) for task in tasks[3:]] == [[]] * 3


async def test_a_manager_that_pod_has_no_more_gets_nothing(pod: Scene, its_time: ManualClock) -> None:
    daemon, tasks = await prepared(pod)
    await pod.connection.execute("UPDATE runner_manager SET is_active = false")
    await daemon.parts.managers.refresh(within=0.0)
    await daemon.dispatcher.step()
    await until(lambda: _is_given_back(pod, tasks[3]))
    await answered_late(its_time)
    await daemon.dispatcher.drain()
    assert pod.posts("one") == 3


async def test_whatever_goes_wrong_when_its_turn_comes_the_next_task_does_not_wait_for_ever(
    pod: Scene, its_time: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood as being submitted until the daemon was started again: nobody decided about its turn."""
    daemon, tasks = await prepared(pod)
    lanes = ManagerRegistry.lanes
    surprises = [ZeroDivisionError("nobody foresaw it")]

    def surprise(registry: ManagerRegistry, only: ManagerId | None = None) -> list[Lane]:
        if surprises:
            raise surprises.pop()
        return lanes(registry, only)

    monkeypatch.setattr(ManagerRegistry, "lanes", surprise)
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    async with asyncio.timeout(30):
        await daemon.dispatcher.drain()
    assert await _is_given_back(pod, tasks[3])
    daemon.clock.advance(60.0)
    await daemon.settle()
    assert await pod.statuses() == {"running": 6}
    # What the manager had answered just then was not asked again.
    assert (pod.posts("one"), len(pod.fakes["one"].tasks)) == (6, 6)


@pytest.mark.parametrize("error", [DatabaseUnavailableError("away"), ValuesRefusedError("refused")])
async def test_what_cannot_be_given_back_yet_is_not_posted_meanwhile(
    pod: Scene, its_time: ManualClock, monkeypatch: pytest.MonkeyPatch, error: DatabaseError
) -> None:
    """It was an open intent like any other, and those are posted again to a manager that is paused, too."""
    daemon, tasks = await prepared(pod)
    withdraw, errors = submissions.withdraw, [error, error]

    async def fails_twice(connection: Connection, submission: Submission, *, term: int) -> bool:
        if errors:
            raise errors.pop()
        return await withdraw(connection, submission, term=term)

    monkeypatch.setattr(submissions, "withdraw", fails_twice)
    await pauses.pause(pod.connection, pod.ids["one"])
    await daemon.parts.managers.refresh(within=0.0)
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    await until(lambda: _runs(pod, tasks[2]))
    for _ in range(3):
        await daemon.dispatcher.drain()
        daemon.clock.advance(60.0)
        await daemon.settle()
    assert await _is_given_back(pod, tasks[3])
    assert pod.posts("one") == 3
    await pauses.resume(pod.connection, pod.ids["one"])
    await daemon.parts.managers.refresh(within=0.0)
    await daemon.settle()
    assert await pod.statuses() == {"running": 6}


async def test_what_was_given_back_without_an_answer_is_not_remembered_for_ever(
    pod: Scene, its_time: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, tasks = await prepared(pod)
    withdraw = submissions.withdraw

    async def answer_is_lost(connection: Connection, submission: Submission, *, term: int) -> bool:
        await withdraw(connection, submission, term=term)
        raise DatabaseUnavailableError("away")

    submitter = daemon.dispatcher._submitter
    with monkeypatch.context() as patched:
        patched.setattr(submissions, "withdraw", answer_is_lost)
        await pauses.pause(pod.connection, pod.ids["one"])
        await daemon.parts.managers.refresh(within=0.0)
        pod.fakes["one"].faults.clear()
        await answered_late(its_time)
        await until(lambda: _runs(pod, tasks[2]))
        await daemon.dispatcher.drain()
        assert len(submitter.outstanding.remembered) == 1
    daemon.clock.advance(60.0)
    await daemon.settle()
    assert submitter.outstanding.remembered == frozenset()


async def test_what_an_old_token_met_says_nothing_of_the_new_one(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to the token of before shut a manager whose new token is right for a minute."""
    await pod.encodings(2)
    daemon = await pod.daemon()
    execute, is_changed = RunnerClient.execute, False

    async def at_that_moment(client: RunnerClient, manager: RunnerManager, body: bytes) -> Accepted:
        nonlocal is_changed
        if not is_changed:
            is_changed = True
            pod.fakes["one"].take_only("new")
            await pod.connection.execute("UPDATE runner_manager SET token = 'new'")
            await daemon.parts.managers.refresh(within=0.0)
        return await execute(client, manager, body)

    monkeypatch.setattr(RunnerClient, "execute", at_that_moment)
    await daemon.settle()
    assert await pod.statuses() == {"running": 2}


# --- what is left of it -----------------------------------------------------------------------------------


async def test_a_task_that_was_given_back_is_as_it_was_and_its_next_submission_is_the_first(
    pod: Scene, its_time: ManualClock
) -> None:
    """Those that wait for the same source are not taken for served by it, either."""
    video = await add_video(pod.connection, pod.world)
    three, same = await pod.encodings(3), [await pod.encoding_of(video) for _ in range(2)]
    daemon, tasks = await prepared(pod, [*three, *same, *await pod.encodings(2)])
    assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.wish") == 1
    before = await pod.row(tasks[3])
    daemon.clock.advance(ANSWERS_WITHIN)
    await daemon.dispatcher.step()
    await until(lambda: _is_given_back(pod, tasks[3]))
    assert await pod.row(tasks[3]) == before
    assert await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.wish") == 0
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    await daemon.dispatcher.drain()
    await daemon.settle()
    assert await pod.statuses() == {"running": 6, "pending": 1}
    assert [(entry.attempt, entry.posts) for entry in await pod.journal(tasks[3])] == [(1, 1)]


async def test_a_task_that_a_person_ends_before_its_turn_is_not_left_running(
    pod: Scene, its_time: ManualClock
) -> None:
    """As while it is posted: the manager is asked to stop what belongs to no row."""
    daemon, tasks = await prepared(pod)
    await pod.connection.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", tasks[3])
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    await until(lambda: _runs(pod, tasks[2]))
    await daemon.dispatcher.drain()
    assert await pod.status(tasks[3]) == "failed"
    assert [entry.state for entry in await pod.journal(tasks[3])] == [SubmissionState.ORPHANED]
    assert sum(request.path.startswith("/task/stop/") for request in pod.fakes["one"].requests) == 1


async def test_a_task_that_a_person_restarts_before_its_turn_runs_once(
    pod: Scene, its_time: ManualClock
) -> None:
    daemon, tasks = await prepared(pod)
    await restart_tasks(daemon.parts.database, daemon.parts.client, [tasks[3]], by="ada")
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    await until(lambda: _runs(pod, tasks[2]))
    await daemon.dispatcher.drain()
    daemon.clock.advance(60.0)
    await daemon.settle()
    assert await pod.statuses() == {"running": 6}
    kept = (await pod.row(tasks[3]))["task_id"]
    [stopped] = [request.path for request in pod.fakes["one"].requests if "/task/stop/" in request.path]
    assert not stopped.endswith(kept)
    assert [entry.attempt for entry in await pod.journal(tasks[3])] == [1, 2]


async def test_a_task_whose_row_is_held_when_its_turn_comes_is_stored_later(
    pod: Scene, its_time: ManualClock
) -> None:
    daemon, tasks = await prepared(pod)
    async with pod.database.connection() as other, other.transaction():
        await other.execute("SELECT FROM runner_manager_task WHERE id = $1 FOR UPDATE", tasks[3])
        pod.fakes["one"].faults.clear()
        await answered_late(its_time)
        await until(lambda: _runs(pod, tasks[2]))
        await daemon.dispatcher.drain()
        await daemon.settle()
        assert await pod.statuses() == {"running": 5, "pending": 1}
    await daemon.parts.locked_rows.step()
    await daemon.settle()
    assert await pod.statuses() == {"running": 6}
    assert (pod.posts("one"), len(pod.fakes["one"].tasks)) == (6, 6)


async def test_a_task_that_comes_first_meanwhile_waits_for_one_task_at_most(
    pod: Scene, its_time: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where reading the queue takes long, what was read before goes on to be submitted meanwhile."""
    monkeypatch.setattr(candidates, "_LONG_READ", 60.0)
    daemon, tasks = await prepared(pod)
    added = await add_video(pod.connection, pod.world)
    urgent = await add_task(pod.connection, TaskType.ENCODING, video=added)
    await pod.connection.execute(
        "UPDATE runner_manager_task SET date_added = date_added - interval '1 hour' WHERE id = $1", urgent
    )
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    await until(lambda: _runs(pod, tasks[3]))
    await daemon.dispatcher.drain()
    daemon.clock.advance(60.0)
    await daemon.dispatcher.step()
    await until(lambda: _has_posts(pod, 5))
    await until(lambda: _runs(pod, urgent))


# --- ends -------------------------------------------------------------------------------------------------


async def test_a_daemon_that_stops_posts_nothing_that_was_ready(pod: Scene) -> None:
    daemon, tasks = await prepared(pod)
    await daemon.dispatcher.stop(1.0)
    assert pod.posts("one") == 3
    assert await _is_given_back(pod, tasks[3])
    assert [entry.state for entry in await pod.journal(tasks[2])] == [SubmissionState.OPEN]


async def test_what_a_killed_daemon_had_ready_is_posted_by_the_next_one_once(
    pod: Scene, its_time: ManualClock
) -> None:
    daemon, tasks = await prepared(pod)
    await daemon.dispatcher.stop(0.0)
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    successor = await pod.successor()
    await age_journal(pod.connection, 30)
    await successor.settle()
    assert await pod.statuses() == {"running": 6}
    assert [entry.attempt for task in tasks for entry in await pod.journal(task)] == [1] * 6


async def test_a_daemon_that_does_not_schedule_any_more_leaves_what_was_ready_to_the_next_one(
    pod: Scene, its_time: ManualClock
) -> None:
    daemon, tasks = await prepared(pod)
    await daemon.parts.session.resign()
    pod.fakes["one"].faults.clear()
    await answered_late(its_time)
    await daemon.dispatcher.drain()
    assert pod.posts("one") == 3
    assert await _is_ready(pod, tasks[3])
    successor = await pod.successor()
    await age_journal(pod.connection, 30)
    await successor.settle()
    assert await pod.statuses() == {"running": 6}
    assert len(pod.fakes["one"].tasks) == 6


# --- when nothing is prepared -----------------------------------------------------------------------------


async def test_nothing_is_kept_for_a_manager_while_there_is_no_more_than_one_task_for_each(
    pod: Scene,
) -> None:
    daemon, tasks = await working(pod, await pod.encodings(4))
    await daemon.dispatcher.step()
    assert daemon.dispatcher.in_hand == 1
    assert await pod.journal(tasks[3]) == []


async def test_by_fair_share_the_next_task_is_chosen_when_the_one_before_has_a_runner(pod: Scene) -> None:
    daemon, tasks = await working(pod, fair_share="owner")
    await daemon.dispatcher.step()
    assert daemon.dispatcher.in_hand == 1
    assert [await pod.journal(task) for task in tasks[3:]] == [[]] * 3


async def test_a_pass_with_a_budget_takes_one_after_the_other(pod: Scene) -> None:
    tasks = await pod.encodings(6)
    daemon = await pod.daemon(budget=5, runners={"request_timeout": "60s"})
    for _ in range(2):
        await daemon.dispatcher.step()
        await daemon.dispatcher.drain()
    pod.fakes["one"].faults.inject(Endpoint.EXECUTE, _LATE, times=None)
    await daemon.dispatcher.step()
    await until(lambda: _has_posts(pod, 3))
    await daemon.dispatcher.step()
    assert daemon.dispatcher.in_hand == 1
    assert [await pod.journal(task) for task in tasks[3:]] == [[]] * 3


async def test_a_queue_read_beside_the_submissions_has_tasks_for_managers_that_got_one_meanwhile(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_LONG_READ", -1.0)
    monkeypatch.setattr(candidates, "_REREAD", 0.0)
    await pod.encodings(6)
    daemon = await pod.daemon()
    for _ in range(2):
        await daemon.dispatcher.step()
        await daemon.dispatcher.drain()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "reading of the queue"))
    monkeypatch.setattr(queue_order, "pending_tasks", None)  # nobody may have to wait for another reading
    await daemon.dispatcher.step()
    await daemon.dispatcher.drain()
    assert pod.posts("one") >= 3


async def test_a_task_that_was_taken_while_the_queue_was_read_is_not_tried_again(
    pod: Scene, its_time: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "_LONG_READ", -1.0)
    monkeypatch.setattr(candidates, "_REREAD", 0.0)
    tasks = await pod.encodings(3)
    daemon = await pod.daemon(runners={"request_timeout": "60s"})
    await daemon.dispatcher.step()
    await daemon.dispatcher.drain()
    was_read, may_end = asyncio.Event(), asyncio.Event()
    read, commit = queue_order.pending_tasks, intents.open_intents

    async def read_slowly(*arguments: object) -> list[queue_order.PendingTask]:
        found = await read(*arguments)  # type: ignore[arg-type]
        was_read.set()
        await may_end.wait()
        return found

    tried: list[TaskPk] = []

    async def committed(connection: Connection, requests: Sequence[IntentRequest]) -> list[Any]:
        tried.extend(request.task.pk for request in requests)
        return [*await commit(connection, requests)]

    monkeypatch.setattr(queue_order, "pending_tasks", read_slowly)
    monkeypatch.setattr(intents, "open_intents", committed)
    pod.fakes["one"].faults.inject(Endpoint.EXECUTE, _LATE)
    await daemon.dispatcher.step()
    await was_read.wait()
    await until(lambda: _has_posts(pod, 2))
    await answered_late(its_time)
    await daemon.dispatcher.drain()
    may_end.set()
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == "reading of the queue"))
    await daemon.dispatcher.step()
    await daemon.dispatcher.drain()
    assert await pod.statuses() == {"running": 3}
    assert tried == tasks[1:]
