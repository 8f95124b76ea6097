"""Runs that nobody wants any more, and that could not be stopped when a person ended their tasks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import Run, RunnerStatus, RunnerTaskId, TaskPk
from poddispatchd.journal import unwanted_runs
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Behaviour, Endpoint, FaultKind
from poddispatchd.sandbox.fake_runner_manager.records import TaskRecord
from poddispatchd.sandbox.pod.seed import ManagerSpec, add_manager
from poddispatchd.sandbox.pod.world import add_video
from poddispatchd.tasks.administration import cancel_tasks, restart_tasks
from tests.integration.dispatch.scene import Daemon, Scene, scene
from tests.plugins.postgres import PodDatabase

_FETCHES = Behaviour(unstoppable=True)


@pytest.fixture
async def pod(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Scene]:
    async with scene(pod_database, media_root) as made:
        yield made


async def _fetching(pod: Scene, daemon: Daemon, pk: TaskPk) -> TaskRecord:
    """A task whose runner is fetching the source."""
    pod.fakes["first"].faults.behaviours.append(_FETCHES)
    await daemon.settle()
    task_id = (await pod.row(pk))["task_id"]
    return pod.fakes["first"].tasks[task_id]


async def _cancel(daemon: Daemon, pk: TaskPk) -> str:
    [treated] = await cancel_tasks(
        daemon.parts.database, daemon.parts.client, [pk], by="somebody", language="en"
    )
    return treated.words


async def _time_passes(pod: Scene) -> None:
    await pod.connection.execute("UPDATE poddispatchd.unwanted_run SET next_request_at = now()")


async def _unwanted(pod: Scene) -> int:
    return int(await pod.connection.fetchval("SELECT count(*) FROM poddispatchd.unwanted_run"))


def _stops(pod: Scene) -> int:
    return sum("/task/stop/" in request.path for request in pod.fakes["first"].requests)


def _script_begins(record: TaskRecord) -> None:
    record.behaviour = replace(record.behaviour, unstoppable=False)


async def _is_stopped(record: TaskRecord) -> None:
    async with asyncio.timeout(20):
        await record.finished.wait()
    assert (record.status, record.error) == (RunnerStatus.FAILED, "Cancelled by user.")


async def test_a_manager_that_does_not_answer_is_asked_about_one_of_many_runs_while_a_person_waits(
    pod: Scene,
) -> None:
    """To cancel a hundred tasks of a manager that was switched off took a quarter of an hour."""
    tasks = await pod.encodings(2)
    daemon = await pod.daemon()
    for _ in tasks:
        await daemon.settle()
    for endpoint in (Endpoint.STOP, Endpoint.STATUS):
        pod.fakes["first"].faults.inject(endpoint, AnswerFault(kind=FaultKind.STATUS, status=500), times=None)

    treated = await cancel_tasks(daemon.parts.database, daemon.parts.client, tasks, by="somebody")

    assert len(pod.fakes["first"].tasks) == len(tasks)
    assert _stops(pod) == 1
    assert all("The daemon asks again until it is stopped." in each.words for each in treated)
    assert await _unwanted(pod) == len(tasks)


async def test_a_run_cancelled_while_its_source_is_fetched_is_stopped_once_its_script_begins(
    pod: Scene,
) -> None:
    """It ran to its end, for hours, though its task was cancelled, and no other task got its runner."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    record = await _fetching(pod, daemon, pk)

    words = await _cancel(daemon, pk)
    await _time_passes(pod)
    await stops.step()
    assert (await _unwanted(pod), record.status) == (1, RunnerStatus.RUNNING)
    _script_begins(record)
    await _time_passes(pod)
    await stops.step()

    assert words == (
        "It is cancelled. It runs on for now: runner manager first cannot stop it while its source is "
        "fetched. The daemon asks again until it is stopped."
    )
    await _is_stopped(record)
    assert (await _unwanted(pod), _stops(pod)) == (0, 3)


