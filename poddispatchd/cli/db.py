"""``db``: poddispatchd's own schema and its rights."""

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
    print_json,
)
from poddispatchd.journal import migration
from poddispatchd.pod.grants import grants_script

print_sql_option = click.option("--print-sql", is_flag=True, help="Print the SQL instead of running it.")


@click.group()
def db() -> None:
    """The schema poddispatchd in Pod's database; Pod's own tables are never altered."""


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


@db.command()
@config_option
@print_sql_option
@pass_context
@asynchronous
async def init(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    """Create the schema; it does no harm to run it again."""
    await _upgrade(context, config_path, print_sql=print_sql)


@db.command()
@config_option
@print_sql_option
@pass_context
@asynchronous
async def upgrade(context: Context, config_path: Path | None, *, print_sql: bool) -> None:
    """Bring the schema to the version of this program; the daemon does so by itself when it may."""
    await _upgrade(context, config_path, print_sql=print_sql)


@db.command()
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


@db.command()
@click.argument("role")
@click.option("--print-sql", is_flag=True, default=True, hidden=True)
def grants(role: str, *, print_sql: bool) -> None:  # noqa: ARG001 - printing is all it does
    """Print the GRANT statements that ROLE needs to work on Pod's tables."""
    click.echo(grants_script(role), nl=False)
