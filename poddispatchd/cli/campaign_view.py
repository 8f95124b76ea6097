"""How far a campaign is, for people and as JSON."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click
from msgspec.structs import asdict

from poddispatchd.cli.campaign_words import bar, state_words
from poddispatchd.cli.common import (
    print_json,
    shown,
)
from poddispatchd.cli.tables import print_table
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.campaigns import expected_end
from poddispatchd.domain.time_windows import TimeWindows, parse_windows
from poddispatchd.errors import PoddispatchdError
from poddispatchd.journal import campaigns as journal
from poddispatchd.journal.campaigns import Campaign, CampaignState, VideoState

_LATEST = 50
_ENDS = 200
"""Ends by which it is reckoned when a campaign will be done."""


async def show_campaign(database: Database, settings: Settings, name: str, *, as_json: bool) -> None:
    """Print how far a campaign is, and what became of its latest videos.

    Raises:
        PoddispatchdError: there is no such campaign.
    """
    states = (VideoState.RUNNING, VideoState.FAILED, VideoState.SKIPPED)
    async with database.connection() as connection:
        found = await journal.campaigns(connection, name)
        if not found:
            raise PoddispatchdError(f"There is no campaign {name}: see 'poddispatchd campaigns list'.")
        videos = await journal.videos_of(connection, found[0].id, states, limit=_LATEST)
    [campaign] = found
    expected = await expected_at(database, settings, campaign)
    if as_json:
        print_json(as_dict(campaign, expected) | {"latest": [asdict(video) for video in videos]})
        return
    click.echo(
        f"{campaign.name}: {campaign.task_type.value} of {campaign.videos} videos, {campaign.state.value}"
    )
    click.echo(f"  {bar(campaign)}")
    for words in state_words(campaign, expected, _windows(campaign, settings), Clock().now().astimezone(UTC)):
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


def _windows(campaign: Campaign, settings: Settings) -> TimeWindows | None:
    if campaign.windows is None:
        return None
    return TimeWindows(parse_windows(campaign.windows), ZoneInfo(settings.pod.time_zone))


async def expected_at(database: Database, settings: Settings, campaign: Campaign) -> datetime | None:
    """When it will probably be done; None: that is unknown, or it does nothing."""
    if campaign.state is not CampaignState.ACTIVE:
        return None
    async with database.connection() as connection:
        ends = await journal.ends(connection, campaign.id, limit=_ENDS)
    return expected_end(Clock().now(), ends, campaign.left, _windows(campaign, settings))


def as_dict(campaign: Campaign, expected: datetime | None) -> dict[str, object]:
    """A campaign for JSON."""
    found = asdict(campaign)
    counts = found.pop("counts")
    return found | {state.value: count for state, count in counts.items()} | {"expected_end": expected}
