"""A record that a runner manager cannot give keeps no other task of its from being asked about (I12)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId, TaskPk, TaskStatus, TaskType
from poddispatchd.errors import RunnerManagerUnavailableError
from poddispatchd.reconcile.polling import LONGEST, MOST_SPOILT
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.runner.client import NOBODYS, RunnerClient
from poddispatchd.runner.records import RunnerTask
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, FaultKind, Mode
from poddispatchd.sandbox.pod.world import add_task
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

INTERVAL = 60.0
RUNNING_AFTER = 300.0

BROKEN = AnswerFault(kind=FaultKind.STATUS, status=500)
"""As FastAPI answers for a record that its own model of it refuses."""
FOREIGN = AnswerFault(kind=FaultKind.STATUS, status=200, body={"task_id": "another", "status": "completed"})

NO_ROUTE = AnswerFault(kind=FaultKind.STATUS, status=404, body={"detail": "Not Found"})
"""For an id that somebody has written into a row, with a slash in it."""


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def _spoil(here: Bench, task: TaskPk, fault: AnswerFault) -> None:
    match = str(await here.of(task, "task_id"))
    spoilt = AnswerFault(kind=fault.kind, status=fault.status, body=fault.body, match=match)
    here.fake.faults.inject("status", spoilt, times=None)


async def _look(here: Bench, watcher: Reconciler, *, after: float = 0.0) -> float:
    here.clock.ahead += after
    seconds = await watcher.step()
    await watcher.until_idle()
    return seconds


async def _is_imported(here: Bench, task: TaskPk) -> bool:
    return [state for state, *_ in await here.imports_of(task)] == ["open"]


@pytest.mark.parametrize("odd", [1, 5])
@pytest.mark.parametrize("fault", [BROKEN, FOREIGN, NO_ROUTE], ids=["broken", "foreign", "no-route"])
async def test_tasks_behind_records_that_cannot_be_had_are_asked_about_and_the_manager_gets_tasks(
    here: Bench, fault: AnswerFault, odd: int
) -> None:
    """Each look ended at the first of them, and began with it: what came behind was never asked about."""
    spoilt = [await here.running() for _ in range(odd)]
    others = [await here.running() for _ in range(2)]
    for task in spoilt:
        await _spoil(here, task, fault)
    for task in others:
        await here.end(task)
    watcher = features.reconciler(here.parts)
    for _ in range(2):
        await _look(here, watcher, after=INTERVAL)
        assert not here.parts.registry.is_down(here.world.managers[0].id)
    assert [await _is_imported(here, task) for task in others] == [True, True]
    assert {await here.status(task) for task in spoilt} == {"running"}
    # A record that can be had again is not forgotten.
    here.fake.faults.clear("status")
    await here.end(spoilt[0])
    await _look(here, watcher, after=INTERVAL)
    assert await _is_imported(here, spoilt[0])


async def test_tasks_are_asked_about_before_those_whose_manager_never_answers_for_them(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that hangs costs half a minute, which is all that a manager is asked in one go."""
    odd, other = await here.running(), await here.running()
    odd_id = await here.of(odd, "task_id")
    status, asked = RunnerClient.status, list[str]()

    async def hanging(client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        asked.append(task_id)
        if task_id == odd_id:
            here.clock.ahead += LONGEST + 1
            raise RunnerManagerUnavailableError("It did not answer.")
        return await status(client, manager, task_id)

    monkeypatch.setattr(RunnerClient, "status", hanging)
    watcher = features.reconciler(here.parts)
    await here.end(other)
    for _ in range(3):
        await _look(here, watcher, after=INTERVAL)
    assert await _is_imported(here, other)
    # The first look met it first, and no later one.
    assert [task_id for task_id in asked if task_id != NOBODYS][:2] == [
        odd_id,
        await here.of(other, "task_id"),
    ]


async def test_a_manager_that_gives_no_record_at_all_is_asked_for_a_few(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails over each of them, though it answers: a thousand such questions a minute would help nobody."""
    async with here.pod.connection() as connection:
        for number in range(3 * MOST_SPOILT):
            await add_task(
                connection,
                TaskType.ENCODING,
                status=TaskStatus.RUNNING,
                task_id=f"task-{number}",
                runner_manager=here.world.managers[0].id,
            )
    fault = AnswerFault(kind=FaultKind.STATUS, status=500, match="/task-")
    here.fake.faults.inject("status", fault, times=None)
    watcher = features.reconciler(here.parts)
    asked: list[str] = []
    for _ in range(3):
        here.fake.requests.clear()
        await _look(here, watcher, after=INTERVAL)
        names = [request.path.rpartition("/")[2] for request in here.fake.requests]
        asked += [name for name in names if name.startswith("task-")]
    # Each has its turn all the same.
    assert (len(asked), len(set(asked))) == (3 * MOST_SPOILT, 3 * MOST_SPOILT)


async def test_a_runner_that_is_gone_is_missed_although_its_manager_takes_long_for_all_its_tasks(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runners were looked for at the end of a look: for tasks of a look that takes too long, never."""
    tasks = [await here.running() for _ in range(4)]
    status = RunnerClient.status

    async def tardy(client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> RunnerTask:
        here.clock.ahead += LONGEST * 0.6
        return await status(client, manager, task_id)

    monkeypatch.setattr(RunnerClient, "status", tardy)
    watcher = features.reconciler(here.parts)
    for _ in range(3):
        await _look(here, watcher)
    here.fake.runners.clear()
    for _ in range(8):
        await _look(here, watcher, after=RUNNING_AFTER)
    assert {await here.status(task) for task in tasks} == {"pending"}


async def test_a_runner_that_is_gone_is_missed_although_a_record_cannot_be_had(here: Bench) -> None:
    """Runners were looked for after a look that went through: with one such record, never."""
    odd, lost = await here.running(), await here.running()
    await _spoil(here, odd, BROKEN)
    watcher = features.reconciler(here.parts)
    for _ in range(2):
        await _look(here, watcher, after=INTERVAL)
    here.fake.runners.clear()
    for _ in range(4):
        await _look(here, watcher, after=RUNNING_AFTER + INTERVAL)
    assert (await here.status(odd), await here.status(lost)) == ("running", "pending")


async def test_why_a_task_whose_record_cannot_be_had_does_not_move_is_shown_and_logged_once(
    here: Bench,
) -> None:
    """Each look wrote a line for each of them, for ever, and status showed nothing."""
    odd, other = await here.running(), await here.running()
    await _spoil(here, odd, NO_ROUTE)
    watcher = features.reconciler(here.parts)
    with capture_logs() as logged:
        for _ in range(5):
            await _look(here, watcher, after=INTERVAL)
    lines = [(line["event"], line["log_level"]) for line in logged if line.get("task") == odd]
    assert lines == [*[("reconcile.asked", "warning")] * 2, ("service.failed", "error")]
    [incident] = here.parts.incidents.active
    assert incident.words.startswith(
        f"The question about a running task fails (task {odd}), 3 times by now: "
    )
    assert "does not know the address asked for (404)" in incident.words
    here.fake.faults.clear("status")
    await _look(here, watcher, after=INTERVAL)
    assert here.parts.incidents.active == ()
    assert await here.status(other) == "running"


async def test_a_record_that_is_not_had_now_and_then_is_no_failure(here: Bench) -> None:
    """An answer that was cut, and the next one whole, was told as an error that somebody has to look at."""
    task = await here.running()
    watcher = features.reconciler(here.parts)
    with capture_logs() as logged:
        for _ in range(3):
            await _spoil(here, task, NO_ROUTE)
            await _look(here, watcher, after=INTERVAL)
            here.fake.faults.clear("status")
            await _look(here, watcher, after=INTERVAL)
    assert {line["log_level"] for line in logged if line.get("task") == task} == {"warning"}
    assert here.parts.incidents.active == ()