async def test_a_manager_that_came_to_pod_after_the_last_look_is_asked_to_stop(pod: Scene) -> None:
    """It was taken for one that was removed from Pod, and the run went on."""
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    spec = ManagerSpec("new", pod.fakes["first"].url, SecretStr(pod.fakes["first"].token))
    new = await add_manager(pod.connection, spec, pod.world.other_site)
    async with daemon.parts.database.connection() as connection:
        await unwanted_runs.add(connection, TaskPk(1), Run(new.id, RunnerTaskId("a-run-of-pod")))
    await _time_passes(pod)
    await stops.step()
    assert (_stops(pod), await _unwanted(pod)) == (1, 0)


async def test_a_run_that_stops_at_once_is_asked_once(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    await daemon.settle()
    record = pod.fakes["first"].tasks[(await pod.row(pk))["task_id"]]

    words = await _cancel(daemon, pk)
    await features.stops(daemon.parts).step()

    assert words == "It is cancelled. Runner manager first stops it."
    await _is_stopped(record)
    assert (await _unwanted(pod), _stops(pod)) == (0, 1)


async def test_the_run_of_a_restarted_task_is_stopped_later_and_the_new_one_is_not(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    old = await _fetching(pod, daemon, pk)
    await restart_tasks(daemon.parts.database, daemon.parts.client, [pk], by="somebody", language="en")
    _script_begins(old)
    await _time_passes(pod)

    await features.stops(daemon.parts).step()
    await _is_stopped(old)
    daemon.clock.advance(120)
    await daemon.settle()

    new = (await pod.row(pk))["task_id"]
    assert new not in (None, old.task_id)
    assert pod.fakes["first"].tasks[new].status is RunnerStatus.RUNNING


async def test_a_manager_that_was_away_is_asked_when_it_is_back(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    await daemon.settle()
    record = pod.fakes["first"].tasks[(await pod.row(pk))["task_id"]]
    pod.fakes["first"].faults.inject(Endpoint.STOP, AnswerFault(kind=FaultKind.DROP_ANSWER), times=1)
    words = await _cancel(daemon, pk)

    await _time_passes(pod)
    await stops.step()

    assert "It may still run: Runner manager 'first'" in words
    await _is_stopped(record)
    assert await _unwanted(pod) == 0


async def test_an_accepted_run_that_belongs_to_no_row_is_stopped_later_too(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    fake = pod.fakes["first"]
    fake.faults.behaviours.append(_FETCHES)
    fake.faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.SLOW, seconds=1.0))
    await daemon.dispatcher.step()
    await fake.wait_for(lambda: bool(fake.tasks))
    await _cancel(daemon, pk)
    async with asyncio.timeout(20):
        await daemon.dispatcher.drain()
    [record] = fake.tasks.values()
    assert await _unwanted(pod) == 1

    _script_begins(record)
    await _time_passes(pod)
    await features.stops(daemon.parts).step()

    await _is_stopped(record)


async def test_requests_become_rarer_and_end_after_a_day(pod: Scene) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    await _fetching(pod, daemon, pk)
    await _cancel(daemon, pk)
    waits = []
    for _ in range(8):
        await _time_passes(pod)
        await stops.step()
        wait = await pod.connection.fetchval(
            "SELECT extract(epoch FROM next_request_at - now()) FROM poddispatchd.unwanted_run"
        )
        waits.append(round(float(wait), -1))
    asked = _stops(pod)
    await pod.connection.execute("UPDATE poddispatchd.unwanted_run SET since = now() - interval '25 hours'")
    await stops.step()

    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert (await _unwanted(pod), _stops(pod)) == (0, asked)


async def test_a_look_that_is_cut_off_leaves_no_question_behind(pod: Scene) -> None:
    """The questions went on in tasks that nobody held, over a session that a stop had closed."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    await _fetching(pod, daemon, pk)
    await _cancel(daemon, pk)
    await _time_passes(pod)
    pod.fakes["first"].faults.inject(Endpoint.STOP, AnswerFault(kind=FaultKind.HANG), times=None)
    asked = _stops(pod)
    looking = asyncio.create_task(features.stops(daemon.parts).step())
    await pod.fakes["first"].wait_for(lambda: _stops(pod) > asked)

    looking.cancel()
    await asyncio.wait([looking])

    assert looking.cancelled()
    assert not [task for task in asyncio.all_tasks() if "Stops._ask" in repr(task)]


@pytest.mark.parametrize("by", ["1 hour", "400 days"])
async def test_a_clock_of_the_server_that_was_set_back_keeps_no_run_going(pod: Scene, by: str) -> None:
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    record = await _fetching(pod, daemon, pk)
    await _cancel(daemon, pk)
    _script_begins(record)
    await pod.connection.execute(
        f"UPDATE poddispatchd.unwanted_run SET since = since + interval '{by}',"
        f" next_request_at = next_request_at + interval '{by}'"
    )

    await features.stops(daemon.parts).step()

    await _is_stopped(record)
    assert await _unwanted(pod) == 0


async def test_a_clock_of_the_server_that_was_put_forward_gives_up_no_run(
    pod: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fail-over to a machine with a wrong clock a runner went on with what nobody wanted."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    record = await _fetching(pod, daemon, pk)
    await _cancel(daemon, pk)
    behind = timedelta(hours=30)
    ours = datetime.now(UTC) - behind
    monkeypatch.setattr(type(daemon.parts.clock), "now", lambda _: ours)
    await pod.connection.execute("UPDATE poddispatchd.unwanted_run SET since = since - $1::interval", behind)
    stops = features.stops(daemon.parts)
    await stops.step()
    assert await _unwanted(pod) == 1
    _script_begins(record)
    await _time_passes(pod)
    await stops.step()
    await _is_stopped(record)


async def test_nobody_is_asked_who_cannot_be(pod: Scene) -> None:
    """A manager that Pod has no more; and a standby asks nobody."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    await _fetching(pod, daemon, pk)
    await _cancel(daemon, pk)
    asked = _stops(pod)
    await pod.connection.execute(
        "INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk) VALUES (999, 'x', $1)",
        pk,
    )
    await stops.step()
    assert await _unwanted(pod) == 1

    standby = await pod.daemon()
    await _time_passes(pod)
    await features.stops(standby.parts).step()

    assert _stops(pod) == asked


async def test_a_run_that_its_manager_cannot_stop_keeps_the_others_and_new_tasks_from_nothing(
    pod: Scene,
) -> None:
    """The manager was taken for one that fails: its other runs worked on in vain, and it got no task."""
    odd, other = await pod.encodings(2)
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    odd_record = await _fetching(pod, daemon, odd)
    record = await _fetching(pod, daemon, other)
    await _cancel(daemon, odd)
    await _cancel(daemon, other)
    _script_begins(record)
    broken = AnswerFault(kind=FaultKind.STATUS, status=500, match=odd_record.task_id)
    pod.fakes["first"].faults.inject(Endpoint.STOP, broken, times=None)

    for _ in range(2):
        await _time_passes(pod)
        await stops.step()

    await _is_stopped(record)
    assert await _unwanted(pod) == 1
    assert [report.error for report in daemon.parts.registry.reports() if report.error] == []


async def test_a_run_that_its_row_carries_again_is_not_stopped(pod: Scene) -> None:
    """A manager may give the same id for the same request: what is wanted again must not be ended."""
    [pk] = await pod.encodings(1)
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    await daemon.settle()
    await pod.connection.execute(
        "INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk)"
        " SELECT runner_manager_id, task_id, id FROM runner_manager_task WHERE id = $1",
        pk,
    )

    assert await stops.step() > 1
    assert _stops(pod) == 0

    await pod.connection.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", pk)
    await _time_passes(pod)
    await stops.step()
    assert (await _unwanted(pod), _stops(pod)) == (0, 1)


async def test_a_run_that_another_task_of_its_source_shares_is_not_stopped(pod: Scene) -> None:
    """One of two rows with one id was given up as lost, and the other one could not be: somebody held it."""
    video = await add_video(pod.connection, pod.world)
    first, second = [await pod.encoding_of(video) for _ in range(2)]
    for pk in (first, second):
        await pod.start(pk, "first", "one-run")
    daemon = await pod.daemon()
    stops = features.stops(daemon.parts)
    await pod.connection.execute(
        "INSERT INTO poddispatchd.unwanted_run (runner_manager_id, task_id, task_pk)"
        " SELECT runner_manager_id, task_id, id FROM runner_manager_task WHERE id = $1",
        first,
    )
    await pod.connection.execute(
        "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL"
        " WHERE id = $1",
        first,
    )

    await stops.step()
    assert _stops(pod) == 0

    await pod.connection.execute("UPDATE runner_manager_task SET status = 'failed' WHERE id = $1", second)
    await _time_passes(pod)
    await stops.step()
    assert _stops(pod) == 1


async def _shared(pod: Scene, daemon: Daemon, others: int) -> tuple[TaskRecord, list[TaskPk]]:
    """A run, and the rows that carry it: one that was submitted, and others for which Pod got the same id."""
    video = await add_video(pod.connection, pod.world)
    first = await pod.encoding_of(video)
    await daemon.settle()
    record = pod.fakes["first"].tasks[(await pod.row(first))["task_id"]]
    rows = [await pod.encoding_of(video) for _ in range(others)]
    for pk in rows:
        await pod.start(pk, "first", record.task_id)
    return record, [first, *rows]


async def test_a_run_that_another_task_shares_goes_on_when_one_is_cancelled(pod: Scene) -> None:
    """It was stopped for both: the other one failed as cancelled by somebody."""
    daemon = await pod.daemon()
    record, [first, second, third] = await _shared(pod, daemon, 2)

    words = [await _cancel(daemon, pk) for pk in (second, first)]
    await _time_passes(pod)
    await features.stops(daemon.parts).step()

    assert words == [
        f"It is cancelled. Its run goes on: tasks {first}, {third} share it.",
        f"It is cancelled. Its run goes on: task {third} shares it.",
    ]
    assert (_stops(pod), record.status) == (0, RunnerStatus.RUNNING)
    assert (await pod.row(third))["status"] == "running"

    assert await _cancel(daemon, third) == "It is cancelled. Runner manager first stops it."
    await _is_stopped(record)
    assert (await _unwanted(pod), _stops(pod)) == (0, 1)


async def test_a_run_of_which_all_tasks_are_cancelled_is_stopped_once(pod: Scene) -> None:
    daemon = await pod.daemon()
    record, both = await _shared(pod, daemon, 1)

    treated = await cancel_tasks(
        daemon.parts.database, daemon.parts.client, both, by="somebody", language="en"
    )

    assert [item.words for item in treated] == ["It is cancelled. Runner manager first stops it."] * 2
    await _is_stopped(record)
    assert (await _unwanted(pod), _stops(pod)) == (0, 1)


async def test_a_run_goes_on_that_pod_has_got_for_another_row_while_its_task_was_cancelled(
    pod: Scene,
) -> None:
    """It was taken for nobody's when its answer came, and stopped for the other row, too."""
    video = await add_video(pod.connection, pod.world)
    first = await pod.encoding_of(video)
    daemon = await pod.daemon()
    fake = pod.fakes["first"]
    fake.faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.SLOW, seconds=1.0))
    await daemon.dispatcher.step()
    await fake.wait_for(lambda: bool(fake.tasks))
    [record] = fake.tasks.values()
    await _cancel(daemon, first)
    second = await pod.encoding_of(video)
    await pod.start(second, "first", record.task_id)
    async with asyncio.timeout(20):
        await daemon.dispatcher.drain()
    await _time_passes(pod)
    await features.stops(daemon.parts).step()

    assert (_stops(pod), record.status) == (0, RunnerStatus.RUNNING)


