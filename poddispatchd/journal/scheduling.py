"""Who schedules, what Pod is not submitting itself, and what is remembered of each runner manager."""

from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg
from msgspec import Struct

from poddispatchd.database.connections import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.availability import Pause
from poddispatchd.domain.lifecycle import LONGEST_WAIT
from poddispatchd.domain.task import ManagerId, Run, TaskPk

_QUERIES = load_queries(__package__, "scheduling.sql")


PASSES_EVERY = 3600.0
"""Seconds: where no daemon runs, a CRON line of single passes comes at least so often."""

COMMITS_WAIT = (
    "The database commits nothing: it waits for a standby server (synchronous_standby_names) that does not "
    "answer. Let a DBA bring that one back, or take it out of this setting."
)


class Leader(Struct, frozen=True):
    """The scheduler's current term; ``instance`` is None before the first one."""

    term: int
    instance: str | None
    since: datetime | None


class Scheduler(Struct, frozen=True):
    """Who schedules (``is_held``) or was the last one to; ``instance`` is None before the first one.

    ``may_be_pass``: its term began lately and was ended in order, as those of ``poddispatchd once`` are.
    """

    instance: str | None
    since: datetime | None
    is_held: bool
    may_be_pass: bool = False


class ManagerMemory(Struct, frozen=True):
    """What is remembered of a runner manager.

    ``pauses`` are those that hold and those to come. ``refused_parameters``: optional parameters over which
    its runners failed tasks within the last days.
    """

    pauses: tuple[Pause, ...] = ()
    last_given_at: datetime | None = None
    refused_parameters: frozenset[str] = frozenset()


class LeaseLook(Struct, frozen=True):
    """What a daemon that stands by found.

    ``term`` is the one that it has begun, None while another one schedules. ``seconds_left`` is for how long
    that one's lease runs unless it is renewed, None when there was none. ``schema_version`` is the one of our
    schema.
    """

    term: int | None
    seconds_left: float | None
    schema_version: int


class Wait(Struct, frozen=True):
    """A task is not submitted before ``until``, which is in so many ``seconds``.

    It counts while the task's row has this ``date_added``.
    """

    until: datetime
    seconds: float
    date_added: datetime


class OwnTask(Struct, frozen=True):
    """A task that needs no grace.

    ``wait``: it is not submitted before; None when it may be. ``lost_by``: the runner managers that its runs
    came to nothing at since it was added, one for each run.
    """

    date_added: datetime | None
    wait: Wait | None = None
    lost_by: tuple[ManagerId, ...] = ()


class Loss(Struct, frozen=True):
    """A task whose runs came to nothing since it was added.

    ``lost_by``: at which runner managers, one for each run. ``seconds`` until it may be submitted again,
    less than none when it might already.
    """

    date_added: datetime
    lost_by: tuple[ManagerId, ...]
    seconds: float


async def take_lease(connection: Connection, instance: str, *, seconds: float, schema: int) -> LeaseLook:
    """Begin a term that ends unless the lease is renewed, if nobody else schedules.

    Args:
        connection: any one.
        instance: the name of this daemon; its own lease does not keep it away.
        seconds: by the database's clock.
        schema: no term begins when our schema has another version: a newer one's writer knows better, and an
            older one, of a backup that was restored, lacks what statements need.
    """
    query = _QUERIES["take_lease"](instance=instance, seconds=seconds, schema=schema)
    # An empty answer is no refusal: a term that another one has gives a row, too.
    row = await connection.fetchrow(*query)
    if row is None:
        # The table was emptied, or restored without its rows: nobody would ever schedule again.
        await connection.execute(*_QUERIES["restore_leader"]())
        row = await connection.fetchrow(*query)
    assert row is not None  # noqa: S101 - it has just been inserted
    return LeaseLook(row["term"], row["seconds_left"], row["version"])


async def renew_lease(connection: Connection, term: int, instance: str, *, seconds: float) -> int | None:
    """Have a term of this instance go on for so many seconds from now.

    Returns:
        The version of our schema; None when another term has begun.
    """
    version: int | None = await connection.fetchval(
        *_QUERIES["renew_lease"](term=term, instance=instance, seconds=seconds)
    )
    return version


async def end_lease(connection: Connection, term: int, instance: str) -> None:
    """Give a term of this instance up; those that stand by and listen hear of it."""
    await connection.fetchval(*_QUERIES["end_lease"](term=term, instance=instance))


async def leader(connection: Connection) -> Leader:
    """The current term and its holder; nobody's where the table was emptied a moment ago."""
    row = await connection.fetchrow(*_QUERIES["leader"]())
    if row is None:
        return Leader(0, None, None)
    return Leader(row["term"], row["instance"], row["since"])


async def scheduler(connection: Connection) -> Scheduler:
    """Who schedules now, seen from any connection; nobody where the table was emptied a moment ago."""
    row = await connection.fetchrow(*_QUERIES["scheduler"](passes_every=PASSES_EVERY))
    if row is None:
        return Scheduler(None, None, is_held=False)
    may_be_pass = row["may_be_pass"] and not row["is_held"]
    return Scheduler(row["instance"], row["since"], row["is_held"], may_be_pass)


