"""``runners pause`` and ``runners resume``: a rest for a runner manager, now or planned."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from poddispatchd.cli.chosen_managers import all_managers, named
from poddispatchd.cli.common import (
    OLDER_SCHEMA,
    Context,
    asynchronous,
    config_option,
    open_database,
    pass_context,
    person,
    shown,
)
from poddispatchd.cli.completion import manager_names
from poddispatchd.cli.moments import Coming, Moment
from poddispatchd.cli.tables import one_line
from poddispatchd.clock import Clock
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.availability import Pause, next_pause
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manager_diagnosis import typed_command
from poddispatchd.domain.situation import duration_words
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal import acts, pauses, scheduling
from poddispatchd.journal.acts import Act
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.runtime.database_session import CHANNEL

_LONGEST_REASON = 200


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=manager_names)
@click.option(
    "--from", "begins", type=Moment(), help="When it begins: 22:00, '2026-03-01 22:00' or 2h from now."
)
@click.option("--until", "ends", type=Moment(), help="When it ends by itself: a time, or 2h after it begins.")
@click.option("--reason", default="", help="Why, for everybody who looks.")
@config_option
@pass_context
@asynchronous
async def pause(
    context: Context,
    config_path: Path | None,
    names: tuple[str, ...],
    begins: Coming | None,
    ends: Coming | None,
    *,
    reason: str,
) -> None:
    """Give runner managers no new tasks; what they work on goes on. NAME may be an id.

    With --from and --until it is planned maintenance, which begins and ends by itself. Typed again it changes
    nothing but the reason, where one is given. A pause that goes on when this one ends is told, and stays.
    """
    now = Clock().now().astimezone()
    since, until = _period(now, begins, ends)
    reason = one_line(reason)
    if len(reason) > _LONGEST_REASON:
        raise click.BadParameter(f"at most {_LONGEST_REASON} characters.", param_hint="--reason")
    async with open_database(context.settings(config_path)) as database:
        for manager in await _chosen(database, names):
            async with database.transaction() as connection:
                if since is None and until is None:
                    await pauses.pause(connection, manager.id, reason=reason)
                else:
                    await pauses.plan(connection, manager.id, begins=since, ends=until, reason=reason)
                await acts.record(connection, Act.PAUSE, person(), runner_manager=manager.id)
                await _tell_daemons(connection)
                others = _others(await _pauses(connection, manager.id), now, since, until)
            click.echo(
                f"Runner manager {manager.name} gets no new tasks{_words(manager, now, since, until)}."
            )
            for other in others:
                click.echo(_words_of_other(manager, now, other))


def _period(
    now: datetime, begins: Coming | None, ends: Coming | None
) -> tuple[datetime | None, datetime | None]:
    """From when (None: from now) until when (None: until it is resumed).

    Raises:
        BadParameter: it lies in the past, ends before it begins, or is too far away.
    """
    since = None if begins is None else _moment(begins, now, "--from")
    if since is not None and since < now:
        raise click.BadParameter(f"{shown(since)} lies in the past.", param_hint="--from")
    until = None if ends is None else _moment(ends, since or now, "--until")
    if until is not None and until <= (since or now):
        raise click.BadParameter(f"{shown(until)} is not after the beginning.", param_hint="--until")
    return since, until


def _moment(coming: Coming, moment: datetime, option: str) -> datetime:
    try:
        return coming.after(moment)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{coming.text} is too far away.", param_hint=option) from None


def _words(manager: RunnerManager, now: datetime, since: datetime | None, until: datetime | None) -> str:
    begin = "" if since is None else f" from {shown(since)} (in {duration_words(since - now)})"
    if until is None:
        return f"{begin} until {typed_command('runners resume', manager.name)}"
    return f"{begin} until {shown(until)}" + (f" (in {duration_words(until - now)})" if since is None else "")


def _others(
    pauses: Iterable[Pause], now: datetime, since: datetime | None, until: datetime | None
) -> list[Pause]:
    """Pauses that go on when this one ends, or begin shortly before it does: they stay as they are."""
    far = datetime.max.replace(tzinfo=UTC)
    begin, end = since or now, until or far
    return [
        pause
        for pause in pauses
        if pause.begins <= end and begin <= (ends := pause.ends or far)  # they meet
        if ends > end or now < pause.begins < begin
    ]


def _words_of_other(manager: RunnerManager, now: datetime, other: Pause) -> str:
    resume = typed_command("runners resume", manager.name)
    if other.ends is None:
        return f"It is paused from {shown(other.begins)} until {resume}, and stays so."
    words = f"It is paused from {shown(other.begins)} until {shown(other.ends)}, too:"
    if other.begins <= now:
        return f"{words} {resume} ends every pause that has begun."
    forget = typed_command("runners resume --planned", manager.name)
    return f"{words} {forget} forgets every pause that is planned."


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=manager_names)
@click.option("--planned", is_flag=True, help="Also forget the pauses that are planned.")
@config_option
@pass_context
@asynchronous
async def resume(
    context: Context, config_path: Path | None, names: tuple[str, ...], *, planned: bool
) -> None:
    """Give paused runner managers tasks again. NAME may be an id."""
    async with open_database(context.settings(config_path)) as database:
        for manager in await _chosen(database, names):
            async with database.transaction() as connection:
                was_paused = await pauses.resume(connection, manager.id)
                forgotten = await pauses.cancel_planned(connection, manager.id) if planned else 0
                if was_paused or forgotten:
                    await acts.record(connection, Act.RESUME, person(), runner_manager=manager.id)
                await _tell_daemons(connection)
                left = next_pause(await _pauses(connection, manager.id), Clock().now())
            words = "gets tasks again" if was_paused else "was not paused"
            click.echo(f"Runner manager {manager.name} {words}.")
            if forgotten:
                click.echo(f"{forgotten} planned pause{'s' if forgotten > 1 else ''} forgotten.")
            if left is not None:
                forget = typed_command("runners resume --planned", manager.name)
                click.echo(f"A pause is planned from {shown(left.begins)}: {forget} forgets it.")


async def _pauses(connection: Connection, manager: ManagerId) -> tuple[Pause, ...]:
    """Those that hold and those to come."""
    memories = await scheduling.manager_memories(connection)
    return memories.get(manager, ManagerMemory()).pauses


async def _tell_daemons(connection: Connection) -> None:
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")


async def _chosen(database: Database, names: Sequence[str]) -> list[RunnerManager]:
    """Each once; none of them is touched where one is not known."""
    managers = await all_managers(database)
    chosen = {manager.id: manager for name in names for manager in named(managers, name)}
    async with database.connection() as connection:
        if await migration.checked_version(connection) < migration.LATEST:
            raise PoddispatchdError(OLDER_SCHEMA)
    return list(chosen.values())
