"""``tasks watch``: a line whenever a task changes."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from msgspec import Struct, field

from poddispatchd.cli.common import Context, asynchronous, config_option, open_database, pass_context
from poddispatchd.cli.numbers import Number
from poddispatchd.database.pool import Database
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.task import ManagerId, Task, TaskPk, TaskStatus
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import tasks as pod_tasks

_NEWEST = 500
"""Newest tasks that are watched, however they are."""

_MOST_OPEN = 5000
"""Older tasks that are watched until they end; those behind them come when some of these have."""

_SEARCH_EVERY = 10.0
"""Seconds after which the whole table is searched for tasks that wait or run, as one that is restarted."""

_OPEN = (TaskStatus.PENDING, TaskStatus.RUNNING)


@click.command(short_help="Print a line whenever a task changes.")
@click.option("--interval", default=1.0, show_default=True, type=Number(0.1, 3600), help="Seconds.")
@click.option("--until-done", is_flag=True, help="End when no task waits or runs any more.")
@config_option
@pass_context
@asynchronous
async def watch(
    context: Context,
    config_path: Path | None,
    interval: float,
    *,
    until_done: bool,
) -> None:
    """Print a line whenever a task changes, until Ctrl-C; first the ones that wait or run."""
    settings = context.settings(config_path)
    watched = _Watched()
    search_again_at = float("-inf")
    async with open_database(settings) as database:
        while True:
            searches = time.monotonic() >= search_again_at or (until_done and not watched.unfinished)
            if searches:
                search_again_at = time.monotonic() + _SEARCH_EVERY
            names = {manager.id: manager.name for manager in await pod_managers.runner_managers(database)}
            for task in watched.news(await _look(database, watched, searches=searches)):
                click.echo(_line(task, names.get(task.runner_manager_id or ManagerId(0))))
            if until_done and not watched.unfinished:
                if searches:
                    return
                continue  # an older one may have been restarted: searched for at once
            await asyncio.sleep(interval)


async def _look(database: Database, watched: "_Watched", *, searches: bool) -> list[Task]:
    async with database.connection() as connection:
        return await pod_tasks.watched_tasks(
            connection, newest=_NEWEST, known=watched.unfinished, most_open=_MOST_OPEN if searches else 0
        )


class _Watched(Struct):
    """The tasks as they were at the last look, and those of them that waited or ran."""

    known: dict[TaskPk, tuple[object, ...]] | None = None
    unfinished: set[TaskPk] = field(default_factory=set)

    def news(self, found: Sequence[Task]) -> Iterator[Task]:
        """Those that changed; at the first look, and of older tasks later, those that wait or run."""
        before, self.known = self.known, {}
        newest = max(before or (), default=None)
        self.unfinished = {task.pk for task in found if row_status(task.status) in _OPEN}
        for task in found:
            facts = (task.status, task.rank, task.runner_manager_id, task.task_id)
            self.known[task.pk] = facts
            if before is not None and task.pk in before:
                is_news = before[task.pk] != facts
            else:
                is_new = before is not None and (newest is None or task.pk > newest)
                is_news = is_new or task.pk in self.unfinished
            if is_news:
                yield task


def _line(task: Task, manager: str | None) -> str:
    facts = [f"task {task.pk:<6} {task.type_name:13} {task.status:9} {task.source}"]
    if task.rank is not None:
        facts.append(f"rank {task.rank}")
    if manager is not None:
        facts.append(f"on {manager}")
    return "  ".join(facts)
