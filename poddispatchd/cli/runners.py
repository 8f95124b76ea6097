"""``runners``: Pod's runner managers, how they are, and giving one a rest."""

import asyncio
import sys
from pathlib import Path

import click
from msgspec.structs import asdict

from poddispatchd.cli.chosen_managers import all_managers, named
from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    asynchronous,
    config_option,
    json_option,
    open_database,
    pass_context,
    print_json,
    shown,
)
from poddispatchd.cli.completion import manager_names
from poddispatchd.cli.daemon_state import (
    DaemonAwayError,
    ManagerEntry,
    ask_daemon,
    full_in_words,
    state_in_words,
)
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.cli.runner_pauses import pause, resume
from poddispatchd.cli.tables import print_table, say
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId
from poddispatchd.domain.timetable_words import TimetableWords
from poddispatchd.errors import RunnerManagerError
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.managers.timetable import Timetable, Timetables
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session


@click.group(cls=SuggestingGroup)
def runners() -> None:
    """Pod's runner managers: list, test, pause and resume them."""


for _action in (pause, resume):
    runners.add_command(_action)


@runners.command("list")
@config_option
@json_option
@pass_context
@asynchronous
async def list_(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """List the runner managers; with their health when a daemon runs."""
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        managers = await all_managers(database)
        memories = await _memories(database)
    known = await _known_to_daemon(settings)
    now = Clock().now()
    timetables = Timetables(availability_of(settings), now)
    words = TimetableWords(now, shown)
    rows, remarks = [], []
    for manager in managers:
        memory = memories.get(manager.id, ManagerMemory())
        timetable = timetables.of(manager.name, memory.pauses)
        rows.append(_row(manager, memory, timetable, known))
        remarks.append("; ".join(timetable.words(words)))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("id", "runner manager", "site", "priority", "state", "full for", "last given", "url", "error"),
        [tuple(row[name] for name in _COLUMNS) for row in rows],
        empty="There are no runner managers: add one in Pod's administration.",
        remarks=remarks,
    )
    if rows and known is None:
        click.echo("No daemon answers: the states are those of the rows.", err=True)


_COLUMNS = ("id", "name", "site", "priority", "state", "full_for", "last_given_at", "url", "error")


def _row(
    manager: RunnerManager,
    memory: ManagerMemory,
    timetable: Timetable,
    known: dict[int, ManagerEntry] | None,
) -> dict[str, object]:
    window = timetable.window
    entry = None if known is None else known.get(manager.id)
    if not manager.is_active:
        state = "inactive"
    elif timetable.pause is not None:
        state = "paused"
    elif entry is not None:
        state = state_in_words(entry)
    else:
        state = "active" if window is None or window.is_open else "outside its window"
    return {
        "id": manager.id,
        "name": manager.name,
        "site": manager.site_id,
        "priority": manager.priority,
        "url": manager.shown_url,
        "is_active": manager.is_active,
        "paused": timetable.pause is not None,
        "pause": None if timetable.pause is None else asdict(timetable.pause),
        "planned_pauses": [asdict(pause) for pause in timetable.planned],
        "window": None if window is None else asdict(window),
        "state": state,
        "full_for": None if entry is None else full_in_words(entry),
        "last_given_at": memory.last_given_at,
        "error": None if entry is None else entry["error"],
    }


@runners.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=manager_names)
@config_option
@json_option
@pass_context
@asynchronous
async def test(context: Context, config_path: Path | None, names: tuple[str, ...], *, as_json: bool) -> None:
    """Ask runner managers how they are, as Pod's "Test connection". Exit status 1 when one is not well.

    Without names, those that are inactive in Pod's administration are asked, too, and do not count.
    """
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        managers = await all_managers(database)
    chosen = [manager for name in names for manager in named(managers, name)] if names else managers

    def counts(manager: RunnerManager) -> bool:
        return manager.is_active or bool(names)

    async with open_session(settings.runners) as session:
        # Somebody sits before it and waits.
        client = RunnerClient(session, request_timeout=min(settings.runners.request_timeout, 15.0))
        results = await asyncio.gather(*(_test(client, manager) for manager in chosen))
    if as_json:
        print_json(
            [
                {"id": manager.id, "name": manager.name, "ok": ok, "words": words}
                for manager, (ok, words) in zip(chosen, results, strict=True)
            ]
        )
    else:
        for manager, (ok, words) in zip(chosen, results, strict=True):
            mark = click.style("ok     ", fg="green") if ok else click.style("PROBLEM", fg="red")
            about = ""
            if not ok and not counts(manager):
                mark, about = click.style("note   ", fg="yellow"), "It is inactive. "
            say(f"{manager.name}: {about}{words}", first=f"{mark} ", rest=" " * 8)
        if not chosen:
            click.echo("There are no runner managers: add one in Pod's administration.")
    if not all(ok for manager, (ok, _) in zip(chosen, results, strict=True) if counts(manager)):
        sys.exit(EXIT_FAILED)


async def _test(client: RunnerClient, manager: RunnerManager) -> tuple[bool, str]:
    try:
        health = await client.health(manager)
    except RunnerManagerError as error:
        return False, str(error)
    return health.is_well, health.words


async def _memories(database: Database) -> dict[ManagerId, ManagerMemory]:
    async with database.connection() as connection:
        if await migration.current_version(connection) < migration.LATEST:
            return {}
        return await scheduling.manager_memories(connection)


async def _known_to_daemon(settings: Settings) -> dict[int, ManagerEntry] | None:
    try:
        state = await asyncio.to_thread(ask_daemon, settings.ops.listen)
    except DaemonAwayError:
        return None
    return {manager["id"]: manager for manager in state["managers"]}
