"""Callbacks that are applied: many at once, where each needs one row alone; and their lines in the log."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

import structlog
from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.callbacks import inbox
from poddispatchd.callbacks.inbox import CallbackEnd, CallbackState, RecordedCallback
from poddispatchd.database.pool import Connection
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.lifecycle import Decision, decide, row_status
from poddispatchd.domain.task import Run, RunnerStatus, RunnerTaskId, Task, TaskPk, TaskStatus, TaskType
from poddispatchd.journal import imports
from poddispatchd.observability.events import Event
from poddispatchd.pod import duplicates, tasks
from poddispatchd.tasks.run_report import RunReport
from poddispatchd.tasks.task_ids import Name, lock_called

log = structlog.get_logger(__name__)

LONGEST = 64 * 2**10
"""Bytes of a row's output, and characters of a callback's texts, that are worked on together with others."""

_IN_A_TURN = 8
"""Callbacks that are looked at before whoever calls meanwhile has a turn of the event loop."""

_PLAIN = (RunnerStatus.PENDING, RunnerStatus.RUNNING, RunnerStatus.COMPLETED, RunnerStatus.WARNING)

_BY_HAND = (
    "Its row was completed by hand, or by Pod, before this result was imported, and stays so. "
    "'poddispatchd tasks restart {}' runs the task again."
)


class AppliedCallback(Struct, frozen=True):
    """A callback that was applied, and what it did; ``by_hand``: see ``log_applied``."""

    recorded: RecordedCallback
    task: TaskPk
    decision: Decision
    by_hand: bool = False


async def apply_plain(
    connection: Connection, callbacks: Sequence[RecordedCallback], *, held: Collection[TaskPk]
) -> list[AppliedCallback]:
    """Apply the plain ones of leased callbacks, in their order: what ``apply_report`` does, for many at once.

    Plain is what one running or completed row of the id needs, and what does not tell of a failure. One that
    is left out keeps those behind it about the same task out.

    Args:
        connection: in a transaction of its own.
        callbacks: in their order.
        held: tasks with a row that another session held lately.
    """
    are_next = await inbox.lock_next(connection, callbacks)
    names = {_name(recorded) for recorded in callbacks if recorded.lease.key in are_next}
    rows = await lock_called(connection, list(names), most_output=LONGEST) if names else {}
    batch = _Batch({name: task for name, task in rows.items() if task.pk not in held})
    for number, recorded in enumerate(callbacks, 1):
        batch.add(recorded, is_next=recorded.lease.key in are_next)
        if number % _IN_A_TURN == 0:
            await asyncio.sleep(0)
    await batch.write(connection)
    return batch.applied


def _name(recorded: RecordedCallback) -> Name:
    return recorded.managers, recorded.callback.task_id


class _Batch:
    """What callbacks that are applied together come to."""

    def __init__(self, rows: Mapping[Name, Task]) -> None:
        self._called = {name: task.pk for name, task in rows.items()}
        self._read = {task.pk: task for task in rows.values()}
        self._rows = dict(self._read)
        self._left_out: set[RunnerTaskId] = set()
        self._ready: dict[TaskPk, Run] = {}
        self.applied: list[AppliedCallback] = []

    def add(self, recorded: RecordedCallback, *, is_next: bool) -> None:
        """Take in the next one, or leave it out with all that follow about its task."""
        callback = recorded.callback
        pk = self._called.get(_name(recorded))
        # What comes behind a result depends on whether its import is open, which ``write`` finds out.
        if not is_next or pk is None or pk in self._ready or callback.task_id in self._left_out:
            decision = None
        else:
            task = self._rows[pk]
            decision = _decided(task, callback)
        if pk is None or decision is None:
            # By the id alone: what is left out without need costs a transaction of its own, and nothing else.
            self._left_out.add(callback.task_id)
            return
        if decision is Decision.IMPORT and task.run is not None:
            self._ready[pk] = task.run
        if decision is not Decision.IGNORE:
            output = RunReport.of_callback(callback).merged(task.script_output)
            self._rows[pk] = replace(task, script_output=output)
        self.applied.append(AppliedCallback(recorded, pk, decision))

    async def write(self, connection: Connection) -> None:
        """Write all of it."""
        said = [
            (old, task.script_output or "")
            for task in self._rows.values()
            if (old := self._read[task.pk]).script_output != task.script_output
        ]
        if said:
            await tasks.write_outputs(connection, said)
        if self._ready:
            opened = await imports.open_imports(connection, self._ready)
            self.applied = [
                # Its import is open already, or was made: this one has told nothing new (I8).
                replace(each, decision=Decision.IGNORE)
                if each.decision is Decision.IMPORT and each.task not in opened
                else each
                for each in self.applied
            ]
        told = [(each.recorded, self._read[each.task], each.decision) for each in self.applied]
        if by_hand := await completed_by_hand(connection, told):
            self.applied = [replace(each, by_hand=each.task in by_hand) for each in self.applied]
        if self.applied:
            await inbox.close_callbacks(connection, [_end_of(each) for each in self.applied])


def _decided(task: Task, callback: Callback) -> Decision | None:
    """What a callback means for a row; None when more must be known, or done, than is here."""
    if task.status not in (TaskStatus.RUNNING, TaskStatus.COMPLETED) or callback.status not in _PLAIN:
        return None
    if len(callback.script_output or "") + len(callback.error_message or "") > LONGEST:
        return None
    decision = decide(row_status(task.status), callback.status, is_importable=task.result_type is not None)
    # A transcription tells which parameters its manager takes; a result that nothing can be made of fails.
    is_plain = decision is not Decision.IMPORT or task.type is not TaskType.TRANSCRIPTION
    return decision if is_plain and decision is not Decision.FAIL else None


def _end_of(applied: AppliedCallback) -> CallbackEnd:
    is_change = applied.decision is not Decision.IGNORE
    state = CallbackState.APPLIED if is_change else CallbackState.IGNORED
    return CallbackEnd(applied.recorded, state, applied.decision)


async def completed_by_hand(
    connection: Connection, told: Iterable[tuple[RecordedCallback, Task, Decision]]
) -> set[TaskPk]:
    """The tasks whose result is there and ignored, because their rows were completed without it.

    Args:
        connection: in the transaction that applies them.
        told: callbacks, each with the row as it was read, and what it did.
    """
    asked = [
        task.pk
        for recorded, task, decision in told
        if decision is Decision.IGNORE
        and task.status == TaskStatus.COMPLETED
        and recorded.callback.status in (RunnerStatus.COMPLETED, RunnerStatus.WARNING)
    ]
    return await duplicates.completed_by_hand(connection, asked) if asked else set()


def log_applied(
    recorded: RecordedCallback, task: TaskPk, decisions: Sequence[Decision], *, by_hand: bool
) -> None:
    """Log a callback that was applied; ``by_hand``: its result is not imported, for a person decided so."""
    changed = any(decision is not Decision.IGNORE for decision in decisions)
    words = {"reason": _BY_HAND.format(task)} if by_hand else {}
    (log.warning if by_hand else log.info)(
        Event.CALLBACK_APPLIED if changed else Event.CALLBACK_IGNORED,
        task=task,
        task_id=recorded.callback.task_id,
        status=recorded.callback.status.value,
        decision=", ".join(decisions),
        **words,
    )


async def log_all(applied: Iterable[AppliedCallback]) -> None:
    """Log those that were applied together; whoever calls meanwhile has a turn between two lines."""
    left = deque(applied)
    try:
        while left:
            _log(left.popleft())
            await asyncio.sleep(0)
    finally:  # a daemon that stops has applied the others as well
        for each in left:
            _log(each)


def _log(applied: AppliedCallback) -> None:
    log_applied(applied.recorded, applied.task, [applied.decision], by_hand=applied.by_hand)