async def test_a_run_that_another_task_shares_goes_on_where_our_schema_is_not_yet(pod: Scene) -> None:
    daemon = await pod.daemon()
    record, [first, second] = await _shared(pod, daemon, 1)
    await pod.connection.execute("DROP SCHEMA poddispatchd CASCADE")

    assert await _cancel(daemon, first) == f"It is cancelled. Its run goes on: task {second} shares it."
    assert await _cancel(daemon, second) == "It is cancelled. Runner manager first stops it."
    await _is_stopped(record)


_RESTART = (
    "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL,"
    " rank = NULL, script_output = NULL, date_added = now() WHERE id = $1"
)
_DELETE = "DELETE FROM runner_manager_task WHERE id = $1"


async def _beside_another(pod: Scene) -> TaskPk:
    """A task that waits, in a table that has others, too."""
    pk, other = await pod.encodings(2)
    await pod.end(other)
    return pk


@pytest.mark.parametrize("change", [_RESTART, _DELETE], ids=["restarted", "deleted"])
@pytest.mark.parametrize("was_seen", [True, False], ids=["seen", "taken just now"])
async def test_a_run_whose_task_is_restarted_or_deleted_in_pod_is_stopped(
    pod: Scene, change: str, was_seen: bool
) -> None:
    """Nobody is told of that: one runner worked for nobody, or two on one task."""
    pk = await _beside_another(pod)
    daemon = await pod.daemon()
    await daemon.settle()
    [record] = pod.fakes["first"].tasks.values()
    if was_seen:
        watcher = features.reconciler(daemon.parts)
        await watcher.step()
        await watcher.until_idle()
        await pod.connection.execute(
            "UPDATE poddispatchd.submission SET settled_at = now() - interval '1 hour'"
        )
    await pod.connection.execute(change, pk)

    await features.stops(daemon.parts).step()

    await _is_stopped(record)
    assert await _unwanted(pod) == 0
    await features.stops(daemon.parts).step()
    assert _stops(pod) == 1
    daemon.clock.advance(15)
    await daemon.settle()
    assert len(await pod.journal(pk)) == (2 if change == _RESTART else 1)


