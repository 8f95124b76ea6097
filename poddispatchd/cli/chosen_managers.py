"""Runner managers by their names or ids, as commands take them."""

from collections.abc import Sequence

import click

from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.observability.logs import register_secret
from poddispatchd.pod import managers as pod_managers


async def all_managers(database: Database) -> list[RunnerManager]:
    """All of Pod's; their tokens are kept out of everything that is said."""
    managers = await pod_managers.runner_managers(database)
    for manager in managers:
        register_secret(manager.token)
    return managers


def named(managers: Sequence[RunnerManager], name: str) -> list[RunnerManager]:
    """The managers of this name (one for each site, at most), or the one of this id.

    Raises:
        BadParameter: there is none.
    """
    found = [manager for manager in managers if manager.name == name] or [
        manager for manager in managers if str(manager.id) == name
    ]
    if not found:
        known = ", ".join(manager.name for manager in managers) or "none"
        raise click.BadParameter(f"there is no runner manager {name!r}; Pod has {known}.")
    return found
