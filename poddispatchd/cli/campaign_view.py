"""How far a campaign is, for people and as JSON."""

from zoneinfo import ZoneInfo

import click
from msgspec.structs import asdict

from poddispatchd.cli.common import (
    print_json,
    shown,
)
from poddispatchd.cli.situation import daemon_state, read_journal, situation
from poddispatchd.cli.tables import print_table
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.campaign_reasons import HeldCampaign, why_campaign
from poddispatchd.domain.task import SUBMITTABLE, TaskStatus
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal import campaigns as journal
from poddispatchd.journal.campaigns import CampaignState, VideoState
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import queue_stats
from poddispatchd.tasks.campaign_progress import CampaignProgress, bar, progress_of

_LATEST = 50


def zone_of(settings: Settings) -> ZoneInfo:
    """In which the hours of campaigns are."""
    return ZoneInfo(settings.pod.time_zone)


async def show_campaign(database: Database, settings: Settings, name: str, *, as_json: bool) -> None:
    """Print how far a campaign is, and what became of its latest videos.

    Raises:
        PoddispatchdError: there is no such campaign.
    """
    states = (VideoState.RUNNING, VideoState.FAILED, VideoState.SKIPPED)
    async with database.connection() as connection:
        found = await progress_of(connection, zone_of(settings), Clock().now(), name=name)
        if not found:
            raise PoddispatchdError(f"There is no campaign {name}: see 'poddispatchd campaigns list'.")
        videos = await journal.videos_of(connection, found[0].campaign.id, states, limit=_LATEST)
    [progress] = found
    campaign = progress.campaign
    if as_json:
        print_json(as_dict(progress) | {"latest": [asdict(video) for video in videos]})
        return
    click.echo(
        f"{campaign.name}: {campaign.task_type.value} of {campaign.videos} videos, {campaign.state.value}"
    )
    click.echo(f"  {bar(campaign)}")
    for words in progress.words:
        click.echo(f"  {shown(words)}")
    if (held := await _why_held(database, settings, progress)) is not None:
        click.echo(f"  Why no task of it is added now: {shown(held)}")
    if videos:
        click.echo()
    print_table(
        ("video", "state", "task", "since", "reason"),
        [
            (video.video, video.state.value, video.task, video.changed_at, video.words or None)
            for video in videos
        ],
        empty="",
    )


async def _why_held(database: Database, settings: Settings, progress: CampaignProgress) -> str | None:
    """Why it adds no task, as far as that is known."""
    campaign = progress.campaign
    if campaign.state is not CampaignState.ACTIVE or not campaign.counts[VideoState.WAITING]:
        return None
    if progress.windows is not None and not progress.windows.is_open(progress.now):
        return None  # that is said already
    journal_rows = await read_journal(database)
    managers = await pod_managers.runner_managers(database)
    surroundings = await situation(settings, database, journal_rows, managers, await daemon_state(settings))
    stats = await queue_stats.queue_stats(database)
    held = HeldCampaign(
        type=campaign.task_type,
        running=campaign.counts[VideoState.RUNNING],
        at_most=campaign.at_most,
        pending=sum(stats.count(kind, TaskStatus.PENDING) for kind in SUBMITTABLE),
    )
    return why_campaign(held, surroundings)


def as_dict(progress: CampaignProgress) -> dict[str, object]:
    """A campaign for JSON."""
    found = asdict(progress.campaign)
    counts = found.pop("counts")
    return (
        found | {state.value: count for state, count in counts.items()} | {"expected_end": progress.expected}
    )