@pytest.mark.parametrize("is_restart", [True, False], ids=["restarted", "deleted"])
@pytest.mark.parametrize("by_whom", ["the same", "another one"])
async def test_such_a_run_is_stopped_also_where_it_is_first_looked_which_tasks_run(
    pod: Scene, is_restart: bool, by_whom: str
) -> None:
    """Whoever looked first forgot the run, and an encoding of more than ten minutes went on for nobody."""
    pk = await _beside_another(pod)
    daemon = await pod.daemon()
    await daemon.settle()
    [record] = pod.fakes["first"].tasks.values()
    watcher = features.reconciler(daemon.parts)
    await watcher.step()
    await watcher.until_idle()
    await pod.connection.execute("UPDATE poddispatchd.submission SET settled_at = now() - interval '1 hour'")
    await pod.connection.execute(_RESTART if is_restart else _DELETE, pk)
    if is_restart:
        # Before anybody has looked, it runs once more.
        daemon.clock.advance(15)
        await daemon.settle()
        assert (await pod.row(pk))["task_id"] not in (None, record.task_id)
    watcher = watcher if by_whom == "the same" else features.reconciler(daemon.parts)
    await watcher.step()
    await watcher.until_idle()

    await features.stops(daemon.parts).step()

    await _is_stopped(record)


