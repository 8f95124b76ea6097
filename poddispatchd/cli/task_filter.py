"""Which tasks a command is about: the options that choose them, and how they are understood."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import unquote

import click
from msgspec import Struct, field

from poddispatchd.cli.completion import manager_names
from poddispatchd.cli.moments import Since
from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import OTHER_STATUS, ManagerId, TaskPk, TaskStatus, TaskType
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.task_list import TaskFilter

_R = TypeVar("_R")

_PAGE_OF_VIDEO = re.compile(r"/video/(?:[^/?#]+/)*?(\d{4,}-[^/?#]*)")
"""What Pod's addresses of a video have, in any channel: people who wait for one send its address, or that of
the page on which they edit it (``/video/edit/0012-title/``)."""

_OPTIONS = ("statuses", "types", "failed", "search", "managers", "sites", "since")

_SEARCH = "Only those whose title, slug, owner or id holds this text, or whose video's page has this address."

FAILED = (TaskStatus.FAILED.value, TaskStatus.TIMEOUT.value)


class Chosen(Struct, frozen=True):
    """The options as they were given; nothing chosen means every task."""

    statuses: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    failed: bool = False
    search: str | None = None
    managers: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    since: datetime | None = None
    ids: tuple[int, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        """Whether nothing was chosen at all."""
        return self == Chosen()

    async def filter(self, database: Database) -> TaskFilter:
        """The filter these options mean.

        Raises:
            BadParameter: a runner manager or a site does not exist.
        """
        statuses = (*self.statuses, *(FAILED if self.failed else ()))
        return TaskFilter(
            statuses=statuses or None,
            types=self.types or None,
            search=None if self.search is None else _searched(self.search),
            managers=await _managers(database, self.managers),
            sites=await _sites(database, self.sites),
            since=self.since,
            tasks=[TaskPk(number) for number in self.ids] or None,
        )


def _not_empty(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    # Every task holds it: in a script it is a variable that nobody has set, and it may be about to restart.
    if text is not None and not text.strip():
        raise click.BadParameter("it is empty, and every task holds that.")
    return text


def _searched(text: str) -> str:
    page = _PAGE_OF_VIDEO.search(text)
    return text if page is None else unquote(page[1])


def filter_options(function: Callable[..., _R]) -> Callable[..., _R]:
    """Add the options that choose tasks; the command gets them together as ``chosen``."""

    @wraps(function)
    def command(*args: object, **kwargs: Any) -> _R:  # noqa: ANN401 - the options of any command
        chosen = Chosen(**{name: kwargs.pop(name) for name in _OPTIONS})
        return function(*args, chosen=chosen, **kwargs)

    for option in reversed(
        (
            click.option(
                "--status",
                "statuses",
                multiple=True,
                type=click.Choice([status.value for status in TaskStatus] + [OTHER_STATUS]),
                help="Only these (repeatable); other: those with a status that Pod does not have.",
            ),
            click.option("--failed", is_flag=True, help="Only those that failed or timed out."),
            click.option(
                "--type",
                "types",
                multiple=True,
                metavar="TYPE",
                help=f"Only these (repeatable): {', '.join(TaskType)}, or another one that Pod has.",
            ),
            click.option("--search", help=_SEARCH, callback=_not_empty),
            click.option(
                "--manager",
                "managers",
                multiple=True,
                metavar="NAME",
                shell_complete=manager_names,
                help="Only on this runner manager.",
            ),
            click.option("--site", "sites", multiple=True, metavar="DOMAIN", help="Only of this site."),
            click.option(
                "--since",
                type=Since(),
                help="Only those added within this time (30m, 2h, 7d) or since this date (2026-03-01), "
                "whenever they failed: 'failures' goes by that.",
            ),
        )
    ):
        command = option(command)
    return command


async def _managers(database: Database, names: tuple[str, ...]) -> list[ManagerId] | None:
    if not names:
        return None
    known = await pod_managers.runner_managers(database)
    for name in names:
        if not any(name in (manager.name, str(manager.id)) for manager in known):
            listed = ", ".join(manager.name for manager in known) or "none"
            raise click.BadParameter(f"there is no runner manager {name!r}; Pod has {listed}.")
    return [manager.id for manager in known if {manager.name, str(manager.id)} & set(names)]


async def _sites(database: Database, domains: tuple[str, ...]) -> list[Any] | None:
    if not domains:
        return None
    known = {site.domain: pk for pk, site in (await pod_managers.sites(database)).items()}
    for domain in domains:
        if domain not in known:
            raise click.BadParameter(f"there is no site {domain!r}; Pod has {', '.join(known)}.")
    return [known[domain] for domain in domains]


def age(since: datetime) -> str:
    """How long ago, short enough for a column: ``45s``, ``12m``, ``3h``, ``2d``."""
    seconds = max(0, int((Clock().now().astimezone() - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
