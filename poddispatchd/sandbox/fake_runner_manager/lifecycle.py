"""The life of a task: run on a runner, end, be notified, and sometimes come back."""

import asyncio
import uuid
from collections.abc import Coroutine, Mapping
from datetime import timedelta

import aiohttp

from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.sandbox.fake_runner_manager.callbacks import ConnectTo, callback_body, deliver, retry_delays
from poddispatchd.sandbox.fake_runner_manager.faults import Behaviour, Dispatch, RunOutcome
from poddispatchd.sandbox.fake_runner_manager.payload import start_problem
from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask, Runner, TaskRecord
from poddispatchd.sandbox.fake_runner_manager.results import result_files
from poddispatchd.sandbox.fake_runner_manager.store import Store

_DISPATCH_TIMEOUT = 30
_WORDS: Mapping[RunOutcome, str | None] = {
    RunOutcome.COMPLETED: None,
    RunOutcome.FAILED: "Encoding aborted: source file does not appear to be a valid video file.",
    RunOutcome.TIMEOUT: "Script timeout after 18000 seconds",
    RunOutcome.NEVER: None,
}
_NOT_BEGUN: Mapping[Dispatch, str] = {
    Dispatch.REFUSED: 'Runner returned status 400: {"detail": "Runner is busy"}',
    Dispatch.LOST: "Server disconnected without sending a response.",
}


