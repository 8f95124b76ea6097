"""``tasks list``: tasks with title, owner and what became of them, in the width of a terminal."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

import click
from msgspec.structs import asdict

from poddispatchd.cli.common import (
    Context,
    asynchronous,
    config_option,
    is_typed,
    json_option,
    open_database,
    pass_context,
    print_json,
    shown,
)
from poddispatchd.cli.delays import delays
from poddispatchd.cli.forecast import OPEN, expected, expected_words, interval_as_dict
from poddispatchd.cli.situation import closed_types, daemon_state
from poddispatchd.cli.tables import print_table, shortened
from poddispatchd.cli.task_filter import Chosen, age, filter_options
from poddispatchd.clock import Clock
from poddispatchd.domain.forecast import Forecast
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.situation import duration_words
from poddispatchd.domain.task import ManagerId, TaskStatus, TaskType
from poddispatchd.pod import duplicates, task_list
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.duplicates import Blocker
from poddispatchd.pod.task_list import ListedTask

_Closed: TypeAlias = Mapping[TaskType, datetime | None]
"""The types that wait for a window, and when it opens."""

_NARROWEST = 80
_WIDE = 10_000
_OWNER, _MANAGER = 8, 10


@click.command("list", short_help="List tasks, newest first.")
@filter_options
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Rows at most.")
@click.option("--wide", is_flag=True, help="Cut nothing off, however long the lines become.")
@config_option
@json_option
@pass_context
@asynchronous
async def list_(
    context: Context,
    config_path: Path | None,
    limit: int,
    *,
    chosen: Chosen,
    wide: bool,
    as_json: bool,
) -> None:
    """List tasks, newest first, with their title, owner, age, runner manager and last error."""
    settings = context.settings(config_path)
    async with open_database(settings) as database:
        managers = await pod_managers.runner_managers(database)
        names = {manager.id: manager.name for manager in managers}
        # One more than asked for: whether there is any.
        rows = await task_list.listed_tasks(database, await chosen.filter(database), limit=limit + 1)
        found = rows[:limit]
        async with database.connection() as connection:
            blockers = await duplicates.blockers(connection, [row.pk for row in found])
        state = await daemon_state(settings) if any(row_status(row.status) in OPEN for row in found) else None
        forecast = await expected(settings, database, [row.status for row in found], state)
        delayed = await delays(database, state, found)
        closed = await closed_types(settings, database, managers)
    if as_json:
        print_json(
            [
                {**_as_dict(row, names, blockers.get(row.pk), forecast, closed), "delay": delayed.get(row.pk)}
                for row in found
            ]
        )
    else:
        width = _WIDE if wide else _terminal_width()
        _print(
            found,
            names,
            [delayed.get(row.pk) or _remark(row, blockers.get(row.pk), forecast, closed) for row in found],
            width,
        )
    if len(rows) > limit and (sys.stderr.isatty() or not is_typed("limit")):
        # Also where a program reads: it takes what it gets for all there is. Who types a limit knows of it.
        click.echo(f"Only the newest {limit}: --limit shows more.", err=True)


def _terminal_width() -> int:
    # What is not a terminal is a mail or a file for people: it gets the usual width.
    return max(_NARROWEST, shutil.get_terminal_size((_NARROWEST, 24)).columns)


def _print(
    found: list[ListedTask], names: dict[ManagerId, str], remarks: Sequence[str | None], width: int
) -> None:
    owner, manager = (_WIDE, _WIDE) if width == _WIDE else (_OWNER, _MANAGER)
    rows = [
        (
            row.pk,
            row.type,
            row.status,
            row.rank,
            age(row.date_added),
            shortened(shown(row.owner), owner),
            shortened(shown(names.get(row.runner_manager_id or ManagerId(0))), manager),
            row.title,
        )
        for row in found
    ]
    print_table(
        ("id", "type", "status", "rank", "age", "owner", "manager", "title"),
        rows,
        empty="There are no such tasks.",
        width=width,
        remarks=remarks,
    )


def _remark(
    row: ListedTask, blocker: Blocker | None, forecast: Forecast | None, closed: _Closed
) -> str | None:
    words = None if forecast is None else expected_words(forecast, row.pk, row.status)
    # Most are unknown where nothing has ended yet: that is said once for each by `tasks show`.
    said = None if words is None or words == "unknown" else f"Expected: {words}."
    waits = row.failure if blocker is None else f"It waits for {blocker.words}."
    if blocker is None and _waits_for_window(row, closed):
        opens = closed[TaskType.of(row.type)]
        when = "is never open" if opens is None else f"opens {_countdown(opens)}"
        waits = f"It waits for its window, which {when}."
    return " ".join(filter(None, (waits, said))) or None


def _waits_for_window(row: ListedTask, closed: _Closed) -> bool:
    return row.status == TaskStatus.PENDING and TaskType.of(row.type) in closed


def _countdown(moment: datetime) -> str:
    """Short enough for a line of a terminal."""
    return f"in {duration_words(moment - Clock().now())} ({moment.astimezone():%Y-%m-%d %H:%M %Z})"


def _as_dict(
    row: ListedTask,
    names: dict[ManagerId, str],
    blocker: Blocker | None,
    forecast: Forecast | None,
    closed: _Closed,
) -> dict[str, object]:
    told = asdict(row)
    return {
        "id": told.pop("pk"),
        **told,
        "source": _source(row),
        "runner_manager": names.get(row.runner_manager_id or ManagerId(0)),
        "waits_for": None if blocker is None else blocker.task,
        "window_opens_at": closed.get(TaskType.of(row.type)) if _waits_for_window(row, closed) else None,
        "expected_begin": None if forecast is None else interval_as_dict(forecast.begins.get(row.pk)),
        "expected_end": None if forecast is None else interval_as_dict(forecast.ends.get(row.pk)),
    }


def _source(row: ListedTask) -> str:
    if row.recording_id is not None and row.video_id is None:
        return f"recording {row.recording_id}"
    return "nothing" if row.video_id is None else f"video {row.video_id}"
