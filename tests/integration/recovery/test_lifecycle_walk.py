"""Random walks of a real task through its stages, each step held against the model of ``stages.py``."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.callbacks import inbox
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.lifecycle import may_submit_again, row_status
from poddispatchd.domain.stages import Stage, Step, after, stage_of
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, TaskPk, TaskStatus, TaskType
from poddispatchd.journal import imports, submissions
from poddispatchd.journal.imports import ImportState
from poddispatchd.journal.submissions import SubmissionState
from poddispatchd.pod.tasks import get_task
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER
from poddispatchd.sandbox.fake_runner_manager import (
    AnswerFault,
    Behaviour,
    Endpoint,
    FaultKind,
    Mode,
    RunOutcome,
)
from poddispatchd.sandbox.pod.world import add_task
from poddispatchd.tasks.administration import cancel_tasks, restart_tasks
from tests.integration.imports.bench import Bench, bench
from tests.integration.journal.aging import age_journal
from tests.plugins.postgres import PodDatabase

_STEPS = 25
_LATER = 700.0
"""Seconds after which nothing that was full or broken is left alone any more."""


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        await made.execute("UPDATE poddispatchd.leader SET term = 1")
        yield made


class Walk:
    """One task, everything that can happen to it, and where it must be afterwards."""

    def __init__(self, here: Bench, task: TaskPk) -> None:
        self.here, self.task = here, task
        self.dispatcher = features.dispatcher(here.parts)
        self.reconciler = features.reconciler(here.parts)

    # --- what is -----------------------------------------------------------------------------------------

    async def stage(self) -> Stage:
        async with self.here.pod.connection() as connection:
            task = await get_task(connection, self.task)
            sent = await submissions.of_task(connection, self.task)
            brought = await imports.of_task(connection, self.task)
        assert task is not None
        status = row_status(task.status)
        assert status is not None
        return stage_of(
            status,
            is_intended=any(item.state is SubmissionState.OPEN for item in sent),
            has_result=any(item.state == ImportState.OPEN for item in brought),
        )

    async def may_submit_again(self) -> bool:
        async with self.here.pod.connection() as connection:
            task = await get_task(connection, self.task)
            assert task is not None
            attempts = await submissions.attempts(connection, task)
        limit = self.here.parts.settings.reconcile.max_attempts
        return may_submit_again(attempts, max_attempts=limit)

    async def task_id(self) -> str:
        return str(await self.here.of(self.task, "task_id"))

    # --- what can happen ---------------------------------------------------------------------------------

    def ways(self, stage: Stage) -> list[Callable[[], Awaitable[Stage | None]]]:
        """What can be done in a stage; each tells where the task must be then, None for nowhere else."""
        always: list[Callable[[], Awaitable[Stage | None]]] = [
            self.restart,
            self.cancel,
            self.repeat_a_callback,
        ]
        match stage:
            case Stage.WAITING:
                return [self.submit, self.submit, self.be_refused, self.lose_the_answer, *always]
            case Stage.SUBMITTING:
                return [self.ask_again, self.ask_again, *always]
            case Stage.AT_WORK:
                return [self.finish, self.finish, self.fail, self.time_out, self.be_forgotten, *always]
            case Stage.IMPORTING:
                return [self.bring_in, self.be_held_up, self.be_spoilt, *always]
            case Stage.FAILED | Stage.TIMEOUT:
                return [self.mend, *always]
            case Stage.COMPLETED:
                return always

    async def look_at_the_queue(self) -> None:
        self.here.clock.ahead += _LATER
        async with self.here.pod.connection() as connection:
            await age_journal(connection, _LATER)
        prober = features.prober(self.here.parts)
        await prober.step()
        await prober.until_idle()
        await self.dispatcher.step()
        await self.dispatcher.drain()

    async def submit(self) -> Stage | None:
        await self.look_at_the_queue()
        intended = after(Stage.WAITING, Step.INTENDED)
        assert intended is not None
        return after(intended, Step.ACCEPTED)

    async def be_refused(self) -> Stage | None:
        self.here.fake.faults.inject(
            Endpoint.EXECUTE, AnswerFault(kind=FaultKind.STATUS, status=503, body={})
        )
        await self.look_at_the_queue()
        return after(Stage.SUBMITTING, Step.REFUSED)

    async def lose_the_answer(self) -> Stage | None:
        self.here.fake.faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP_ANSWER))
        await self.look_at_the_queue()
        return after(Stage.SUBMITTING, Step.UNANSWERED)

    async def ask_again(self) -> Stage | None:
        await self.look_at_the_queue()
        return after(Stage.SUBMITTING, Step.ACCEPTED)

    async def _report(self, status: RunnerStatus, error: str | None = None) -> None:
        said = Callback(RunnerTaskId(await self.task_id()), status, error, "log")
        async with self.here.parts.database.connection() as connection:
            await inbox.record(connection, (self.here.world.managers[0].id,), said)
        await features.callback_worker(self.here.parts).step()

    async def finish(self) -> Stage:
        await self.here.end(self.task)
        await self._report(RunnerStatus.COMPLETED)
        return Stage.IMPORTING

    async def fail(self) -> Stage:
        """Nobody calls: the manager is asked."""
        await self.here.end(self.task, Behaviour(outcome=RunOutcome.FAILED, error="Bad medium"))
        await self._look()
        return Stage.FAILED

    async def time_out(self) -> Stage:
        await self.here.end(self.task, Behaviour(outcome=RunOutcome.TIMEOUT, error="Too long"))
        await self._report(RunnerStatus.TIMEOUT, "Too long")
        return Stage.TIMEOUT

    async def _look(self) -> None:
        """A new task is seen, and asked about when it is not quite new any more."""
        for _ in range(2):
            await self.reconciler.step()
            self.here.clock.ahead += _LATER
        await self.reconciler.step()

    async def be_forgotten(self) -> Stage | None:
        may = await self.may_submit_again()
        self.here.fake.forget(await self.task_id())
        await self._look()
        self.here.clock.ahead += ASK_AGAIN_AFTER
        await self.reconciler.step()
        return after(Stage.AT_WORK, Step.LOST, may_submit_again=may)

    async def bring_in(self) -> Stage | None:
        await self.here.import_again()
        return after(Stage.IMPORTING, Step.IMPORTED)

    async def be_held_up(self) -> Stage | None:
        self.here.fake.faults.inject(Endpoint.RESULT, AnswerFault(kind=FaultKind.STATUS, status=500))
        await self.here.import_again()
        self.here.clock.ahead += _LATER
        return after(Stage.IMPORTING, Step.POSTPONED)

    async def be_spoilt(self) -> Stage | None:
        may = await self.may_submit_again()
        broken = AnswerFault(kind=FaultKind.STATUS, status=200, body="{}", match="info_video.json")
        self.here.fake.faults.inject(Endpoint.FILE, broken, times=None)
        await self.here.import_again()
        self.here.fake.faults.clear()
        return after(Stage.IMPORTING, Step.SPOILT, may_submit_again=may)

    async def mend(self) -> Stage | None:
        """A restarted runner works on a failure again; nothing is heard of a run that its row let go of."""
        stage, task_id = await self.stage(), await self.here.of(self.task, "task_id")
        record = None if task_id is None else self.here.fake.tasks.get(task_id)
        if record is None or record.status not in (RunnerStatus.FAILED, RunnerStatus.TIMEOUT):
            return stage
        self.here.fake.rerun(task_id, Behaviour(seconds=1e6))
        await self.finish()
        return Stage.IMPORTING

    async def repeat_a_callback(self) -> Stage:
        """A late or doubled callback about an end that has been told changes nothing."""
        stage = await self.stage()
        if stage.status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMEOUT):
            if await self.here.of(self.task, "task_id") is None:
                return stage
            words = {Stage.FAILED: "Bad medium", Stage.TIMEOUT: "Too long"}.get(stage)
            ended = RunnerStatus(stage.status.value)
            await self._report(ended if stage is not Stage.COMPLETED else RunnerStatus.FAILED, words)
        return stage

    async def restart(self) -> Stage | None:
        stage = await self.stage()
        parts = self.here.parts
        await restart_tasks(parts.database, parts.client, [self.task], by="somebody")
        return after(stage, Step.RESTARTED)

    async def cancel(self) -> Stage | None:
        stage = await self.stage()
        parts = self.here.parts
        await cancel_tasks(parts.database, parts.client, [self.task], by="somebody")
        return after(stage, Step.CANCELLED) or stage


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_a_task_is_wherever_the_model_says(here: Bench, seed: int) -> None:
    chance = random.Random(seed)
    video = await here.video()
    async with here.pod.connection() as connection:
        task = await add_task(connection, TaskType.ENCODING, video=video)
    walk = Walk(here, task)
    story: list[str] = []
    for _ in range(_STEPS):
        stage = await walk.stage()
        way = chance.choice(walk.ways(stage))
        expected = await way()
        story.append(f"{stage} -- {way.__name__} --> {expected}")
        assert await walk.stage() is expected, "\n".join(story)
    # From wherever it is, it is brought to its end, and its result is in Pod once.
    while (stage := await walk.stage()) not in (Stage.COMPLETED, Stage.FAILED, Stage.TIMEOUT):
        await walk.ways(stage)[0]()
