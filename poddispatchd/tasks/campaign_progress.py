"""How far a campaign is, when it goes on, when it will be done."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.domain.campaigns import expected_end
from poddispatchd.domain.time_windows import TimeWindows, parse_windows
from poddispatchd.journal import campaigns
from poddispatchd.journal.campaigns import Campaign, CampaignState, VideoState

_WIDTH = 30
_ENDS = 200
"""Ends by which it is reckoned when a campaign will be done."""


class CampaignProgress(Struct, frozen=True):
    """A campaign at a moment.

    ``expected``: when it will probably be done; None: that is unknown, or it does nothing. ``windows``: its
    hours; None: any, or none that this release can read.
    """

    campaign: Campaign
    expected: datetime | None
    windows: TimeWindows | None
    now: datetime

    @property
    def words(self) -> list[str]:
        """What there is to say of it, a line each."""
        return list(_words(self.campaign, self.expected, self.windows, self.now))


async def progress_of(
    connection: Connection,
    zone: ZoneInfo,
    now: datetime,
    *,
    name: str | None = None,
    ended_within: float | None = None,
) -> list[CampaignProgress]:
    """How far campaigns are, the latest first.

    Args:
        connection: any one.
        zone: in which their hours are.
        now: this moment.
        name: of the one that is meant; None: all of them.
        ended_within: those that are over only if they ended within so many seconds; None: all of them.

    Raises:
        DatabaseError: they cannot be read.
    """
    found = []
    for campaign in await campaigns.campaigns(connection, name, ended_within=ended_within):
        windows, expected = _windows(campaign, zone), None
        if campaign.state is CampaignState.ACTIVE:
            ends = await campaigns.ends(connection, campaign.id, limit=_ENDS)
            expected = expected_end(now, ends, campaign.left, windows)
        found.append(CampaignProgress(campaign, expected, windows, now))
    return found


def _windows(campaign: Campaign, zone: ZoneInfo) -> TimeWindows | None:
    try:
        return None if campaign.windows is None else TimeWindows(parse_windows(campaign.windows), zone)
    except ValueError:
        return None


def bar(campaign: Campaign) -> str:
    """How far a campaign is: ``[########------] 412 of 1000 (41 %)``. What was cancelled is not done."""
    ended = campaign.videos - campaign.left - campaign.counts[VideoState.CANCELLED]
    # Without videos is one that is being forgotten, from which they go first: all of it has ended.
    done, every = (ended, campaign.videos) if campaign.videos else (1, 1)
    full, percent = _WIDTH * done // every, 100 * done // every
    return f"[{'#' * full}{'-' * (_WIDTH - full)}] {ended} of {campaign.videos} ({percent} %)"


def _words(
    campaign: Campaign, expected: datetime | None, windows: TimeWindows | None, now: datetime
) -> Iterator[str]:
    counts = ", ".join(f"{count} {state.value}" for state, count in campaign.counts.items() if count)
    yield f"{counts}; at most {campaign.at_most} at a time."
    by = f"by {campaign.changed_by}, {_ago(now - campaign.changed_at)} ago"
    match campaign.state:
        case CampaignState.PAUSED:
            yield f"Paused {by}. {campaign.words}".rstrip()
        case CampaignState.CANCELLED:
            yield f"Cancelled {by}."
        case CampaignState.DONE:
            yield f"Done {_ago(now - campaign.changed_at)} ago."
        case CampaignState.ACTIVE:
            yield from _active(campaign, expected, windows, now)


def _active(
    campaign: Campaign, expected: datetime | None, windows: TimeWindows | None, now: datetime
) -> Iterator[str]:
    if windows is not None:
        opens, closes = windows.opens_at(now), windows.closes_at(now)
        if opens is not None and opens > now:
            yield f"Its hours ({windows}) begin in {_ago(opens - now)}."
        elif closes is not None:
            yield f"Its hours ({windows}) end in {_ago(closes - now)}."
    if expected is None:
        yield "When it will be done is unknown: too few of its tasks have ended."
    else:
        yield f"Done in {_ago(expected - now)}, as it went lately."
    if campaign.counts[VideoState.FAILED]:
        yield "Why tasks failed: 'poddispatchd tasks show ID', 'poddispatchd failures list'."


def _ago(time: timedelta) -> str:
    minutes = max(0, round(time.total_seconds() / 60))
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