class Lifecycle:
    """Moves tasks from acceptance to their end.

    What happens on a runner goes on while the manager is down; what the manager has in memory only (the
    retries of callbacks) is lost when it stops.

    Args:
        store: the manager's memory.
        resolver: where callbacks are really sent.
        task_seconds: how long a run lasts, in seconds of the manager; None: until ``finish`` is called.
        strict: runs fail at once as a real runner fails them, on unknown parameters for example.
    """

    def __init__(
        self, store: Store, resolver: ConnectTo, *, task_seconds: float | None, strict: bool
    ) -> None:
        self._store = store
        self._resolver = resolver
        self._task_seconds = task_seconds
        self._strict = strict
        self._session: aiohttp.ClientSession | None = None
        self._runs: dict[RunnerTaskId, asyncio.Task[None]] = {}
        self._on_runners: set[asyncio.Task[None]] = set()
        self._in_memory: set[asyncio.Task[None]] = set()
        self._up = False

    # --- manager up and down --------------------------------------------------------------------------

    def up(self) -> None:
        """The manager answers (again)."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._resolver, use_dns_cache=False, force_close=True, limit=0
            )
            self._session = aiohttp.ClientSession(connector=connector)
        self._up = True

    async def down(self) -> None:
        """The manager stops: pending retries of callbacks are forgotten."""
        self._up = False
        await _cancel(self._in_memory)

    async def close(self) -> None:
        """Everything ends, runners included."""
        await self.down()
        await _cancel(self._on_runners)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _spawn(self, work: Coroutine[None, None, None], group: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        group.add(task)
        task.add_done_callback(group.discard)
        return task

    # --- a task begins --------------------------------------------------------------------------------

    def accept(self, submission: AcceptedTask, token: str, runner: Runner) -> TaskRecord:
        """Reserve the runner and store the record; the order goes out later."""
        now = self._store.clock.wall()
        record = TaskRecord(
            task_id=RunnerTaskId(str(uuid.uuid4())),
            runner_id=runner.id,
            submission=submission,
            token=token,
            run_id=str(uuid.uuid4()),
            created_at=now,
            updated_at=now,
            behaviour=self._store.faults.behaviour_of(submission),
        )
        runner.task_id = record.task_id
        self._store.submissions.append(submission)
        self._store.runs(record)
        return record

    def begin(self, record: TaskRecord, behaviour: Behaviour | None = None) -> asyncio.Task[None]:
        """Send the order to the runner, which works in the background."""
        run = self._spawn(self._run(record, behaviour or record.behaviour), self._on_runners)
        self._runs[record.task_id] = run
        return run

    def rerun(self, record: TaskRecord, behaviour: Behaviour) -> None:
        """An administrator restarts a task: the same id, another run."""
        record.run_id = str(uuid.uuid4())
        record.behaviour = behaviour
        record.files = None
        self._set(record, RunnerStatus.RUNNING, None)
        self._store.runs(record)
        self.begin(record)

    async def _run(self, record: TaskRecord, behaviour: Behaviour) -> None:
        clock = self._store.clock
        if behaviour.dispatch is Dispatch.KILLED:
            self._release(record)
            return
        # Later than it was taken, by however little: so it is in any record of a manager that sent its order.
        record.updated_at = max(clock.wall(), record.created_at + timedelta(microseconds=1))
        if (words := _NOT_BEGUN.get(behaviour.dispatch)) is not None:
            self._set(record, RunnerStatus.FAILED, words)
            self._release(record)
            return
        if behaviour.dispatch is Dispatch.UNANSWERED:
            await clock.sleep(_DISPATCH_TIMEOUT)
            self._set(record, RunnerStatus.FAILED, "")
        problem = start_problem(record.submission) if self._strict else None
        if problem is not None and behaviour.outcome is RunOutcome.COMPLETED:
            await self._end(record, behaviour, RunOutcome.FAILED, problem)
            return
        seconds = self._task_seconds if behaviour.seconds is None else behaviour.seconds
        if behaviour.outcome is RunOutcome.NEVER or seconds is None:
            return
        await clock.sleep(seconds)
        await self._end(record, behaviour, behaviour.outcome, behaviour.error)

    # --- a task ends ----------------------------------------------------------------------------------

    async def finish(self, record: TaskRecord, behaviour: Behaviour) -> None:
        """End a task now, whatever it was doing; returns when the client answered the first callback."""
        run = self._runs.pop(record.task_id, None)
        if run is not None and run is not asyncio.current_task():
            await _cancel({run})
        await self._spawn(self._end(record, behaviour, behaviour.outcome, behaviour.error), self._on_runners)

    async def _end(
        self, record: TaskRecord, behaviour: Behaviour, outcome: RunOutcome, error: str | None
    ) -> None:
        await self._wait_for_manager()
        store = self._store
        # A runner tells the one from the other by this word, wherever it stands.
        if outcome is RunOutcome.FAILED and error is not None and "timeout" in error.lower():
            outcome = RunOutcome.TIMEOUT
        record.script_output = behaviour.script_output or f"[info_script.log]\n--> {outcome} by the sandbox\n"
        if outcome is RunOutcome.COMPLETED:
            files: dict[str, bytes] = result_files(
                record.submission, task_id=record.task_id, when=store.clock.wall(), crash=behaviour.crash
            )
            for name, content in behaviour.files.items():
                if content is None:
                    files.pop(name, None)
                else:
                    files[name] = content
            record.files = files
            record.manifest = behaviour.manifest
        self._set(record, RunnerStatus(outcome), error if error is not None else _WORDS[outcome])
        if behaviour.forget:
            store.tasks.pop(record.task_id, None)
        notified = bool(record.submission.notify_url) and behaviour.callbacks > 0
        if notified:
            await self._notify(record, outcome)
        self._release(record)
        for _ in range(behaviour.callbacks - 1 if notified else 0):
            await self._notify(record, outcome)
        record.finished.set()
        store.changed()
        if behaviour.then is not None:
            self.begin(record, behaviour.then)

    async def _wait_for_manager(self) -> None:
        """A runner whose completion finds the manager down tries again 60 s later, and stays busy."""
        for delay in retry_delays():
            if self._up:
                return
            await self._store.clock.sleep(delay)

    def _set(self, record: TaskRecord, status: RunnerStatus, error: str | None) -> None:
        record.status = status
        record.error = error
        record.callback_warning = None
        record.updated_at = self._store.clock.wall()
        self._store.changed()

    def _release(self, record: TaskRecord) -> None:
        for runner in self._store.runners:
            if runner.task_id == record.task_id:
                runner.task_id = None
        self._store.changed()

    # --- callbacks ------------------------------------------------------------------------------------

    async def _notify(self, record: TaskRecord, outcome: RunOutcome) -> None:
        if not await self._call(record, outcome) and self._up:
            self._spawn(self._retry(record, outcome), self._in_memory)

    async def _retry(self, record: TaskRecord, outcome: RunOutcome) -> None:
        for delay in retry_delays():
            await self._store.clock.sleep(delay)
            if await self._call(record, outcome):
                return

    async def _call(self, record: TaskRecord, outcome: RunOutcome) -> bool:
        session = self._session
        if session is None:
            return False
        body = callback_body(
            record.task_id,
            str(outcome),
            error_message=record.error,
            script_output=record.script_output,
        )
        status, problem = await deliver(
            session, self._store.clock, url=record.submission.notify_url, token=record.token, body=body
        )
        record.callbacks.append(status)
        record.updated_at = self._store.clock.wall()
        record.callback_warning = problem
        if problem is not None and record.status is RunnerStatus.COMPLETED:
            record.status = RunnerStatus.WARNING
        elif problem is None and record.status is RunnerStatus.WARNING:
            record.status = RunnerStatus.COMPLETED
        self._store.changed()
        return problem is None

    # --- runners --------------------------------------------------------------------------------------

    async def kill(self, runner: Runner) -> None:
        """The runner's host goes down: its task stays ``running`` for ever, or until it is revived."""
        runner.alive = False
        runner.died_at = self._store.clock.time()
        run = self._runs.pop(runner.task_id, None) if runner.task_id is not None else None
        if run is not None:
            await _cancel({run})
        self._store.changed()

    def revive(self, runner: Runner, behaviour: Behaviour) -> None:
        """The runner starts again and goes on with the task it had, in the way the behaviour says."""
        runner.alive, runner.registered, runner.died_at = True, True, None
        record = self._store.task(runner.task_id) if runner.task_id is not None else None
        if record is None:
            runner.task_id = None
        else:
            self.begin(record, behaviour)
        self._store.changed()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    pending = [task for task in tasks if not task.done()]
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
