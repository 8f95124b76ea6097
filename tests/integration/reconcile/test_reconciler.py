"""Running rows and what their runner manager says of them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.types import EventDict

from poddispatchd.app import features
from poddispatchd.callbacks import inbox
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import SUBMITTABLE, RunnerStatus, RunnerTaskId, TaskPk, TaskStatus, TaskType
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError
from poddispatchd.journal import observations
from poddispatchd.observability.events import Event
from poddispatchd.pod import tasks
from poddispatchd.pod.tasks import UnsettledTask
from poddispatchd.reconcile import outcomes, polling, reconciler
from poddispatchd.reconcile.outcomes import AppliedOutcomes
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER, Reconciler
from poddispatchd.runner.client import NOBODYS, RunnerClient
from poddispatchd.runner.records import RunnerInfo
from poddispatchd.runtime import incidents
from poddispatchd.runtime.jobs import Progress
from poddispatchd.sandbox.fake_runner_manager import (
    AnswerFault,
    Behaviour,
    Dispatch,
    FaultKind,
    Mode,
    RunOutcome,
)
from poddispatchd.sandbox.pod.world import add_task
from poddispatchd.tasks.transitions import apply_report
from tests.integration.imports.bench import Bench, bench, schedule
from tests.plugins.postgres import PodDatabase

INTERVAL = 60.0
RUNNING_AFTER = 300.0
STALE_AFTER = 7200.0


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


def asked(here: Bench) -> list[str]:
    """The ids that were asked about, and the calls for the list of runners."""
    paths = [request.path for request in here.fake.requests]
    return [
        path.rpartition("/")[2]
        for path in paths
        if path.startswith(("/task/status/", "/api/runners")) and not path.endswith(NOBODYS)
    ]


async def look(here: Bench, watcher: Reconciler, *, after: float = 0.0) -> float:
    """Let it ask, and wait until it has all the answers, however long the machine takes for them."""
    here.clock.ahead += after
    seconds = await watcher.step()
    await watcher.until_idle()
    return seconds


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[EventDict]:
    entries: list[EventDict] = []
    log = SimpleNamespace(
        **{
            level: lambda event, level=level, **facts: entries.append(
                {"event": event, "level": level, **facts}
            )
            for level in ("debug", "info", "warning", "error", "exception")
        }
    )
    monkeypatch.setattr(reconciler, "log", log)
    monkeypatch.setattr(polling, "log", log)
    monkeypatch.setattr(incidents, "log", log)
    return entries


# --- every answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SUBMITTABLE)
async def test_a_result_whose_callback_was_lost_is_imported(here: Bench, kind: TaskType) -> None:
    task = await here.running(kind)
    await here.end(task)
    await look(here, features.reconciler(here.parts))
    assert await here.imports_of(task) == [("open", 0, None)]
    await here.import_due()
    assert await here.status(task) == "completed"


async def test_a_result_that_the_manager_calls_a_warning_is_imported(here: Bench) -> None:
    """Nobody answered the manager's call, so it says ``warning`` until somebody fetches the result."""
    task = await here.running()
    await here.end(task)
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    record.status = record.status.WARNING
    record.callback_warning = "Notify URL callback failed: 503"
    await here.execute("UPDATE runner_manager_task SET status = 'warning'")
    await look(here, features.reconciler(here.parts))
    await here.import_due()
    assert await here.status(task) == "completed"
    assert "Notify URL" not in await here.words(task)


