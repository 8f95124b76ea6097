"""What the commands share: the configuration, a database to ask, and how answers are printed."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click
from msgspec import Struct
from msgspec.structs import asdict

from poddispatchd.cli.numbers import TaskId
from poddispatchd.domain.display import escaped, escaped_json, is_utf8

if TYPE_CHECKING:
    # What costs time to import is imported where it is used: help is to be quick.
    from poddispatchd.cli.unit import Unit
    from poddispatchd.config.model import Settings
    from poddispatchd.database.pool import Database
    from poddispatchd.errors import PoddispatchdError

_NO_ADDRESS = (
    "No address of it is given here (database.dsn is the default): name the file with -c, or make one with "
    "'poddispatchd config import'. One that the unit gets by LoadCredential= is found by root alone."
)

OLDER_SCHEMA = "The schema poddispatchd is not up to date: run 'poddispatchd db upgrade'."

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_FINDINGS = 3

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Context(Struct):
    """The options that stand before the subcommand."""

    config_path: Path | None
    unit: "Unit | None" = None
    """The unit that runs with this configuration; known to root only, once there are settings."""

    def settings(self, config_path: Path | None = None) -> "Settings":
        """The configuration in effect.

        Raises:
            ConfigurationError: with every problem.
        """
        from poddispatchd.config.loading import load_settings
        from poddispatchd.observability.logs import configure_logging, register_secrets

        if config_path is not None:
            self.config_path = config_path
        if self.config_path is None and (named := os.environ.get("PODDISPATCHD_CONFIG")):
            # Named like that it is the file, too, of which `check` and others tell.
            self.config_path = Path(named)
        self.unit = _unit_for_root(self.config_path)
        unit = self.unit
        settings = load_settings(
            self.config_path,
            # What is in the environment of who types this counts more than what the unit is given.
            environ={**({} if unit is None else unit.environment), **os.environ},
            credentials={} if unit is None else unit.credentials,
        )
        register_secrets(settings)
        configure_logging(settings.log, environ=os.environ)
        return settings


def _unit_for_root(config_path: Path | None) -> "Unit | None":
    # A service of systemd has been given its credentials and variables already.
    if os.geteuid() != 0 or os.environ.get("CREDENTIALS_DIRECTORY"):
        return None
    from poddispatchd.cli.unit import unit_of

    return unit_of(config_path)


pass_context = click.make_pass_decorator(Context)

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    # Whether it can be read is told with what to do, by whoever reads it.
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="config.yaml, as before the command.",
)

TASK_ID = TaskId()

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def run_async(coroutine: Coroutine[None, None, _R]) -> _R:
    """Run a coroutine to its end."""
    from poddispatchd.cli.last_signals import ends_quietly
    from poddispatchd.runner.name_lookup import NamesLoop

    with asyncio.Runner(loop_factory=NamesLoop) as runner:
        return runner.run(ends_quietly(coroutine))


@asynccontextmanager
async def open_database(settings: "Settings") -> AsyncIterator["Database"]:
    """Pod's database, for one command.

    Raises:
        SchemaError: the command wants something that our schema, made by an older release, does not have.
    """
    from poddispatchd.database.pool import Database
    from poddispatchd.errors import PoddispatchdError, SchemaChangedError, SchemaError

    database = Database(settings.database.dsn, pool_size=2)
    try:
        await database.open()
    except PoddispatchdError as error:
        raise of_its_address(error, settings) from error
    try:
        async with commits_told(database):
            yield database
    except SchemaChangedError:
        if not await _is_of_older_release(database):
            raise
        raise SchemaError(OLDER_SCHEMA) from None
    finally:
        await database.close()


def of_its_address(error: "PoddispatchdError", settings: "Settings") -> "PoddispatchdError":
    """The same error of a connection, which says so where nobody has given an address."""
    from poddispatchd.config.model import DatabaseSettings
    from poddispatchd.errors import ConfigurationError, PoddispatchdError

    if settings.database.dsn != DatabaseSettings().dsn:
        return error
    kind = ConfigurationError if isinstance(error, ConfigurationError) else PoddispatchdError
    return kind(f"{error} {_NO_ADDRESS}")


@asynccontextmanager
async def commits_told(database: "Database") -> AsyncIterator[None]:
    """Say on standard error when a command waits for commits that a standby server does not confirm."""
    from poddispatchd.runtime.commit_watch import waits_told

    async with waits_told(database, lambda words: click.echo(f"poddispatchd: {words}", err=True)):
        yield


async def _is_of_older_release(database: "Database") -> bool:
    from poddispatchd.database import migration
    from poddispatchd.errors import SchemaError

    with suppress(SchemaError):  # the role may not look: no release is to blame
        async with database.connection() as connection:
            return 0 < await migration.current_version(connection) < migration.LATEST
    return False


def person() -> str:
    """Who types this and where, for the words that Pod's people read and for the journal."""
    import getpass
    import socket

    try:
        # Behind sudo everybody is root.
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user} on {socket.gethostname()}"


def shown(value: object, zone: tzinfo | None = None) -> str:
    """A value for people: a moment with its time zone, else in that of this machine; a dash for nothing."""
    if isinstance(value, datetime):
        return f"{value.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    return "-" if value is None else escaped(str(value))


def is_typed(option: str) -> bool:
    """Whether an option of the command that runs was given, and not left at its default."""
    source = click.get_current_context().get_parameter_source(option)
    return source is not click.core.ParameterSource.DEFAULT


def print_json(data: object) -> None:
    """Print data for programs: one JSON document, in UTF-8 or, where output is in another encoding, ASCII."""
    document = json.dumps(data, indent=2, ensure_ascii=not takes_utf8(), default=_for_programs)
    click.echo(escaped_json(document))


def takes_utf8() -> bool:
    """Whether standard output takes a document for programs as it is; else it is written in ASCII."""
    return is_utf8(sys.stdout.encoding)


def _for_programs(value: object) -> object:
    if isinstance(value, Struct):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def asynchronous(function: Callable[_P, Coroutine[None, None, _R]]) -> Callable[_P, _R]:
    """Let click call a coroutine function."""
    from functools import wraps

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return run_async(function(*args, **kwargs))

    return call