async def add_own_tasks(connection: Connection, tasks: Sequence[TaskPk]) -> None:
    """These pending tasks were made or put back by poddispatchd: they need no grace."""
    await connection.execute(*_QUERIES["add_own_tasks"](tasks=list(tasks)))


async def put_back(connection: Connection, task: TaskPk, date_added: datetime, *, wait: float) -> None:
    """The task was put back into the queue: it needs no grace, but waits for so many seconds.

    Args:
        connection: in the transaction that puts it back.
        task: the task.
        date_added: of its row. A restart gives the row another one, and ends the wait.
        wait: seconds, by the database's clock.
    """
    await connection.execute(*_QUERIES["put_back"](task=task, date_added=date_added, seconds=wait))


async def own_tasks(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, OwnTask]:
    """Those of these tasks that need no grace: after a restart of all that failed there may be any number."""
    rows = await connection.fetch(*_QUERIES["own_tasks"](tasks=list(tasks)))
    return {
        TaskPk(row["task_pk"]): OwnTask(row["date_added"], _wait(row), tuple(row["lost_by"] or ()))
        for row in rows
    }


async def waits(connection: Connection) -> dict[TaskPk, Wait]:
    """The tasks that were put back into the queue and are not to be submitted yet."""
    rows = await connection.fetch(*_QUERIES["waits"]())
    return {TaskPk(row["task_pk"]): wait for row in rows if (wait := _wait(row)) is not None}


async def new_own_tasks(connection: Connection, *, within: float) -> tuple[dict[TaskPk, OwnTask], bool]:
    """Tasks that need no grace: those that wait, or were added within so many seconds.

    Who has lost one is not told. Besides: whether some were put back (``losses``).
    """
    rows = await connection.fetch(*_QUERIES["new_own_tasks"](within=within))
    found = {
        TaskPk(row["task_pk"]): OwnTask(row["date_added"], _wait(row))
        for row in rows
        if row["task_pk"] is not None
    }
    return found, len(found) < len(rows)


async def losses(connection: Connection, tasks: Collection[TaskPk]) -> dict[TaskPk, Loss]:
    """Which of these tasks were lost, and put back, since they were added."""
    rows = await connection.fetch(*_QUERIES["losses"](tasks=tasks))
    return {
        TaskPk(row["task_pk"]): Loss(row["date_added"], tuple(row["lost_by"]), row["seconds"]) for row in rows
    }


async def wait_of(connection: Connection, task: TaskPk, date_added: datetime) -> Wait | None:
    """The wait of a task whose row has this ``date_added``; None when it may be submitted."""
    row = await connection.fetchrow(*_QUERIES["wait_of"](task=task, date_added=date_added))
    return None if row is None else _wait(row)


async def forget_own_task(connection: Connection, task: TaskPk) -> None:
    """The task was submitted."""
    await connection.execute(*_QUERIES["forget_own_task"](task=task))


async def manager_memories(connection: Connection) -> dict[ManagerId, ManagerMemory]:
    """What is remembered of each runner manager; managers without a memory are absent."""
    rows = await connection.fetch(*_QUERIES["runner_managers"]())
    return {
        ManagerId(row["id"]): ManagerMemory(
            _pauses(row), row["last_given_at"], frozenset(row["refused_parameters"] or ())
        )
        for row in rows
    }


async def refused_parameters(connection: Connection, manager: ManagerId) -> frozenset[str]:
    """The optional parameters over which runners of a manager failed tasks within the last days."""
    rows = await connection.fetch(*_QUERIES["refused_parameters"](runner_manager=manager))
    return frozenset(row["name"] for row in rows)


async def note_refused_parameters(connection: Connection, run: Run, names: Collection[str]) -> bool:
    """A run failed over optional parameters: remember it, if its request held one of them.

    Returns:
        Whether it did, as far as is known: what Pod itself submitted is not known here.
    """
    query = _QUERIES["note_refused_parameters"](
        runner_manager=run.runner_manager_id, task_id=run.task_id, names=list(names)
    )
    return bool(await connection.fetchval(*query))


async def note_accepted_parameters(connection: Connection, run: Run) -> None:
    """A run succeeded: its manager's runners know every parameter that its request held."""
    await connection.execute(
        *_QUERIES["note_accepted_parameters"](runner_manager=run.runner_manager_id, task_id=run.task_id)
    )


def _pauses(row: asyncpg.Record) -> tuple[Pause, ...]:
    until_resumed = () if row["paused_at"] is None else (Pause(row["paused_at"], None, row["pause_reason"]),)
    planned = zip(row["begins"] or (), row["ends"] or (), row["reasons"] or (), strict=True)
    return (*until_resumed, *(Pause(begins, ends, reason) for begins, ends, reason in planned))


def _wait(row: asyncpg.Record) -> Wait | None:
    if row["not_before"] is None or not 0 < row["seconds"] <= LONGEST_WAIT:
        return None
    return Wait(row["not_before"], row["seconds"], row["date_added"])


async def commits_wait(connection: Connection, *, seconds: float = 0.0) -> bool:
    """Whether a commit of this role waits for a standby server, which may be gone, since so many seconds."""
    return bool(await connection.fetchval(*_QUERIES["commits_wait"](seconds=seconds)))
