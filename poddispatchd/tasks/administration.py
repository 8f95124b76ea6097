"""What a person may do to tasks: restart and cancel them, also where a runner works on them already."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.french import ENGLISH, in_language
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.script_output import merge_output
from poddispatchd.domain.task import Run, Task, TaskPk, TaskStatus
from poddispatchd.errors import RowLockedError
from poddispatchd.journal import acts, imports, scheduling, submissions, unwanted_runs
from poddispatchd.journal.acts import Act
from poddispatchd.pod import duplicates, progress, tasks
from poddispatchd.pod.tasks import Restarted
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.database_session import CHANNEL
from poddispatchd.tasks.seen import ChangedError, Seen, check_unchanged
from poddispatchd.tasks.stopping import remembers_stops, stop_all

_HELD = (
    "Another database session holds its row: nothing is changed. Try again; 'poddispatchd check' tells who."
)

_UNFINISHED = (TaskStatus.PENDING, TaskStatus.RUNNING, None)
"""None: a status that Pod does not have. Nothing but a person ends such a task."""


class Treated(Struct, frozen=True):
    """What became of one task: whether it was done, and what a person should know, in words."""

    task: TaskPk
    done: bool
    words: str


async def restart_tasks(
    database: Database,
    client: RunnerClient,
    wanted: Sequence[TaskPk] | Mapping[TaskPk, Seen | None],
    *,
    by: str,
    end_others: bool = False,
    language: str = ENGLISH,
) -> list[Treated]:
    """Begin tasks again, as Pod's administration does, and stop the runs that are under way.

    Pod leaves such runs alone: the old result then arrives for the new request.

    Args:
        database: Pod's.
        client: for the stops.
        wanted: the tasks; with how they were seen, only those that still are so begin again.
        by: who wants it, for the journal.
        end_others: end other tasks of the same source that wait or run first; else nothing is restarted
            beside them: one job for each source.
        language: of the words that people read in Pod.
    """
    chosen = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted)

    async def act(held: Collection[TaskPk]) -> _Restarted:
        async with database.transaction() as connection:
            return await _restart(connection, chosen, held, by=by, end_others=end_others, language=language)

    done = await _without_held(act)
    stops = await stop_all(database, client, done.under_way)
    return done.told("It waits again, last in the queue.", "It is ended.", stops)


async def rehearse_restart(
    database: Database, wanted: Sequence[TaskPk], *, by: str, end_others: bool = False
) -> list[Treated]:
    """Say what ``restart_tasks`` would do and say: it is done, and rolled back; nothing is stopped."""

    async def act(held: Collection[TaskPk]) -> _Restarted:
        done = None
        with suppress(_RolledBackError):
            async with database.transaction() as connection:
                chosen = dict.fromkeys(wanted)
                done = await _restart(
                    connection, chosen, held, by=by, end_others=end_others, language=ENGLISH
                )
                raise _RolledBackError
        assert done is not None  # noqa: S101 - it was just then
        return done

    done = await _without_held(act)
    stops = {task.pk: "Its run would be stopped." for task in done.under_way}
    return done.told("It would begin again.", "It would be ended.", stops)


class _RolledBackError(Exception):
    """Ends a transaction of which nothing is to stay."""


class _Restarted(Struct, frozen=True):
    """What a restart did: ``under_way`` are runs that go on until they are stopped."""

    restarted: Sequence[TaskPk]
    ended: Sequence[TaskPk]
    under_way: Sequence[Task]
    refused: Mapping[TaskPk, str]

    def told(self, restarted: str, ended: str, stops: Mapping[TaskPk, str]) -> list[Treated]:
        """What became of each task: these words for it, and those about its run."""
        words = {**dict.fromkeys(self.restarted, restarted), **dict.fromkeys(self.ended, ended)}
        granted = [
            Treated(pk, True, " ".join(filter(None, (said, stops.get(pk))))) for pk, said in words.items()
        ]
        refused = [Treated(pk, False, said) for pk, said in self.refused.items()]
        return sorted([*granted, *refused], key=lambda treated: treated.task)


async def _without_held(act: Callable[[Collection[TaskPk]], Awaitable[_Restarted]]) -> _Restarted:
    """Restart those whose rows nobody holds, and that are as they were seen.

    Args:
        act: restarts them, without these ones.
    """
    held: dict[TaskPk, str] = {}
    while True:
        try:
            done = await act(frozenset(held))
        except ChangedError as changed:
            # Each turn leaves out at least one task more: it ends.
            held |= changed.words
        except RowLockedError as error:
            if error.task is None:
                raise
            held[TaskPk(error.task)] = _HELD
        else:
            return replace(done, refused=held | dict(done.refused))


async def _restart(
    connection: Connection,
    chosen: Mapping[TaskPk, Seen | None],
    held: Collection[TaskPk],
    *,
    by: str,
    end_others: bool,
    language: str,
) -> _Restarted:
    """Restart them in the caller's transaction, which locks rows in the order of their ids, and no held ones.

    Raises:
        ChangedError: some are not as they were seen any more.
    """
    wanted = [pk for pk in chosen if pk not in held]
    others = await duplicates.unfinished_duplicates(connection, wanted) if end_others else []
    # By primary key, as everybody locks rows of tasks: no two transactions wait for each other in a circle.
    before = {pk: await tasks.lock_task(connection, pk) for pk in sorted({*wanted, *others} - {*held})}
    check_unchanged(before, chosen)
    ended: list[Task] = []
    for pk in others:
        if (other := before.pop(pk, None)) is not None and row_status(other.status) in _UNFINISHED:
            words = f"Ended by {by}, who restarted another task of its source."
            await _cancel(connection, other, words, language)
            await acts.record(connection, Act.CANCEL, by, task=pk, status_before=other.status)
            ended.append(other)
    restarted = await tasks.restart(connection, list(before))
    refused = await _with_what_is_in_the_way(connection, restarted)
    under_way = [
        task
        for pk in restarted.tasks
        if (task := before[pk]) is not None and _run_under_way(task) is not None
    ]
    # Commands work on Pod's rows also before our schema is there.
    if await migration.current_version(connection):
        for pk in restarted.tasks:
            await imports.drop_open(connection, pk, f"The task was restarted by {by}.")
            await submissions.abandon(connection, pk, f"Restarted by {by}.")
        for task in under_way:
            await _lose(connection, task, f"Restarted by {by}.")
        await scheduling.add_own_tasks(connection, restarted.tasks)
    for pk in restarted.tasks:
        row = before[pk]
        await acts.record(
            connection, Act.RESTART, by, task=pk, status_before=None if row is None else row.status
        )
    await _announce(connection)
    stoppable = [*under_way, *(task for task in ended if _run_under_way(task) is not None)]
    return _Restarted(restarted.tasks, [task.pk for task in ended], stoppable, refused)


async def _with_what_is_in_the_way(connection: Connection, restarted: Restarted) -> Mapping[TaskPk, str]:
    """Why tasks were not restarted; where another one is in the way: how that one is, and what to do."""
    words = dict(restarted.refused)
    for pk, blocker in (await duplicates.described(connection, restarted.blocked_by)).items():
        words[pk] = (
            f"There is {blocker.words}: end that one ('poddispatchd tasks cancel {blocker.task}'), "
            "or restart this one with --end-others."
        )
    return words


async def cancel_tasks(
    database: Database,
    client: RunnerClient,
    wanted: Sequence[TaskPk],
    *,
    by: str,
    language: str = ENGLISH,
) -> list[Treated]:
    """End tasks that wait or run: failed, in words, and stopped on their runner.

    The row lets go of its id, so that a run that cannot be stopped brings nothing in afterwards.
    """
    treated: list[Treated] = []
    under_way: list[Task] = []
    # Each in a transaction of its own: a row that is held keeps nothing from the others.
    for pk in dict.fromkeys(wanted):
        try:
            task = await _cancel_one(database, pk, treated, by=by, language=language)
        except RowLockedError:
            treated.append(Treated(pk, False, _HELD))
            continue
        if task is None:
            continue
        treated.append(Treated(pk, True, "It is cancelled."))
        if _run_under_way(task) is not None:
            under_way.append(task)
    stops = await stop_all(database, client, under_way)
    return [
        replace(item, words=f"{item.words} {stops[item.task]}") if item.task in stops else item
        for item in treated
    ]


async def _cancel_one(
    database: Database, pk: TaskPk, treated: list[Treated], *, by: str, language: str
) -> Task | None:
    """Cancel one task; None when there is nothing to cancel, and why is told in ``treated``."""
    async with database.transaction() as connection:
        task = await tasks.lock_task(connection, pk)
        if task is None:
            treated.append(Treated(pk, False, "There is no such task."))
            return None
        if row_status(task.status) not in _UNFINISHED:
            treated.append(Treated(pk, False, f"It has ended already: {task.status}."))
            return None
        await _cancel(connection, task, f"Cancelled by {by}.", language)
        await acts.record(connection, Act.CANCEL, by, task=pk, status_before=task.status)
        await _announce(connection)
        return task


async def _cancel(connection: Connection, task: Task, words: str, language: str) -> None:
    with_journal = await migration.current_version(connection) > 0
    if with_journal:
        await imports.drop_open(connection, task.pk, words)
        await submissions.abandon(connection, task.pk, words)
        await submissions.forget_waiting(connection, task.pk)
        await scheduling.forget_own_task(connection, task.pk)
        await _lose(connection, task, words)
    told = in_language(words, language)
    output = merge_output(task.script_output, told, None)
    # Back into the queue and out of it at once: only that takes manager and id off the row.
    await tasks.requeue(connection, task)
    waiting = await tasks.lock_task(connection, task.pk)
    assert waiting is not None  # noqa: S101 - locked since it was read
    await tasks.finish(connection, waiting, TaskStatus.FAILED, output)
    await progress.show_failed(connection, task, told, log=True)


async def _lose(connection: Connection, task: Task, reason: str) -> None:
    """The next run must differ from this one in its bytes, or the manager hands this one back.

    It is to be stopped: by whoever asks for it now, or by the daemon later.
    """
    if (run := _run_under_way(task)) is not None:
        await submissions.lose(connection, task, run, reason)
        if await remembers_stops(connection):
            await unwanted_runs.add(connection, task.pk, run)


def _run_under_way(task: Task) -> Run | None:
    return task.run if row_status(task.status) in _UNFINISHED else None


async def _announce(connection: Connection) -> None:
    """Wake the daemon, as the optional trigger would."""
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")
