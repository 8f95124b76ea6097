"""``db``: poddispatchd's own schema and its rights."""

import sys
import time
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
    print_json,
)
from poddispatchd.cli.db_setup import setup
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.database import migration
from poddispatchd.pod import queue_order, trigger
from poddispatchd.pod.capabilities import introspect
from poddispatchd.pod.grants import grants_script

print_sql_option = click.option("--print-sql", is_flag=True, help="Print the SQL instead of running it.")

_MANY = 10_000
"""Tasks: a look at fewer takes some ten milliseconds without an index."""


@click.group(cls=SuggestingGroup, short_help="poddispatchd's own schema, and the rights of its role.")
def db() -> None:
    """The schema poddispatchd in Pod's database; Pod's own tables are never altered."""


db.add_command(setup)


async def _upgrade(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        if print_sql:
            async with database.connection() as connection:
                click.echo(migration.script(await migration.checked_version(connection)), nl=False)
            return
        steps = await migration.upgrade(database)
    for step in steps:
        click.echo(f"Schema {migration.SCHEMA}: version {step.version} ({step.name}).")
    if not steps:
        click.echo(f"Schema {migration.SCHEMA} is up to date (version {migration.LATEST}).")


@db.command(short_help="Create the schema.")
@config_option
@print_sql_option
@pass_context
@asynchronous
async def init(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    """Create the schema; it does no harm to run it again."""
    await _upgrade(context, config_path, print_sql=print_sql)


@db.command(short_help="Bring the schema to this version.")
@config_option
@print_sql_option
@pass_context
@asynchronous
async def upgrade(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    """Bring the schema to the version of this program; the daemon does so by itself when it may."""
    await _upgrade(context, config_path, print_sql=print_sql)


@db.command(short_help="Tell the version of the schema.")
@config_option
@json_option
@pass_context
@asynchronous
async def status(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Tell the version of the schema; exit status 1 when it has to be upgraded."""
    settings = context.settings(config_path)
    async with open_database(settings) as database, database.connection() as connection:
        version = await migration.checked_version(connection)
    if as_json:
        print_json({"schema": migration.SCHEMA, "version": version, "latest": migration.LATEST})
    elif version == 0:
        click.echo(f"There is no schema {migration.SCHEMA}: run 'poddispatchd db init'.")
    elif version < migration.LATEST:
        click.echo(
            f"Schema {migration.SCHEMA} has version {version} of {migration.LATEST}: "
            "run 'poddispatchd db upgrade'."
        )
    else:
        click.echo(f"Schema {migration.SCHEMA} is up to date (version {version}).")
    if version < migration.LATEST:
        sys.exit(EXIT_FAILED)


@db.command(short_help="Print the rights that a role needs.")
@click.argument("role")
@click.option("--print-sql", is_flag=True, default=True, hidden=True)
def grants(role: str, *, print_sql: bool) -> None:  # noqa: ARG001 - printing is all it does
    """Print the GRANT statements that ROLE needs to work on Pod's tables."""
    click.echo(grants_script(role), nl=False)


@db.command("install-trigger", short_help="Let Pod's task table announce new tasks.")
@config_option
@print_sql_option
@pass_context
@asynchronous
async def install_trigger(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    """Let Pod's task table announce new tasks: they are submitted at once instead of at the next poll.

    It needs the rights of the owner of Pod's task table.
    """
    if print_sql:
        click.echo(trigger.install_script(), nl=False)
        return
    async with open_database(context.settings(config_path)) as database:
        await trigger.install(database)
    click.echo("The trigger is installed: new tasks are announced.")


@db.command("remove-trigger", short_help="Remove that trigger.")
@config_option
@print_sql_option
@pass_context
@asynchronous
async def remove_trigger(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    """Remove the trigger; new tasks are found by polling then."""
    if print_sql:
        click.echo(trigger.remove_script(), nl=False)
        return
    async with open_database(context.settings(config_path)) as database:
        await trigger.remove(database)
    click.echo("The trigger is removed.")


@db.command("advise-index", short_help="Measure the queue; print a useful index.")
@config_option
@click.option("--print-sql", is_flag=True, help="Print nothing but the SQL, and measure nothing.")
@pass_context
@asynchronous
async def advise_index(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    """Measure a look at the queue and print the index that makes it quicker; it is not created from here."""
    if print_sql:
        click.echo(trigger.INDEX_SQL)
        return
    async with open_database(context.settings(config_path)) as database:
        capabilities = await introspect(database)
        facts = await trigger.facts(database)
        begun = time.monotonic()
        await queue_order.pending_tasks(database, capabilities, queue_order.CandidateQuery(limit=20))
        milliseconds = (time.monotonic() - begun) * 1000
    click.echo(
        f"{facts.tasks} tasks, {facts.unfinished} of them unfinished; one look at the queue took "
        f"{milliseconds:.0f} ms."
    )
    if facts.has_index:
        click.echo("The index poddispatchd_unfinished is there.")
        return
    if facts.tasks < _MANY:
        click.echo(
            "So few tasks need no index. For many thousands this one is small, and made while Pod runs:"
        )
    else:
        click.echo("With this index, which is small and can be made while Pod runs, most of that goes away:")
    click.echo(f"\n{trigger.INDEX_SQL}")
