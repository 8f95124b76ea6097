"""``runners``: Pod's runner managers, how they are, and giving one a rest."""

import asyncio
import sys
from pathlib import Path

import click

from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    asynchronous,
    config_option,
    json_option,
    open_database,
    pass_context,
    person,
    print_json,
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
from poddispatchd.cli.tables import print_table, say
from poddispatchd.config.model import Settings
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import PoddispatchdError, RunnerManagerError
from poddispatchd.journal import acts, scheduling
from poddispatchd.journal.acts import Act
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.observability.logs import register_secret
from poddispatchd.pod import managers as pod_managers
from poddispatchd.runner.client import RunnerClient, open_session
from poddispatchd.runtime.database_session import CHANNEL


@click.group(cls=SuggestingGroup)
def runners() -> None:
    """Pod's runner managers: list, test, pause and resume them."""


@runners.command("list")
@config_option
@json_option
@pass_context
@asynchronous
async def list_(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """List the runner managers; with their health when a daemon runs."""
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        managers = await _managers(database)
        memories = await _memories(database)
    known = await _known_to_daemon(settings)
    rows = [_row(manager, memories.get(manager.id), known) for manager in managers]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("id", "runner manager", "site", "priority", "state", "full for", "last given", "url", "error"),
        [tuple(row[name] for name in _COLUMNS) for row in rows],
        empty="There are no runner managers: add one in Pod's administration.",
    )
    if rows and known is None:
        click.echo("No daemon answers: the states are those of the rows.", err=True)


_COLUMNS = ("id", "name", "site", "priority", "state", "full_for", "last_given_at", "url", "error")


def _row(
    manager: RunnerManager, memory: ManagerMemory | None, known: dict[int, ManagerEntry] | None
) -> dict[str, object]:
    memory = memory or ManagerMemory()
    entry = None if known is None else known.get(manager.id)
    if not manager.is_active:
        state = "inactive"
    elif memory.paused_at is not None:
        state = "paused"
    else:
        state = "active" if entry is None else state_in_words(entry)
    return {
        "id": manager.id,
        "name": manager.name,
        "site": manager.site_id,
        "priority": manager.priority,
        "url": manager.url,
        "is_active": manager.is_active,
        "paused": memory.paused_at is not None,
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
    """Ask runner managers how they are, as Pod's "Test connection". Exit status 1 when one is not well."""
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        managers = await _managers(database)
    chosen = [manager for name in names for manager in _named(managers, name)] if names else managers
    async with open_session(settings.runners) as session:
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
            say(f"{manager.name}: {words}", first=f"{mark} ", rest=" " * 8)
        if not chosen:
            click.echo("There are no runner managers: add one in Pod's administration.")
    if not all(ok for ok, _ in results):
        sys.exit(EXIT_FAILED)


async def _test(client: RunnerClient, manager: RunnerManager) -> tuple[bool, str]:
    try:
        health = await client.health(manager)
    except RunnerManagerError as error:
        return False, str(error)
    return health.is_well, health.words


@runners.command()
@click.argument("name", shell_complete=manager_names)
@config_option
@pass_context
@asynchronous
async def pause(context: Context, config_path: Path | None, name: str) -> None:
    """Give a runner manager no new tasks; what it works on goes on. NAME may be its id."""
    async with open_database(context.settings(config_path)) as database:
        for manager in await _chosen(database, name):
            async with database.transaction() as connection:
                await scheduling.pause(connection, manager.id)
                await acts.record(connection, Act.PAUSE, person(), runner_manager=manager.id)
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")
            click.echo(f"Runner manager {manager.name} gets no new tasks until 'runners resume'.")


@runners.command()
@click.argument("name", shell_complete=manager_names)
@config_option
@pass_context
@asynchronous
async def resume(context: Context, config_path: Path | None, name: str) -> None:
    """Give a paused runner manager tasks again. NAME may be its id."""
    async with open_database(context.settings(config_path)) as database:
        for manager in await _chosen(database, name):
            async with database.transaction() as connection:
                was_paused = await scheduling.resume(connection, manager.id)
                if was_paused:
                    await acts.record(connection, Act.RESUME, person(), runner_manager=manager.id)
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")
            words = "gets tasks again" if was_paused else "was not paused"
            click.echo(f"Runner manager {manager.name} {words}.")


async def _chosen(database: Database, name: str) -> list[RunnerManager]:
    chosen = _named(await _managers(database), name)
    async with database.connection() as connection:
        if await migration.checked_version(connection) < migration.LATEST:
            raise PoddispatchdError(
                "The schema poddispatchd is not up to date: run 'poddispatchd db upgrade'."
            )
    return chosen


def _named(managers: list[RunnerManager], name: str) -> list[RunnerManager]:
    """The managers of this name (one for each site, at most), or the one of this id."""
    found = [manager for manager in managers if manager.name == name] or [
        manager for manager in managers if str(manager.id) == name
    ]
    if not found:
        known = ", ".join(manager.name for manager in managers) or "none"
        raise click.BadParameter(f"there is no runner manager {name!r}; Pod has {known}.")
    return found


async def _managers(database: Database) -> list[RunnerManager]:
    managers = await pod_managers.runner_managers(database)
    for manager in managers:
        register_secret(manager.token)
    return managers


async def _memories(database: Database) -> dict[ManagerId, ManagerMemory]:
    async with database.connection() as connection:
        if await migration.current_version(connection) == 0:
            return {}
        return await scheduling.manager_memories(connection)


async def _known_to_daemon(settings: Settings) -> dict[int, ManagerEntry] | None:
    try:
        state = await asyncio.to_thread(ask_daemon, settings.ops.listen)
    except DaemonAwayError:
        return None
    return {manager["id"]: manager for manager in state["managers"]}