@pytest.mark.parametrize(
    ("behaviour", "status", "words"),
    [
        (
            Behaviour(outcome=RunOutcome.FAILED, error="Bad medium", script_output="the log"),
            "failed",
            "Bad medium",
        ),
        (Behaviour(outcome=RunOutcome.TIMEOUT, error="Script timeout"), "timeout", "Script timeout"),
        (
            Behaviour(outcome=RunOutcome.FAILED, error="Runner is busy", script_output=" "),
            "pending",
            "Runner is busy",
        ),
    ],
    ids=["failed", "timeout", "curable"],
)
@pytest.mark.parametrize("kind", SUBMITTABLE)
async def test_a_failure_that_nobody_told_is_found_with_its_words(
    here: Bench, kind: TaskType, behaviour: Behaviour, status: str, words: str
) -> None:
    task = await here.running(kind)
    await here.end(task, behaviour)
    await look(here, features.reconciler(here.parts))
    assert await here.status(task) == status
    assert words in await here.words(task)


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(dispatch=Dispatch.LOST),
        Behaviour(
            outcome=RunOutcome.FAILED,
            error="Impossible to download http://pod/media/timeout.mp4 file, server returned HTTP 503.",
        ),
        Behaviour(
            outcome=RunOutcome.FAILED,
            error="Encoding process was terminated by SIGTERM (return code -15)",
        ),
    ],
    ids=["the order was lost", "its source could not be fetched", "its runner was shut down"],
)
async def test_what_is_not_the_mediums_fault_waits_in_the_queue_again(
    here: Bench, behaviour: Behaviour
) -> None:
    task = await here.running()
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    here.fake.rerun(record.task_id, behaviour)
    if behaviour.dispatch is Dispatch.OK:
        await here.end(task, behaviour)
    await here.fake.wait_for(lambda: record.status is not RunnerStatus.RUNNING)
    await look(here, features.reconciler(here.parts))
    assert await here.status(task) == "pending"


async def test_a_source_that_could_not_be_fetched_is_left_alone_for_minutes(here: Bench) -> None:
    """Such a run ends at once: a web server that was away for a minute used up all attempts."""
    task = await here.running()
    words = "Impossible to download http://pod/media/a.mp4 file, server returned HTTP 503."
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error=words))
    await look(here, features.reconciler(here.parts))
    left = "SELECT extract(epoch FROM not_before - added_at) FROM poddispatchd.own_task WHERE task_pk = $1"
    assert float(await here.value(left, task)) >= 4 * here.parts.retries.first_wait > 0


async def test_a_task_whose_manager_was_killed_before_a_runner_got_it_is_submitted_again(here: Bench) -> None:
    """Its record says that it runs, for a day; the same bytes lead to it again, and its runner is idle."""
    here.fake.faults.default = Behaviour(dispatch=Dispatch.KILLED)
    task = await here.running()
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    assert (await here.status(task), watcher.in_doubt) == ("running", False)
    await look(here, watcher, after=RUNNING_AFTER)
    assert (await here.status(task), watcher.in_doubt) == ("running", True)
    await look(here, watcher, after=ASK_AGAIN_AFTER)
    assert await here.status(task) == "pending"
    assert "went down before any runner got it" in await here.words(task)


@pytest.mark.parametrize("is_at_work", [True, False], ids=["a runner is at work", "none is"])
async def test_a_run_that_was_given_up_is_stopped_at_whichever_runner_works_on_it(
    here: Bench, is_at_work: bool
) -> None:
    """Its order may have reached a runner just before its manager was killed: two worked on one task."""
    if not is_at_work:
        here.fake.faults.default = Behaviour(dispatch=Dispatch.KILLED)
    task = await here.running()
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    watcher, stops = features.reconciler(here.parts), features.stops(here.parts)
    # What a manager that was killed amid the order leaves of it.
    record.updated_at = record.created_at
    await look(here, watcher)
    for after in (RUNNING_AFTER, ASK_AGAIN_AFTER):
        await look(here, watcher, after=after)
    assert await here.status(task) == "pending"
    await here.execute("UPDATE poddispatchd.unwanted_run SET next_request_at = now()")
    await stops.step()
    paths = [request.path for request in here.fake.requests]
    assert [path for path in paths if "/stop/" in path] == [f"/task/stop/{record.task_id}"]
    if is_at_work:
        await here.fake.wait_for(lambda: record.status is RunnerStatus.FAILED)
    assert await here.value("SELECT count(*) FROM poddispatchd.unwanted_run") == 0
    assert await here.status(task) == "pending"


