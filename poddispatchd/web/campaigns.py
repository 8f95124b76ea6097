"""Campaigns for the page and the JSON: how far they are, when they will be done, why one is paused."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from poddispatchd.journal.campaigns import VideoState
from poddispatchd.tasks.campaign_progress import CampaignProgress, bar


class CampaignReport(Struct, frozen=True):
    """A campaign.

    ``reason``: why it was paused, if it was by itself. ``counts``: its videos by what became of them.
    ``bar`` and ``words`` are for people. ``expected_end``: None when that is unknown, or it does nothing.
    """

    name: str
    type: str
    state: str
    reason: str
    videos: int
    left: int
    counts: dict[VideoState, int]
    at_most: int
    windows: str | None
    expected_end: datetime | None
    bar: str
    words: tuple[str, ...]


def campaign_reports(known: Iterable[CampaignProgress]) -> tuple[CampaignReport, ...]:
    """Campaigns as they were when they were read."""
    return tuple(
        CampaignReport(
            name=progress.campaign.name,
            type=progress.campaign.task_type.value,
            state=progress.campaign.state.value,
            reason=progress.campaign.words,
            videos=progress.campaign.videos,
            left=progress.campaign.left,
            counts=progress.campaign.counts,
            at_most=progress.campaign.at_most,
            windows=progress.campaign.windows,
            expected_end=progress.expected,
            bar=bar(progress.campaign),
            words=tuple(progress.words),
        )
        for progress in known
    )