@pytest.mark.parametrize("first", ["reconciler", "stops"])
@pytest.mark.parametrize("is_restart", [True, False], ids=["restarted", "deleted"])
async def test_a_run_that_pod_submitted_itself_is_stopped_as_well(
    pod: Scene, is_restart: bool, first: str
) -> None:
    """What was restarted got the same run back from its manager, however long that had hung."""
    pk = await _beside_another(pod)
    daemon = await pod.daemon()
    await daemon.settle()
    [record] = pod.fakes["first"].tasks.values()
    # Of what Pod submits the journal has nothing.
    await pod.connection.execute("DELETE FROM poddispatchd.submission")
    watcher = features.reconciler(daemon.parts)
    await watcher.step()
    await watcher.until_idle()
    await pod.connection.execute(_RESTART if is_restart else _DELETE, pk)
    if first == "reconciler":
        await watcher.step()
        await watcher.until_idle()

    for _ in range(2):
        await features.stops(daemon.parts).step()

    await _is_stopped(record)
    assert (_stops(pod), await _unwanted(pod)) == (1, 0)
    if is_restart:
        daemon.clock.advance(15)
        await daemon.settle()
        assert (await pod.row(pk))["task_id"] not in (None, record.task_id)


async def test_a_run_that_pod_submitted_is_not_given_back_to_its_task_that_is_submitted_first(
    pod: Scene,
) -> None:
    """Its manager gives the same id for the same bytes, and nobody had looked at what runs since."""
    pk = await _beside_another(pod)
    daemon = await pod.daemon()
    await daemon.settle()
    [record] = pod.fakes["first"].tasks.values()
    await pod.connection.execute("DELETE FROM poddispatchd.submission")
    await _looked_which_tasks_run(daemon)
    await pod.connection.execute(_RESTART, pk)
    daemon.clock.advance(15)

    await daemon.settle()

    assert (await pod.row(pk))["task_id"] not in (None, record.task_id)
    await _looked_which_tasks_run(daemon)
    await features.stops(daemon.parts).step()
    await _is_stopped(record)
    assert (_stops(pod), await _unwanted(pod)) == (1, 0)
    assert sorted(each.attempt for each in await pod.journal(pk)) == [2, 2]