async def test_a_run_that_another_task_goes_on_with_is_not_stopped(here: Bench) -> None:
    """A manager gives two requests for the same source one id: one row was given up before the other."""
    await here.running()
    await here.execute(
        "INSERT INTO runner_manager_task (type, status, task_id, date_added, video_id, runner_manager_id)"
        " SELECT type, status, task_id, date_added, video_id, runner_manager_id FROM runner_manager_task"
    )
    async with here.pod.connection() as connection:
        both = await tasks.unsettled_tasks(connection, after=TaskPk(0), limit=9)
    applied, stops = features.applied_outcomes(here.parts), []
    for item in both:
        await applied.lost(item, "Nobody knows it.")
        stops.append(await here.value("SELECT count(*) FROM poddispatchd.unwanted_run"))
    assert [await here.status(item.task.pk) for item in both] == ["pending", "pending"]
    assert stops == [0, 1]


async def test_a_task_whose_order_was_only_slow_is_left_alone(here: Bench) -> None:
    here.fake.faults.default = Behaviour(dispatch=Dispatch.KILLED)
    task = await here.running()
    watcher = features.reconciler(here.parts)
    await look(here, watcher, after=RUNNING_AFTER)
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    record.updated_at += timedelta(microseconds=1)
    await look(here, watcher, after=ASK_AGAIN_AFTER)
    await look(here, watcher, after=INTERVAL)
    assert (await here.status(task), watcher.in_doubt) == ("running", False)


async def test_a_task_that_runs_is_left_alone(here: Bench) -> None:
    task = await here.running()
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    assert (await here.status(task), await here.words(task), await here.imports_of(task)) == (
        "running",
        "",
        [],
    )


async def test_a_status_that_nobody_knows_changes_nothing_and_is_told_once(
    here: Bench, logged: list[EventDict]
) -> None:
    task = await here.running()
    task_id = await here.of(task, "task_id")
    body = {"task_id": task_id, "status": "levitating"}
    here.fake.faults.inject("status", AnswerFault(kind=FaultKind.STATUS, status=200, body=body), times=None)
    watcher = features.reconciler(here.parts)
    for _ in range(3):
        await look(here, watcher, after=INTERVAL)
    assert await here.status(task) == "running"
    assert [entry["status"] for entry in logged if entry.get("decision") == "unknown"] == ["levitating"]


@pytest.mark.parametrize(
    "body", ["[]", '"completed"', "null", "{}", '{"status": 5}', "<html>"], ids=lambda body: body
)
async def test_one_unusable_answer_does_not_keep_the_others_from_being_asked_about(
    here: Bench, body: str
) -> None:
    odd, other = await here.running(), await here.running()
    await here.end(other)
    fault = AnswerFault(kind=FaultKind.STATUS, status=200, body=body, match=await here.of(odd, "task_id"))
    here.fake.faults.inject("status", fault, times=None)
    await look(here, features.reconciler(here.parts))
    assert (await here.status(odd), (await here.imports_of(other))[0][0]) == ("running", "open")


async def test_a_manager_that_talks_nonsense_is_left_alone_for_now(here: Bench) -> None:
    for _ in range(6):
        await here.running()
    here.fake.faults.inject("status", AnswerFault(kind=FaultKind.HTML), times=None)
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    assert len(asked(here)) == 3


# --- lost tasks ------------------------------------------------------------------------------------------


async def test_a_forgotten_task_is_asked_about_twice_and_submitted_again_with_other_bytes(
    here: Bench,
) -> None:
    task = await here.running()
    here.fake.forget(await here.of(task, "task_id"))
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    assert (await here.status(task), watcher.in_doubt) == ("running", True)
    await look(here, watcher, after=ASK_AGAIN_AFTER)
    assert (await here.status(task), await here.of(task, "task_id")) == ("pending", None)
    assert await here.parts.wakeups.dispatcher.wait(0)
    assert "submitted again" in await here.words(task)
    # What Pod submitted counts as the first attempt, although the journal never saw it.
    assert await here.value("SELECT max(attempt) FROM poddispatchd.submission WHERE state = 'lost'") == 1
    await look(here, watcher)
    assert not watcher.in_doubt


