"""How far a campaign is, for people and as JSON."""

from zoneinfo import ZoneInfo

import click
from msgspec.structs import asdict

from poddispatchd.cli.common import (
    print_json,
    shown,
)
from poddispatchd.cli.tables import print_table
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal import campaigns as journal
from poddispatchd.journal.campaigns import VideoState
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


def as_dict(progress: CampaignProgress) -> dict[str, object]:
    """A campaign for JSON."""
    found = asdict(progress.campaign)
    counts = found.pop("counts")
    return (
        found | {state.value: count for state, count in counts.items()} | {"expected_end": progress.expected}
    )
