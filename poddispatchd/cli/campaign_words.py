"""A campaign in words: how far it is, when it goes on, when it will be done."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from poddispatchd.domain.time_windows import TimeWindows
from poddispatchd.journal.campaigns import Campaign, CampaignState, VideoState

_WIDTH = 30


def bar(campaign: Campaign) -> str:
    """How far a campaign is: ``[########------] 412 of 1000 (41 %)``."""
    ended = campaign.videos - campaign.left
    full, percent = _WIDTH * ended // campaign.videos, 100 * ended // campaign.videos
    return f"[{'#' * full}{'-' * (_WIDTH - full)}] {ended} of {campaign.videos} ({percent} %)"


def state_words(
    campaign: Campaign, expected: datetime | None, windows: TimeWindows | None, now: datetime
) -> Iterator[str]:
    """What there is to say of a campaign, a line each."""
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