async def test_one_denial_between_answers_is_forgiven(here: Bench) -> None:
    task = await here.running()
    watcher = features.reconciler(here.parts)
    denial = AnswerFault(kind=FaultKind.STATUS, status=404, body={"detail": "Task not found"})
    for _ in range(3):
        here.fake.faults.inject("status", denial)
        await look(here, watcher, after=INTERVAL)
        await look(here, watcher, after=INTERVAL)
    assert await here.status(task) == "running"


async def test_a_404_of_a_proxy_is_no_denial(here: Bench) -> None:
    task = await here.running()
    page = AnswerFault(kind=FaultKind.STATUS, status=404, body="<html>nothing here</html>")
    here.fake.faults.inject("status", page, times=None)
    watcher = features.reconciler(here.parts)
    for _ in range(4):
        await look(here, watcher, after=700)
    assert await here.status(task) == "running"


@pytest.mark.parametrize("changes", [{"lost": "fail"}, {"max_attempts": 1}])
async def test_a_lost_task_fails_in_words_where_it_may_not_run_again(
    pod_database: PodDatabase, media_root: Path, changes: dict[str, object]
) -> None:
    async with bench(pod_database, media_root, changes={"reconcile": changes}) as here:
        task = await here.running()
        here.fake.forget(await here.of(task, "task_id"))
        watcher = features.reconciler(here.parts)
        await look(here, watcher)
        await look(here, watcher, after=ASK_AGAIN_AFTER)
        assert await here.status(task) == "failed"
        assert "does not know task" in await here.words(task)
        assert await here.parts.wakeups.notifier.wait(0)  # it sleeps for ten minutes otherwise
        assert (await here.step_of(await here.of(task, "video_id")))[0] == -1


@pytest.mark.parametrize("missing", ["runner_manager_id", "task_id"])
async def test_a_row_that_names_nobody_runs_nowhere(here: Bench, missing: str) -> None:
    task = await here.running()
    await here.execute(f"UPDATE runner_manager_task SET {missing} = NULL")
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    assert await here.status(task) == "running"  # Pod may be about to write the rest
    await look(here, watcher, after=ASK_AGAIN_AFTER)
    assert await here.status(task) == "pending"


