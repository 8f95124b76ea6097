"""``campaigns``: encode or transcribe many videos anew, when nobody else wants the runners."""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
from msgspec.structs import asdict

from poddispatchd.cli.campaign_view import as_dict, show_campaign, zone_of
from poddispatchd.cli.common import (
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    person,
    print_json,
)
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.cli.journal import open_journal
from poddispatchd.cli.moments import within_reach
from poddispatchd.cli.tables import print_table
from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.campaigns import MOST_VIDEOS, parse_videos
from poddispatchd.domain.manager_diagnosis import typed_command
from poddispatchd.domain.task import TaskType, VideoId
from poddispatchd.domain.time_windows import format_windows, parse_windows
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal import campaigns as journal
from poddispatchd.journal.campaigns import CampaignState, VideoState, Wanted
from poddispatchd.pod import campaign_videos
from poddispatchd.runtime.database_session import CHANNEL
from poddispatchd.tasks.campaign_progress import bar, progress_of

_SHOWN = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


@click.group(cls=SuggestingGroup)
def campaigns() -> None:
    """Encode or transcribe many videos anew, when nobody else wants the runners."""


def _videos(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[VideoId] | None:
    try:
        return None if value is None else parse_videos(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _window(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else format_windows(parse_windows(value))
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise click.BadParameter("write letters, digits, dots and dashes, 60 at most.")
    return value


def _day(_context: click.Context, _parameter: click.Parameter, value: datetime | None) -> datetime | None:
    try:
        return None if value is None else within_reach(value)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}.") from None


_name_argument = click.argument("name", callback=_name)


@campaigns.command(short_help="Make a campaign of videos.")
@_name_argument
@click.option("--videos", "ids", metavar="1,2,5-9", callback=_videos, help="Videos by their ids.")
@click.option(
    "--sql-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A SELECT whose first column holds ids of videos; the daemon's role reads, and changes nothing.",
)
@click.option(
    "--encoded-before",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d"]),
    callback=_day,
    help="Every video that was encoded, and last before this date (2026-03-01).",
)
@click.option(
    "--type",
    "kind",
    required=True,
    type=click.Choice([TaskType.ENCODING.value, TaskType.TRANSCRIPTION.value]),
    help="What is done with them.",
)
@click.option(
    "--at-most", default=2, show_default=True, type=click.IntRange(1, 1000), help="Tasks of it at a time."
)
@click.option(
    "--window",
    metavar="20:00-07:00",
    callback=_window,
    help="Hours in which its tasks may begin, by pod.time_zone, with days if not every day: "
    '"mon-fri 20:00-07:00; sat,sun".',
)
@click.option("--dry-run", is_flag=True, help="List the videos, and make no campaign.")
@config_option
@json_option
@pass_context
@asynchronous
async def create(
    context: Context,
    config_path: Path | None,
    name: str,
    *,
    ids: list[VideoId] | None,
    sql_file: Path | None,
    encoded_before: datetime | None,
    kind: str,
    at_most: int,
    window: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a campaign: its videos are encoded, or transcribed, anew.

    The daemon adds one task after the other to Pod's queue, each when a runner is free and nothing else waits
    for it. Look at the list first, with --dry-run.
    """
    if sum(choice is not None for choice in (ids, sql_file, encoded_before)) != 1:
        raise click.UsageError("Name the videos in one way: --videos, --sql-file or --encoded-before.")
    settings = context.settings(config_path)
    task_type = TaskType(kind)
    if task_type is TaskType.TRANSCRIPTION and not settings.pod.use_transcription:
        raise click.UsageError("This Pod makes no transcriptions (pod.use_transcription).")
    async with open_journal(settings) as database:
        chosen = ids
        if sql_file is not None:
            chosen = await campaign_videos.selected(database, await asyncio.to_thread(_text, sql_file))
        elif encoded_before is not None:
            zone = ZoneInfo(settings.pod.time_zone)
            chosen = await campaign_videos.encoded_before(database, encoded_before.replace(tzinfo=zone))
        if not chosen:
            raise PoddispatchdError("There is no such video.")
        if len(chosen) > MOST_VIDEOS:
            raise PoddispatchdError(f"These are more than {MOST_VIDEOS} videos: choose fewer.")
        async with database.connection() as connection:
            if await journal.campaigns(connection, name):
                raise PoddispatchdError(f"There is a campaign {name} already: choose another name.")
        if dry_run:
            await _list(database, chosen, task_type, as_json=as_json)
            return
        wanted = Wanted(name, task_type, at_most, window, person())
        async with database.transaction() as connection:
            # Somebody else may have made one of this name since it was looked for.
            if await journal.create(connection, wanted, chosen) is None:
                raise PoddispatchdError(f"There is a campaign {name} already: choose another name.")
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")
        await show_campaign(database, settings, name, as_json=as_json)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise PoddispatchdError(f"{file} cannot be read: {reason}.") from None


async def _list(database: Database, chosen: Sequence[VideoId], kind: TaskType, *, as_json: bool) -> None:
    rows = await campaign_videos.described(database, chosen, kind)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("video", "seconds", "owner", "title"),
        [(row.id, row.duration, row.owner, row.title) for row in rows[:_SHOWN]],
        empty="",
        remarks=[row.remark for row in rows[:_SHOWN]],
    )
    if len(rows) > _SHOWN:
        click.echo(f"… and {len(rows) - _SHOWN} more (--json lists all).")
    verb = "encoded" if kind is TaskType.ENCODING else "transcribed"
    hours = sum(row.duration or 0 for row in rows if not row.is_left_out) / 3600
    left_out = sum(row.is_left_out for row in rows)
    click.echo(
        f"{len(rows) - left_out} videos ({hours:.1f} h) would be {verb}, {left_out} would be skipped. "
        "Whether files are there is seen when their turn comes. Nothing has been changed."
    )


@campaigns.command("list", short_help="List the campaigns.")
@config_option
@json_option
@pass_context
@asynchronous
async def list_(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """List the campaigns, the latest first, with how far they are."""
    settings = context.settings(config_path)
    async with open_journal(settings) as database, database.connection() as connection:
        found = await progress_of(connection, zone_of(settings), Clock().now())
    if as_json:
        print_json([as_dict(each) for each in found])
        return
    print_table(
        ("name", "type", "state", "progress", "failed", "skipped", "expected end"),
        [
            (
                each.name,
                each.task_type.value,
                each.state.value,
                bar(each),
                each.counts[VideoState.FAILED],
                each.counts[VideoState.SKIPPED],
                progress.expected,
            )
            for progress in found
            for each in (progress.campaign,)
        ],
        empty="There is no campaign.",
    )


@campaigns.command(short_help="Show how far a campaign is.")
@_name_argument
@config_option
@json_option
@pass_context
@asynchronous
async def show(context: Context, config_path: Path | None, name: str, *, as_json: bool) -> None:
    """Show how far a campaign is, when it will probably be done, and which videos failed or were skipped."""
    settings = context.settings(config_path)
    async with open_journal(settings) as database:
        await show_campaign(database, settings, name, as_json=as_json)


@campaigns.command(short_help="Begin no more tasks of a campaign.")
@_name_argument
@config_option
@pass_context
@asynchronous
async def pause(context: Context, config_path: Path | None, name: str) -> None:
    """Begin no more tasks of a campaign until it is resumed; those that have begun go on."""
    async with open_journal(context.settings(config_path)) as database:
        async with database.transaction() as connection:
            changed = await journal.pause(connection, name, person())
        until = typed_command("campaigns resume", name)
        await _changed(database, name, changed, f"begins no more tasks until {until}", CampaignState.PAUSED)


@campaigns.command(short_help="Go on with a paused campaign.")
@_name_argument
@config_option
@pass_context
@asynchronous
async def resume(context: Context, config_path: Path | None, name: str) -> None:
    """Go on with a paused campaign."""
    async with open_journal(context.settings(config_path)) as database:
        async with database.transaction() as connection:
            changed = await journal.resume(connection, name, person())
        await _changed(database, name, changed, "goes on", CampaignState.ACTIVE)


@campaigns.command(short_help="End a campaign.")
@_name_argument
@config_option
@pass_context
@asynchronous
async def cancel(context: Context, config_path: Path | None, name: str) -> None:
    """End a campaign for good: none of its videos is begun any more; those that have begun go on."""
    async with open_journal(context.settings(config_path)) as database:
        async with database.transaction() as connection:
            changed = await journal.cancel(connection, name, person())
        await _changed(
            database, name, changed, "is cancelled; what has begun goes on", CampaignState.CANCELLED
        )


async def _changed(database: Database, name: str, changed: bool, done: str, wanted: CampaignState) -> None:
    async with database.connection() as connection:
        found = await journal.campaigns(connection, name)
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, "administration")
    if not found:
        raise PoddispatchdError(f"There is no campaign {name}: see 'poddispatchd campaigns list'.")
    if changed:
        click.echo(f"Campaign {name} {done}.")
    elif found[0].state is wanted:  # typed once more, by a person or by what keeps a machine as it should be
        click.echo(f"Campaign {name} is {wanted.value} already.")
    else:
        raise PoddispatchdError(f"Campaign {name} is {found[0].state.value}: it is over.")
