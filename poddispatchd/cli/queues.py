"""``queues``: what waits in the journal, and what was set aside after too many attempts."""

import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import Struct

from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    print_json,
)
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.cli.journal import open_journal
from poddispatchd.cli.tables import print_table
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Connection
from poddispatchd.database.sqlstates import UNIQUE_VIOLATION
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.database_session import CHANNEL, QUEUES_CHANGED
from poddispatchd.runtime.queue_tables import QUEUES

_R = TypeVar("_R")

_SHOWN = 100


@click.group(cls=SuggestingGroup)
def queues() -> None:
    """What waits in our own queues, and what was set aside: list it, try it again, dismiss it."""


@queues.command("list", short_help="List the queues and what they set aside.")
@config_option
@json_option
@pass_context
@asynchronous
async def list_(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """List the queues, and the latest 100 items that each of them has set aside, with the last error."""
    async with open_journal(context.settings(config_path)) as database, database.connection() as connection:
        figures = await queue_tables.figures(connection)
        items = await queue_tables.set_aside(connection, limit=_SHOWN)
    rows = [
        {
            "queue": name,
            "open": each.open,
            "leased": each.leased,
            "set_aside": each.set_aside,
            "oldest": each.oldest,
        }
        for name, each in figures.items()
    ]
    aside = [
        {
            "queue": name,
            "id": item.key,
            "task": item.task,
            "attempts": item.attempts,
            "set_aside_at": item.set_aside_at,
            "error": item.words,
        }
        for name, several in items.items()
        for item in several
    ]
    if as_json:
        print_json({"queues": rows, "set_aside": aside})
        return
    print_table(
        ("queue", "open", "at work", "set aside", "oldest open since"),
        [tuple(row.values()) for row in rows],
        empty="",
    )
    if aside:
        click.echo()
        print_table(
            ("queue", "id", "task", "attempts", "set aside at", "last error"),
            [tuple(row.values()) for row in aside],
            empty="",
        )


def _of_set_aside_items(function: Callable[..., _R]) -> Callable[..., _R]:
    """The parameters of a command about items that were set aside: it gets them together as ``chosen``."""

    @wraps(function)
    def command(*args: object, **kwargs: Any) -> _R:  # noqa: ANN401 - the options of any command
        chosen = _Chosen(kwargs.pop("queue"), kwargs.pop("ids"), kwargs.pop("whole_queue"))
        return function(*args, chosen=chosen, **kwargs)

    wrapped: Callable[..., _R] = command
    for parameter in (
        pass_context,
        config_option,
        click.option("--all", "whole_queue", is_flag=True, help="Everything that this queue has set aside."),
        click.argument("ids", metavar="[ID]...", nargs=-1),
        click.argument("queue", metavar="QUEUE", type=click.Choice(list(QUEUES))),
    ):
        wrapped = parameter(wrapped)
    return wrapped


@queues.command(short_help="Try items that were set aside again.")
@_of_set_aside_items
@asynchronous
async def retry(context: Context, config_path: Path | None, *, chosen: "_Chosen") -> None:
    """Try items again that were set aside, as if they were new. Exit status 1 when one was not found.

    QUEUE is callbacks, imports, notices, deliveries or files.
    """
    await _each(context.settings(config_path), chosen, QUEUES[chosen.queue].retry, "is tried again.")


@queues.command(short_help="Dismiss items that were set aside.")
@_of_set_aside_items
@asynchronous
async def dismiss(context: Context, config_path: Path | None, *, chosen: "_Chosen") -> None:
    """Have items that were set aside not tried and not shown any more; their tasks stay as they are.

    QUEUE is callbacks, imports, notices, deliveries or files.
    """
    await _each(context.settings(config_path), chosen, QUEUES[chosen.queue].dismiss, "is dismissed.")


class _Chosen(Struct, frozen=True):
    """Items of a queue that a person names: by their ids, or all that is set aside."""

    queue: str
    ids: tuple[str, ...]
    all: bool

    async def keys(self, connection: Connection) -> tuple[str, ...]:
        if not self.all:
            return tuple(dict.fromkeys(self.ids))  # each once, however often it is named
        items = await QUEUES[self.queue].set_aside_items(connection, 2**31 - 1)
        return tuple(item.key for item in items)


async def _each(
    settings: Settings, chosen: _Chosen, change: Callable[[Connection, str], Awaitable[bool]], words: str
) -> None:
    """Change each item by itself; exit status 1 when one of them could not be changed."""
    if bool(chosen.ids) == chosen.all:
        raise click.UsageError("Name either the ids that 'poddispatchd queues list' shows, or --all.")
    failed = False
    async with open_journal(settings) as database:
        async with database.connection() as connection:
            keys = await chosen.keys(connection)
        if not keys:
            click.echo(f"{chosen.queue}: nothing is set aside.")
        for key in keys:
            try:
                async with database.connection() as connection:
                    done = await change(connection, key)
            # The next one would fail for the same reason.
            except DatabaseUnavailableError:
                raise
            except DatabaseError as error:
                click.echo(f"{chosen.queue} {key}: {_why_not(error)}", err=True)
                failed = True
                continue
            if done:
                click.echo(f"{chosen.queue} {key} {words}")
            else:
                click.echo(f"{chosen.queue} {key}: nothing of this id is set aside.", err=True)
                failed = True
        async with database.connection() as connection:
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, QUEUES_CHANGED)
    if failed:
        sys.exit(EXIT_FAILED)


def _why_not(error: DatabaseError) -> str:
    """Why an item stays as it is. To dismiss it is advised only where nothing is lost by that."""
    if error.sqlstate == UNIQUE_VIOLATION:
        # As of a callback that has come again meanwhile.
        return "an equal item waits already; dismiss it."
    return f"nothing is changed. {error}"