async def test_a_row_that_names_its_manager_at_the_last_moment_runs_there(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was submitted a second time while its run went on."""
    task = await here.running()
    manager = await here.of(task, "runner_manager_id")
    await here.execute("UPDATE runner_manager_task SET runner_manager_id = NULL")
    lost = AppliedOutcomes._lost

    async def late(outcomes: AppliedOutcomes, item: UnsettledTask, reason: str) -> None:
        await here.execute("UPDATE runner_manager_task SET runner_manager_id = $1", manager)
        await lost(outcomes, item, reason)

    monkeypatch.setattr(AppliedOutcomes, "_lost", late)
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    await look(here, watcher, after=ASK_AGAIN_AFTER)
    assert await here.of(task, "runner_manager_id") == manager
    assert await here.status(task) == "running"


async def test_a_task_on_a_runner_that_is_gone_is_lost_after_a_while(here: Bench) -> None:
    task = await here.running()
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    await look(here, watcher, after=RUNNING_AFTER)
    assert asked(here).count("runners") == 1
    here.fake.runners[:] = [runner for runner in here.fake.runners if runner.id != record.runner_id]
    for _ in range(4):
        await look(here, watcher, after=INTERVAL)
    assert asked(here).count("runners") == 1
    await look(here, watcher, after=INTERVAL)
    assert (asked(here).count("runners"), await here.status(task)) == (2, "running")
    await look(here, watcher, after=RUNNING_AFTER)
    assert await here.status(task) == "pending"
    assert record.runner_id in await here.words(task)


async def test_every_task_of_a_runner_that_is_gone_is_found_whoever_asked_for_the_list(here: Bench) -> None:
    """The list was looked at for the tasks whose turn it was when it was asked for, and for no others."""
    watcher = features.reconciler(here.parts)
    await here.running()
    await look(here, watcher)
    late = await here.running()
    record = here.fake.tasks[RunnerTaskId(await here.of(late, "task_id"))]
    await look(here, watcher, after=25)
    here.fake.runners[:] = [runner for runner in here.fake.runners if runner.id != record.runner_id]
    for _ in range(48):
        await look(here, watcher, after=25)
    assert await here.status(late) == "pending"
    assert asked(here).count("runners") <= 1200 / RUNNING_AFTER


async def test_a_runner_that_is_back_since_the_list_was_read_keeps_its_task(here: Bench) -> None:
    """The list was up to five minutes old, read for another task: the run was given up, and went on."""
    await here.running()
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    here.clock.ahead += 250
    late = await here.running()
    await look(here, watcher)
    runners = list(here.fake.runners)
    record = here.fake.tasks[RunnerTaskId(await here.of(late, "task_id"))]
    here.fake.runners[:] = [runner for runner in runners if runner.id != record.runner_id]
    for seconds in (250, 60, 250):
        await look(here, watcher, after=seconds)
    assert asked(here).count("runners") == 2
    here.fake.runners[:] = runners
    await look(here, watcher, after=INTERVAL)
    assert await here.status(late) == "running"


async def test_a_result_that_is_told_while_its_runner_is_looked_for_is_imported_and_not_made_again(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner came back at the last moment, and its result was thrown away for another run.

    So was it later for another task that shares the run: its own row had no import, and was put back.
    """
    task, runners = await here.running(), RunnerClient.runners
    await here.execute(
        "INSERT INTO runner_manager_task (type, status, task_id, date_added, video_id, runner_manager_id)"
        " SELECT type, status, task_id, date_added, video_id, runner_manager_id FROM runner_manager_task"
    )
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    here.fake.runners.clear()
    await look(here, watcher, after=RUNNING_AFTER)

    async def told_meanwhile(client: RunnerClient, manager: RunnerManager) -> list[RunnerInfo]:
        listed = await runners(client, manager)
        await here.end(task)
        await here.open_import(task)
        return listed

    monkeypatch.setattr(RunnerClient, "runners", told_meanwhile)
    await look(here, watcher, after=RUNNING_AFTER + 1)
    assert await here.value("SELECT array_agg(status::text) FROM runner_manager_task") == ["running"] * 2
    await here.import_due()
    assert await here.value("SELECT array_agg(status::text) FROM runner_manager_task") == ["completed"] * 2


async def test_a_runner_that_comes_back_keeps_its_task(here: Bench) -> None:
    task = await here.running()
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    runners = list(here.fake.runners)
    here.fake.runners.clear()
    await look(here, watcher, after=RUNNING_AFTER)
    here.fake.runners.extend(runners)
    for _ in range(3):
        await look(here, watcher, after=RUNNING_AFTER)
    assert await here.status(task) == "running"


# --- managers --------------------------------------------------------------------------------------------


async def test_an_inactive_manager_is_still_asked(here: Bench) -> None:
    task = await here.running()
    await here.end(task)
    await here.execute("UPDATE runner_manager SET is_active = false")
    await look(here, features.reconciler(here.parts))
    assert (await here.imports_of(task))[0][0] == "open"


async def test_an_unreachable_manager_is_waited_for_and_its_tasks_are_reported_once(
    here: Bench, logged: list[EventDict]
) -> None:
    tasks = [await here.running() for _ in range(3)]
    await here.fake.stop()
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    for _ in range(5):
        await look(here, watcher, after=STALE_AFTER / 4)
    assert sorted(entry["task"] for entry in logged if entry["event"] == "task.stale") == sorted(tasks)
    gauge = here.parts.metrics.stale_tasks.labels(TaskType.ENCODING)
    assert gauge._value.get() == 3
    assert {await here.status(task) for task in tasks} == {"running"}
    await here.fake.start()
    for task in tasks:
        await here.end(task)
    await look(here, watcher, after=700)
    await here.import_due()
    await here.import_due()
    await look(here, watcher, after=INTERVAL)
    assert gauge._value.get() == 0
    assert {await here.status(task) for task in tasks} == {"completed"}


async def test_an_unreachable_manager_is_asked_about_one_task_and_not_hammered(here: Bench) -> None:
    """It was asked again every second, and each time about its first task."""
    for _ in range(5):
        await here.running()
    here.fake.faults.inject("status", AnswerFault(kind=FaultKind.STATUS, status=500), times=None)
    watcher = features.reconciler(here.parts)
    delay = await look(here, watcher)
    assert (len(asked(here)), delay) == (1, INTERVAL)
    await look(here, watcher, after=1)
    assert len(asked(here)) == 1


async def test_age_counts_from_our_submission_over_restarts(here: Bench, logged: list[EventDict]) -> None:
    ours, pods = await here.running(), await here.running()
    await here.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, state,"
        " task_id, settled_at)"
        " VALUES ($1, 'encoding', 1, 1, '', 'accepted', $2, now() - interval '3 hours')",
        *(ours, await here.of(ours, "task_id")),
    )
    await here.execute("UPDATE runner_manager_task SET date_added = now() - interval '9 days'")
    await look(here, features.reconciler(here.parts))
    assert told_stale(logged) == [ours]
    assert await here.status(pods) == "running"


