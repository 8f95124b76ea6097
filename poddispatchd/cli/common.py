"""What the commands share: the configuration, a database to ask, and how answers are printed."""

import asyncio
import json
import os
import unicodedata
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from poddispatchd.domain.display import escaped, escaped_json

if TYPE_CHECKING:
    # What costs time to import is imported where it is used: help is to be quick.
    from poddispatchd.cli.unit import Unit
    from poddispatchd.config.model import Settings
    from poddispatchd.database.pool import Database

_NARROWEST_COLUMN = 8

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_FINDINGS = 3

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(slots=True)
class Context:
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
        self.unit = _unit_for_root(self.config_path)
        settings = load_settings(
            self.config_path,
            environ=os.environ,
            credentials={} if self.unit is None else self.unit.credentials,
        )
        register_secrets(settings)
        configure_logging(settings.log, environ=os.environ)
        return settings


def _unit_for_root(config_path: Path | None) -> "Unit | None":
    if os.geteuid() != 0 or os.environ.get("CREDENTIALS_DIRECTORY"):
        return None
    from poddispatchd.cli.unit import unit_of

    named = os.environ.get("PODDISPATCHD_CONFIG")
    return unit_of(config_path or (Path(named) if named else None))


pass_context = click.make_pass_decorator(Context)

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="config.yaml, as before the command.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def run_async(coroutine: Coroutine[None, None, _R]) -> _R:
    """Run a coroutine to its end."""
    return asyncio.run(coroutine)


@asynccontextmanager
async def open_database(settings: "Settings") -> AsyncIterator["Database"]:
    """Pod's database, for one command."""
    from poddispatchd.database.pool import Database

    database = Database(settings.database.dsn, pool_size=2)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def person() -> str:
    """Who types this and where, for the words that Pod's people read and for the journal."""
    import getpass
    import socket

    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user} on {socket.gethostname()}"


def shown(value: object) -> str:
    """A value for people: a moment in the time zone of this machine, which is named; a dash for nothing."""
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    return "-" if value is None else escaped(str(value))


def print_json(data: object) -> None:
    """Print data for programs: one JSON document."""
    click.echo(escaped_json(json.dumps(data, indent=2, ensure_ascii=False, default=_for_programs)))


def _for_programs(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str,
    width: int | None = None,
    remarks: Sequence[str | None] = (),
) -> None:
    """Print rows for people. Columns in which every row is empty are left out.

    Args:
        head: the names of the columns.
        rows: their cells.
        empty: what is said when there are none.
        width: of a line; the last column is cut off there. Without one, columns are as wide as they need: a
            line that a terminal wraps is still one line for grep and for a paste into a mail.
        remarks: a line below each row that has something to say.
    """
    if not rows:
        if empty:
            click.echo(empty)
        return
    cells = [[shown(cell).replace("\n", " ") for cell in row] for row in rows]
    used = [n for n in range(len(head)) if n == 0 or any(row[n] != "-" for row in cells)]
    lines = [[head[n] for n in used], *([row[n] for n in used] for row in cells)]
    numeric = [all(_is_number(row[n]) for row in cells) for n in used]
    widths = [max(width_of(line[n]) for line in lines) for n in range(len(used))]
    if width is not None:
        left = max(_NARROWEST_COLUMN, width - sum(widths[:-1]) - 2 * (len(widths) - 1))
        widths[-1] = min(widths[-1], left)
        lines = [[*line[:-1], shortened(line[-1], left)] for line in lines]
    for number, line in enumerate(lines):
        text = "  ".join(
            _padded(cell, width, right=right)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        click.secho(text, bold=number == 0)
        remark = remarks[number - 1] if number and number <= len(remarks) else None
        if remark:
            line_below = f"    {shown(remark)}"
            click.secho(line_below if width is None else shortened(line_below, width), dim=True)


def shortened(text: str, width: int) -> str:
    """A text that takes so many columns at most, with an ellipsis where something is cut off."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - 1:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.isdecimal()


def _padded(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - width_of(cell))
    return space + cell if right else cell + space


def width_of(text: str) -> int:
    """Columns on a terminal: wide characters take two, marks above letters none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def asynchronous(function: Callable[_P, Coroutine[None, None, _R]]) -> Callable[_P, _R]:
    """Let click call a coroutine function."""
    from functools import wraps

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return asyncio.run(function(*args, **kwargs))

    return call
