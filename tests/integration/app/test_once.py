"""One full pass, as a function and as a command of its own."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from msgspec.structs import replace

from poddispatchd.app import once
from poddispatchd.app.once import run_once
from poddispatchd.app.parts import Parts
from poddispatchd.app.pass_summary import SiteSummary, end_of_pass
from poddispatchd.callbacks import inbox
from poddispatchd.clock import Clock
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk, TaskStatus, TaskType
from poddispatchd.journal import scheduling
from poddispatchd.notify.mail import MailSender
from poddispatchd.pod.open_tasks import OpenTask
from poddispatchd.reconcile import reconciler
from poddispatchd.runtime import supervisor
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.leadership import Leadership
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, FaultKind
from poddispatchd.sandbox.pod.world import add_task
from tests.forked import ForkedProcess, fork
from tests.integration.imports.bench import Bench, bench
from tests.integration.journal.aging import age_journal
from tests.plugins.postgres import PodDatabase

CHANGES: dict[str, dict[str, object]] = {
    "retention": {"completed_days": 60},
    "dispatch": {"grace": "30s"},
    "reconcile": {"retry_wait": "0s"},
}


_AGAIN = (f"{once.__name__}.ASK_AGAIN_AFTER", f"{reconciler.__name__}.ASK_AGAIN_AFTER")


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, changes=CHANGES) as made:
        yield made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in _AGAIN:
        monkeypatch.setattr(place, 0.01)


async def waiting(here: Bench, days: int = 1) -> int:
    video = await here.video()
    async with here.pod.connection() as connection:
        task = await add_task(connection, TaskType.ENCODING, video=video)
    await here.execute(
        "UPDATE runner_manager_task SET date_added = now() - make_interval(days => $2) WHERE id = $1",
        task,
        days,
    )
    return task


async def everything(here: Bench) -> dict[str, int]:
    """A Pod in which there is something to do for every job."""
    lost, told, running = await here.running(), await here.running(), await here.running()
    for task in (lost, told):
        await here.end(task)
    forgotten = await here.running()
    here.fake.forget(await here.of(forgotten, "task_id"))
    await here.execute(
        "UPDATE runner_manager_task SET date_added = now() - interval '2 days' WHERE id = $1", forgotten
    )
    old = await waiting(here, days=61)
    await here.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", old)
    fresh = await waiting(here)
    async with here.parts.database.connection() as connection:
        said = Callback(RunnerTaskId(await here.of(told, "task_id")), RunnerStatus.COMPLETED)
        await inbox.record(connection, (here.world.managers[0].id,), said)
    return {
        "lost": lost,
        "told": told,
        "running": running,
        "forgotten": forgotten,
        "old": old,
        "fresh": fresh,
    }


EXPECTED = {
    "lost": "completed",
    "told": "completed",
    "running": "running",
    "forgotten": "running",
    "old": None,
    "fresh": "running",
}


async def statuses(here: Bench, tasks: dict[str, int]) -> dict[str, object]:
    return {
        name: await here.value("SELECT status FROM runner_manager_task WHERE id = $1", task)
        for name, task in tasks.items()
    }


async def test_a_pass_does_everything_that_a_cron_run_would(here: Bench) -> None:
    tasks = await everything(here)
    result = await run_once(here.parts.settings)
    assert (result.scheduled, result.pending) == (True, 0)
    assert await statuses(here, tasks) == EXPECTED
    assert result.running == 3
    assert here.staged() == []


async def test_what_is_to_wait_before_it_is_submitted_again_is_left_to_a_later_pass(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "random", lambda _: 0.999)
    patient = replace(here.parts.settings.reconcile, retry_wait=600.0)
    settings = replace(here.parts.settings, reconcile=patient)
    forgotten = await here.running()
    here.fake.forget(await here.of(forgotten, "task_id"))

    first, second = await run_once(settings), await run_once(settings)
    async with here.pod.connection() as connection:
        await age_journal(connection, 600)
    third = await run_once(settings)

    assert [(made.pending, made.running) for made in (first, second, third)] == [(1, 0), (1, 0), (0, 1)]


@pytest.mark.slow
async def test_a_pass_as_a_command_ends_by_itself(here: Bench, tmp_path: Path) -> None:
    tasks = await everything(here)
    status, output, said = await command(here, tmp_path)
    assert status == 0
    assert said == ""
    counts = "2 submitted, 2 completed, 0 failed, 0 pending, 3 running"
    nothing = "0 submitted, 0 completed, 0 failed, 0 pending, 0 running"
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z+\-0-9]+ pod\.example\.org: {counts}; "
        rf"other\.example\.org: {nothing}\n",
        output,
    ), output
    assert await statuses(here, tasks) == EXPECTED


@pytest.mark.slow
async def test_a_pass_prints_nothing_with_verbosity_0_and_its_events_with_verbose(
    here: Bench, tmp_path: Path
) -> None:
    await everything(here)

    quiet = await command(here, tmp_path, "--verbosity", "0")
    loud = await command(here, tmp_path, "--verbose")

    assert quiet == (0, "", "")
    assert loud[1].count("\n") == 1
    assert '"event": "leader.acquired"' in loud[2]


async def test_a_task_that_fails_in_a_pass_is_counted_for_its_site(here: Bench, tmp_path: Path) -> None:
    task, elsewhere = await waiting(here), await waiting(here)
    await here.execute(
        "UPDATE video_video SET video = 'videos/gone.mp4' WHERE id ="
        " (SELECT video_id FROM runner_manager_task WHERE id = $1)",
        task,
    )
    await here.execute(
        "UPDATE video_video_sites SET site_id = 2 WHERE video_id ="
        " (SELECT video_id FROM runner_manager_task WHERE id = $1)",
        elsewhere,
    )

    _, output, _ = await command(here, tmp_path)

    assert "pod.example.org: 0 submitted, 0 completed, 1 failed, 0 pending, 0 running; " in output
    assert "other.example.org: 0 submitted, 0 completed, 0 failed, 1 pending, 0 running" in output


async def command(here: Bench, tmp_path: Path, *options: str) -> tuple[int, str, str]:
    process = await started(here, tmp_path, *options)
    output, said = await process.communicate()
    return await process.wait(), output.decode(), said.decode()


async def started(here: Bench, tmp_path: Path, *options: str) -> ForkedProcess:
    config = tmp_path / "config.yaml"
    settings = {
        "database": {"dsn": here.pod.dsn.get_secret_value()},
        "pod": {"https": False, "media_root": str(here.world.media_root), "use_podfile": True},
        "imports": {"keep_free": "1B"},
        "retention": {"completed_days": 60},
        "reconcile": {"retry_wait": "0s"},
    }
    await asyncio.to_thread(config.write_text, yaml.safe_dump(settings))
    await asyncio.to_thread(config.chmod, 0o600)
    command = ("once", "-c", str(config), *options)
    return await fork("poddispatchd", *command, constants=dict.fromkeys(_AGAIN, 0.01), apart=True)


async def test_a_pass_does_nothing_while_a_daemon_schedules(here: Bench, tmp_path: Path) -> None:
    tasks = await everything(here)
    before = await statuses(here, tasks)
    leading = await here.parts.database.dedicated_connection()
    try:
        assert await Leadership(instance="a daemon", clock=here.parts.clock).attend(leading, hears=True)
        renew = "UPDATE poddispatchd.leader SET lease_expires_at = now() + interval '59 seconds'"
        await leading.execute(renew)
        result = await run_once(here.parts.settings)
        assert not result.scheduled
        await leading.execute(renew)
        status, output, _ = await command(here, tmp_path)
        assert status == 0
        assert "Another poddispatchd schedules" in output
        assert await statuses(here, tasks) == before
    finally:
        await leading.execute("UPDATE poddispatchd.leader SET lease_expires_at = NULL")
        await leading.close()
    assert (await run_once(here.parts.settings)).scheduled


async def test_a_callback_that_another_session_holds_keeps_no_task_from_being_submitted(here: Bench) -> None:
    """The pass looked at it ten times a second, for the hour that it may take."""
    told, fresh = await here.running(), await waiting(here)
    async with here.parts.database.connection() as connection:
        said = Callback(RunnerTaskId(await here.of(told, "task_id")), RunnerStatus.RUNNING)
        await inbox.record(connection, (here.world.managers[0].id,), said)
    async with here.pod.connection() as holder, holder.transaction():
        await holder.execute("SELECT FROM poddispatchd.callback FOR UPDATE")
        async with asyncio.timeout(60):
            await run_once(here.parts.settings)
    assert await here.status(TaskPk(fresh)) == "running"


async def test_a_pass_submits_no_more_than_asked_for(here: Bench) -> None:
    for _ in range(3):
        await waiting(here)
    result = await run_once(here.parts.settings, max_tasks=1)
    assert (result.pending, result.running) == (2, 1)
    ranks = await here.value(
        "SELECT array_agg(rank ORDER BY rank) FROM runner_manager_task WHERE status = 'pending'"
    )
    assert ranks == [1, 2]


async def test_after_a_pass_its_successor_is_expected_and_after_an_hour_without_one_nobody_schedules(
    here: Bench,
) -> None:
    """A daemon that was killed holds a lease that ran out: nobody comes after that one by itself."""

    async def may_be_pass(change: str = "") -> bool:
        if change:
            await here.execute(f"UPDATE poddispatchd.leader SET {change}")
        async with here.parts.database.connection() as connection:
            return (await scheduling.scheduler(connection)).may_be_pass

    await run_once(here.parts.settings)
    found = [
        await may_be_pass(),
        await may_be_pass("lease_expires_at = now() - interval '1 minute'"),
        await may_be_pass("lease_expires_at = NULL, since = now() - interval '61 minutes'"),
    ]
    assert found == [True, False, False]


async def test_what_is_to_be_tried_again_later_is_left_to_the_next_pass(here: Bench) -> None:
    task = await here.running()
    await here.end(task)
    here.fake.faults.inject("result", AnswerFault(kind=FaultKind.STATUS, status=500), times=None)
    await run_once(here.parts.settings)
    assert await here.status(task) == TaskStatus.RUNNING
    assert await here.value("SELECT lease_owner FROM poddispatchd.import") is None
    here.fake.faults.clear()
    await here.execute("UPDATE poddispatchd.import SET next_attempt_at = now()")
    await run_once(here.parts.settings)
    assert await here.status(task) == TaskStatus.COMPLETED


async def test_passes_find_a_task_whose_runner_died_and_give_it_to_another(here: Bench) -> None:
    task = await here.running()
    record = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    await run_once(here.parts.settings)
    here.fake.runners[:] = [runner for runner in here.fake.runners if runner.id != record.runner_id]
    for _ in range(2):
        await here.execute(
            "UPDATE poddispatchd.sighting SET seen_at = seen_at - interval '6 min',"
            " missing_since = missing_since - interval '6 min'"
        )
        await run_once(here.parts.settings)
    assert await here.status(task) == TaskStatus.RUNNING
    submitted = here.fake.tasks[RunnerTaskId(await here.of(task, "task_id"))]
    assert submitted.task_id != record.task_id
    assert submitted.runner_id != record.runner_id


async def test_a_pass_goes_on_with_what_was_posted_by_one_that_was_killed_a_moment_ago(here: Bench) -> None:
    """Its manager may still look for a runner: asked again before that ends, it would take both."""
    task = TaskPk(await waiting(here))
    await run_once(here.parts.settings)
    its_id = await here.of(task, "task_id")
    await here.execute(
        "UPDATE poddispatchd.submission SET state = 'open', task_id = NULL, settled_at = NULL,"
        " created_at = clock_timestamp() - interval '29.5 s'"
    )
    await here.execute(
        "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL"
        " WHERE id = $1",
        task,
    )
    await run_once(here.parts.settings)
    assert (await here.of(task, "status"), await here.of(task, "task_id")) == ("running", its_id)


async def test_a_pass_that_is_interrupted_hands_its_imports_back(here: Bench) -> None:
    task = await here.running()
    await here.end(task)
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.HANG), times=None)
    passing = asyncio.create_task(run_once(here.parts.settings))
    await here.fake.wait_for(lambda: any("/file/" in request.path for request in here.fake.requests))
    passing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await passing
    assert await here.imports_of(task) == [("open", 0, None)]
    assert await here.value("SELECT lease_owner FROM poddispatchd.import") is None


async def test_a_pass_that_is_told_to_stop_hands_back_and_leaves_the_rest_to_the_next(
    here: Bench, tmp_path: Path
) -> None:
    task = await here.running()
    await here.end(task)
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.HANG), times=None)
    process = await started(here, tmp_path)
    await here.fake.wait_for(
        lambda: any("/file/" in request.path for request in here.fake.requests), timeout=60
    )
    process.terminate()
    output, said = await process.communicate()
    assert (await process.wait(), output) == (1, b"")
    assert b"The pass was stopped" in said
    assert await here.imports_of(task) == [("open", 0, None)]
    assert await here.value("SELECT lease_owner FROM poddispatchd.import") is None
    here.fake.faults.clear()
    assert (await run_once(here.parts.settings)).running == 0
    assert await here.status(task) == TaskStatus.COMPLETED


async def test_a_pass_that_is_stopped_asks_nobody_any_more(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The questions went on, over a session that was being closed, while the pass was summed up."""
    asking: list[str] = []

    async def summed_up(parts: Parts, before: list[OpenTask]) -> tuple[SiteSummary, ...]:
        asking.extend(task.get_name() for task in asyncio.all_tasks())
        return await end_of_pass(parts, before)

    monkeypatch.setattr(once, "end_of_pass", summed_up)
    await here.running()
    here.fake.faults.inject("status", AnswerFault(kind=FaultKind.HANG), times=None)
    stop = asyncio.Event()
    passing = asyncio.create_task(run_once(here.parts.settings, stop=stop))
    await here.fake.wait_for(lambda: any("/task/status/" in request.path for request in here.fake.requests))

    stop.set()

    assert (await passing).stopped
    assert not [name for name in asking if name.startswith("questions to ")]