def told_stale(logged: list[EventDict]) -> list[object]:
    return [entry["task"] for entry in logged if entry["event"] == "task.stale"]


async def hours_pass(here: Bench, hours: float) -> None:
    """By the database's clock, for all that the journal knows of running tasks."""
    await here.execute(
        "UPDATE poddispatchd.sighting SET seen_at = seen_at - make_interval(secs => $1),"
        " missing_since = missing_since - make_interval(secs => $1)",
        hours * 3600,
    )


async def test_age_counts_from_first_sight_where_pod_submitted_over_restarts(
    here: Bench, logged: list[EventDict]
) -> None:
    """It began again with each daemon, and with each pass from a CRON line: nothing ever became stale."""
    task = await here.running()
    for _ in range(3):
        await look(here, features.reconciler(here.parts))
        assert told_stale(logged) == []
        await hours_pass(here, 0.75)
    await look(here, features.reconciler(here.parts))
    assert told_stale(logged) == [task]
    await look(here, features.reconciler(here.parts))
    await here.execute("UPDATE runner_manager_task SET status = 'warning'")  # Pod's word: still to be fetched
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    assert told_stale(logged) == [task]  # once, whoever looks
    assert watcher.stale.tasks == (task,)
    assert here.parts.metrics.stale_tasks.labels(TaskType.ENCODING)._value.get() == 1
    state = features.status(here.parts).state(Progress(stale=watcher.stale))
    assert f"Task {task} has been running for more than 2h" in state.line()


async def test_a_task_that_runs_under_another_id_is_a_new_one(here: Bench, logged: list[EventDict]) -> None:
    task, other = await here.running(), await here.running()
    await look(here, features.reconciler(here.parts))
    await hours_pass(here, 3)
    await here.execute(
        "UPDATE runner_manager_task SET task_id = $2 WHERE id = $1", task, await here.of(other, "task_id")
    )
    await look(here, features.reconciler(here.parts))
    assert told_stale(logged) == [other]


async def test_what_is_known_of_a_task_is_forgotten_with_its_end(here: Bench) -> None:
    task, other = await here.running(), await here.running()
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    await here.end(task)
    await look(here, watcher, after=INTERVAL)
    await here.import_due()
    await look(here, watcher, after=INTERVAL)
    assert await here.value("SELECT array_agg(task_pk) FROM poddispatchd.sighting") == [other]