async def _looked_which_tasks_run(daemon: Daemon) -> None:
    """As a daemon does that has just begun to schedule."""
    watcher = features.reconciler(daemon.parts)
    await watcher.step()
    await watcher.until_idle()


@pytest.mark.parametrize("left", [None, 999], ids=["nobody", "who had the run before"])
async def test_a_run_that_pod_submitted_and_an_older_release_saw_is_stopped_as_well(
    pod: Scene, left: int | None
) -> None:
    """It noted no manager, or left that of the run before: nobody, or somebody else, was asked to stop it."""
    pk = await _beside_another(pod)
    daemon = await pod.daemon()
    await daemon.settle()
    [record] = pod.fakes["first"].tasks.values()
    await pod.connection.execute("DELETE FROM poddispatchd.submission")
    await _looked_which_tasks_run(daemon)
    await pod.connection.execute(
        "UPDATE poddispatchd.sighting SET runner_manager_id = $1, seen_at = seen_at - interval '1 day'", left
    )
    await _looked_which_tasks_run(daemon)
    age = await pod.connection.fetchval("SELECT now() - seen_at FROM poddispatchd.sighting")
    assert age >= timedelta(days=1)
    await pod.connection.execute(_RESTART, pk)

    for _ in range(2):
        await features.stops(daemon.parts).step()

    await _is_stopped(record)
    assert (_stops(pod), await _unwanted(pod)) == (1, 0)


async def test_a_run_whose_submission_is_held_keeps_nobody_from_being_stopped_or_asked_about(
    pod: Scene,
) -> None:
    """Tasks that run are asked about beside that: one held row would have ended it for all of them."""
    held, free = await pod.encodings(2)
    daemon = await pod.daemon()
    for _ in range(2):
        await daemon.settle()
    record = pod.fakes["first"].tasks[(await pod.row(free))["task_id"]]
    watcher = features.reconciler(daemon.parts)
    await watcher.step()
    await watcher.until_idle()
    await pod.encoding()
    await pod.connection.execute(
        "DELETE FROM runner_manager_task WHERE id = ANY ($1::bigint[])", [held, free]
    )
    async with pod.database.connection() as other, other.transaction():
        await other.execute("SELECT FROM poddispatchd.submission WHERE task_pk = $1 FOR UPDATE", held)
        await watcher.step()
        await features.stops(daemon.parts).step()
    await _is_stopped(record)


async def test_runs_go_on_while_pods_table_is_put_back_from_a_backup(pod: Scene) -> None:
    """It is empty for a while, and all of them were stopped."""
    await pod.encodings(1)
    daemon = await pod.daemon()
    await daemon.settle()
    watcher, stops = features.reconciler(daemon.parts), features.stops(daemon.parts)
    await watcher.step()
    await watcher.until_idle()
    await pod.connection.execute(
        "CREATE TEMPORARY TABLE kept AS TABLE runner_manager_task; DELETE FROM runner_manager_task"
    )
    for look in (stops, watcher, stops):
        await look.step()
    await pod.connection.execute("INSERT INTO runner_manager_task TABLE kept; DROP TABLE kept")
    for look in (stops, watcher, stops):
        await look.step()
    await watcher.until_idle()
    assert (_stops(pod), await _unwanted(pod)) == (0, 0)


async def test_what_a_task_goes_on_with_or_has_brought_in_is_not_stopped(pod: Scene) -> None:
    goes_on, done = await pod.encodings(2)
    daemon = await pod.daemon()
    for _ in range(2):
        await daemon.settle()
    await pod.connection.execute(
        "UPDATE runner_manager_task SET runner_manager_id = NULL WHERE id = $1", goes_on
    )
    await pod.connection.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " SELECT id, runner_manager_id, task_id, 'done', now() FROM runner_manager_task WHERE id = $1",
        done,
    )
    await pod.connection.execute(_DELETE, done)

    await features.stops(daemon.parts).step()

    assert (_stops(pod), await _unwanted(pod)) == (0, 0)