async def test_a_pass_ends_though_its_session_loses_a_cancellation(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11's ``wait_for`` forgets a cancellation now and then: the pass then waited for ever."""
    monkeypatch.setattr(supervisor, "_AGAIN", 0.01)
    run, lost = DatabaseSession.run, 0

    async def stubborn(session: DatabaseSession) -> None:
        nonlocal lost
        with suppress(asyncio.CancelledError):
            await run(session)
        lost += 1
        await asyncio.sleep(3600)

    monkeypatch.setattr(DatabaseSession, "run", stubborn)
    async with asyncio.timeout(30):
        assert (await run_once(here.parts.settings)).scheduled
    assert lost == 1


async def test_a_pass_that_takes_too_long_still_ranks_and_purges(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await here.running()
    await here.end(task)
    here.fake.faults.inject("file", AnswerFault(kind=FaultKind.HANG), times=None)
    old = await waiting(here, days=61)
    await here.execute("UPDATE runner_manager_task SET status = 'completed' WHERE id = $1", old)
    monkeypatch.setattr(once, "_LONGEST_ROUND", 1.5)
    result = await run_once(here.parts.settings)
    assert result.running == 1
    assert await here.value("SELECT count(*) FROM runner_manager_task WHERE id = $1", old) == 0
    assert await here.value("SELECT lease_owner FROM poddispatchd.import") is None


async def test_mail_that_takes_all_the_time_of_a_pass_keeps_nothing_else_from_being_told(
    pod_database: PodDatabase, media_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as a mail server said nothing, no pass came to the command after an import."""
    ran = tmp_path / "ran"
    changes: dict[str, dict[str, object]] = {"imports": {"after": ["/usr/bin/touch", str(ran)]}}
    async with bench(pod_database, media_root, changes=changes) as here:
        await here.execute(
            "INSERT INTO poddispatchd.delivery (channel, task_pk, content)"
            """ VALUES ('hook', 1, '{"type": "encoding", "video": 1}')"""
        )

        async def hangs(_: MailSender) -> int:
            while not ran.exists():  # noqa: ASYNC110 - a process does it
                await asyncio.sleep(0.01)
            return 0

        monkeypatch.setattr(MailSender, "send_due", hangs)
        monkeypatch.setattr(once, "_LONGEST_TELLING", 5.0)
        await run_once(here.parts.settings)
    assert ran.exists()


async def test_a_result_whose_submission_was_lost_is_found_and_imported_in_one_pass(here: Bench) -> None:
    """The callback was matched to its task, and then left to the next pass."""
    task = await here.running()
    await here.end(task)
    task_id = RunnerTaskId(str(await here.of(task, "task_id")))
    record = await here.parts.client.status(here.world.managers[0], task_id)
    body = {
        "etab_name": record.etab_name,
        "app_name": record.app_name,
        "task_type": record.task_type,
        "source_url": record.source_url,
        "notify_url": record.notify_url,
        "parameters": dict(record.parameters),
    }
    await here.execute(
        "UPDATE runner_manager_task SET status = 'pending', task_id = NULL, runner_manager_id = NULL"
    )
    await here.execute(
        "INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body)"
        " VALUES ($1, 'encoding', $2, 1, $3)",
        *(task, here.world.managers[0].id, json.dumps(body).encode()),
    )
    async with here.parts.database.connection() as connection:
        said = Callback(task_id, RunnerStatus.COMPLETED)
        await inbox.record(connection, (here.world.managers[0].id,), said)
    await run_once(here.parts.settings)
    assert await here.status(TaskPk(task)) == "completed"
    assert await here.of(TaskPk(task), "task_id") == task_id