async def test_a_runner_that_is_gone_is_found_by_passes_that_remember_nothing(here: Bench) -> None:
    """Each pass from a CRON line began to count again: a dead runner kept its tasks for ever."""
    task = await here.running()
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    await look(here, features.reconciler(here.parts))
    await hours_pass(here, 1)
    here.fake.runners[:] = [runner for runner in here.fake.runners if runner.id != record.runner_id]
    for _ in range(2):
        await look(here, features.reconciler(here.parts))
        assert await here.status(task) == "running"
    await hours_pass(here, RUNNING_AFTER / 3600)
    await look(here, features.reconciler(here.parts))
    assert await here.status(task) == "pending"


async def test_a_runner_that_was_missing_and_came_back_is_missed_anew(here: Bench) -> None:
    task = await here.running()
    await look(here, features.reconciler(here.parts))
    runners = list(here.fake.runners)
    for _ in range(3):
        here.fake.runners.clear()
        await hours_pass(here, 1)
        await look(here, features.reconciler(here.parts))
        here.fake.runners.extend(runners)
        await look(here, features.reconciler(here.parts))
    assert await here.status(task) == "running"


async def test_a_task_that_a_restarted_manager_gave_to_another_runner_is_not_missed(here: Bench) -> None:
    task = await here.running()
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    other = next(runner for runner in here.fake.runners if runner.id != record.runner_id)
    await look(here, features.reconciler(here.parts))
    await hours_pass(here, 1)
    here.fake.runners[:] = [runner for runner in here.fake.runners if runner.id != record.runner_id]
    await look(here, features.reconciler(here.parts))
    record.runner_id = other.id
    await hours_pass(here, 1)
    await look(here, features.reconciler(here.parts))
    assert await here.status(task) == "running"


