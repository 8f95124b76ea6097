"""What the shell completes beyond commands and options: the names of runner managers."""

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from poddispatchd.domain.display import escaped

if TYPE_CHECKING:
    from poddispatchd.config.model import Settings

_PATIENCE = 1.0
"""Seconds that somebody who has pressed the tabulator key waits for the daemon, and for the database."""

_PLAIN = re.compile(r"[\w.@%+-]+")
"""A name that no shell takes for more than one word, or for more than its letters."""


def manager_names(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of runner managers that begin so, from the running daemon, else from the database.

    A name that a shell would have to quote is offered by its id, which every command takes, with the name
    beside it. Whatever goes wrong completes nothing: nobody wants an error in the middle of a line.
    """
    found: dict[str, str] = {}
    with suppress(Exception):
        found = _managers(context)
    items = []
    for name, number in found.items():
        if not _PLAIN.fullmatch(name):
            if not incomplete or number.startswith(incomplete) or name.startswith(incomplete):
                items.append(CompletionItem(number, help=escaped(name).replace("\n", " ")))
        elif name.startswith(incomplete):
            items.append(CompletionItem(name))
    return items


def _managers(context: click.Context) -> dict[str, str]:
    """The id of each manager by its name."""
    from poddispatchd.cli.daemon_state import DaemonAwayError, ask_daemon
    from poddispatchd.config.loading import load_settings
    from poddispatchd.config.model import Settings
    from poddispatchd.errors import ConfigurationError

    chosen = context.params.get("config_path") or context.find_root().params.get("config_path")
    try:
        settings = load_settings(Path(chosen) if chosen else None, environ=os.environ)
    except ConfigurationError:
        # Not everybody may read it; where the daemon listens is mostly the default.
        settings = Settings()
    try:
        state = ask_daemon(settings.ops.listen, seconds=_PATIENCE)
    except DaemonAwayError:
        return _from_database(settings)
    return {manager["name"]: str(manager["id"]) for manager in state["managers"]}


def _from_database(settings: "Settings") -> dict[str, str]:
    from poddispatchd.cli.common import open_database, run_async
    from poddispatchd.pod.managers import runner_managers

    async def read() -> dict[str, str]:
        async with asyncio.timeout(_PATIENCE), open_database(settings) as database:
            return {manager.name: str(manager.id) for manager in await runner_managers(database)}

    return run_async(read())