async def test_a_database_that_is_lost_while_runners_are_looked_for_is_no_crash(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came as a group of errors, which nobody took for a lost database."""
    task = await here.running()
    await look(here, features.reconciler(here.parts))
    await hours_pass(here, 1)
    here.fake.runners.clear()

    async def lost(*_: object) -> None:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(observations, "note_runner", lost)
        await look(here, features.reconciler(here.parts))
    assert await here.status(task) == "running"
    assert await here.value("SELECT missing_runner FROM poddispatchd.sighting") is None


# --- whose turn it is ------------------------------------------------------------------------------------


async def test_the_first_look_of_a_term_asks_about_everything_and_later_ones_in_turn(here: Bench) -> None:
    watcher = features.reconciler(here.parts)
    first = await here.running()
    await look(here, watcher)
    second = await here.running()
    ids = [await here.of(task, "task_id") for task in (first, second)]
    assert asked(here) == ids[:1]
    await look(here, watcher, after=1)
    assert asked(here) == ids[:1]
    await look(here, watcher, after=INTERVAL)
    assert asked(here) == [ids[0]] * 2
    await look(here, watcher, after=RUNNING_AFTER)
    assert [path for path in asked(here) if path != "runners"] == [ids[0]] * 3 + [ids[1]]
    schedule(here.parts, 2)
    await look(here, watcher, after=1)
    assert asked(here)[-2:] == ids


async def test_only_the_scheduler_asks(here: Bench) -> None:
    await here.running()
    schedule(here.parts, None)
    assert await look(here, features.reconciler(here.parts)) == INTERVAL
    assert asked(here) == []


async def test_a_task_whose_result_is_being_imported_is_not_asked_about(here: Bench) -> None:
    await here.ready()
    watcher = features.reconciler(here.parts)
    assert await look(here, watcher) == INTERVAL
    assert asked(here) == []


async def test_a_thousand_running_tasks_are_asked_about_once_each_and_in_turn(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with here.pod.connection() as connection:
        for number in range(1000):
            await add_task(
                connection,
                TaskType.ENCODING,
                status=TaskStatus.RUNNING,
                task_id=f"task-{number}",
                runner_manager=here.world.managers[0].id,
            )
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(here.clock, "sleep", sleep)
    await look(here, features.reconciler(here.parts))
    assert asked(here) == [f"task-{number}" for number in range(1000)]
    assert len(waits) == 999
    assert min(waits) > 0


async def test_one_odd_row_does_not_keep_the_others_from_being_reconciled(
    here: Bench, monkeypatch: pytest.MonkeyPatch, logged: list[EventDict]
) -> None:
    odd, other = await here.running(), await here.running()
    for task in (odd, other):
        await here.end(task)
    apply = apply_report

    async def picky(connection: object, task: object, *rest: object, **named: object) -> object:
        if task.pk == odd:  # type: ignore[attr-defined]  # a task
            raise DatabaseError("odd")
        return await apply(connection, task, *rest, **named)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(outcomes, "apply_report", picky)
    await look(here, features.reconciler(here.parts))
    assert (await here.imports_of(other))[0][0] == "open"
    assert [entry["task"] for entry in logged if entry["event"] == Event.SERVICE_CRASHED] == [odd]


# --- together with callbacks -----------------------------------------------------------------------------


async def called(here: Bench, task: TaskPk, status: RunnerStatus, output: str | None = None) -> None:
    """The manager has called, and the inbox has been worked off."""
    said = Callback(RunnerTaskId(await here.of(task, "task_id")), status, None, output)
    async with here.parts.database.connection() as connection:
        await inbox.record(connection, (here.world.managers[0].id,), said)
    await features.callback_worker(here.parts).step()


async def test_a_callback_and_a_look_at_once_make_one_import(here: Bench) -> None:
    task = await here.running()
    await here.end(task, Behaviour(script_output="the log"))
    await asyncio.gather(
        called(here, task, RunnerStatus.COMPLETED, "the log"), look(here, features.reconciler(here.parts))
    )
    assert await here.imports_of(task) == [("open", 0, None)]
    assert (await here.words(task)).count("the log") == 1
    await here.import_due()
    assert await here.imports_of(task) == [("done", 1, None)]
    await called(here, task, RunnerStatus.FAILED, "late")
    assert (await here.status(task), "late" in await here.words(task)) == ("completed", False)


async def test_a_failed_task_that_its_runner_ran_again_is_imported(here: Bench) -> None:
    task = await here.running()
    await here.end(task, Behaviour(outcome=RunOutcome.FAILED, error="No source", script_output="log"))
    await look(here, features.reconciler(here.parts))
    assert await here.status(task) == "failed"
    await here.end(task)
    await called(here, task, RunnerStatus.COMPLETED)
    await here.import_due()
    assert await here.status(task) == "completed"
    assert (await here.step_of(await here.of(task, "video_id"))) == (0, "done")


async def test_two_rows_with_one_id_are_both_served(here: Bench) -> None:
    first = await here.running()
    second = await here.running()
    await here.execute(
        "UPDATE runner_manager_task SET task_id = $2 WHERE id = $1", second, await here.of(first, "task_id")
    )
    await here.end(first)
    await look(here, features.reconciler(here.parts))
    assert [(await here.imports_of(task))[0][0] for task in (first, second)] == ["open", "open"]


async def test_who_waits_for_a_task_that_runs_for_too_long_is_told_with_it(here: Bench) -> None:
    video = await here.video()
    old = await here.running(video=video)
    async with here.pod.connection() as connection:
        new = await add_task(connection, TaskType.ENCODING, video=video)
    watcher = features.reconciler(here.parts)
    await look(here, watcher)
    await look(here, watcher, after=STALE_AFTER + 1)
    assert (watcher.stale.tasks, watcher.stale.waiting) == ((old,), (new,))
    state = features.status(here.parts).state(Progress(stale=watcher.stale))
    assert any(
        f"Task {new} for the same source waits until then: 'poddispatchd tasks cancel' ends either." in words
        for words in state.problems
    )


@pytest.mark.parametrize("outcome", [RunOutcome.COMPLETED, RunOutcome.FAILED])
async def test_a_record_of_many_megabytes_keeps_no_task_running(here: Bench, outcome: RunOutcome) -> None:
    task = await here.running()
    await here.end(task, Behaviour(outcome=outcome, script_output="frame=1 fps=25 " * 1_200_000))
    await look(here, features.reconciler(here.parts))
    await here.import_due()
    assert await here.status(task) == outcome.value
    assert len(await here.words(task)) < 2 * 2**20
