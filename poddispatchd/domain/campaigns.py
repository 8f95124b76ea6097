"""Campaigns: which videos are named, and when one will probably be done."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from poddispatchd.domain.task import VideoId
from poddispatchd.domain.time_windows import TimeWindows

MOST_VIDEOS = 100_000
"""Of one campaign."""

_HIGHEST_ID = 2**63 - 1
"""What Pod's primary keys can be (bigint)."""

_FEWEST_ENDS = 5
"""Fewer ends tell nothing about those to come."""

_LONGEST_LOOK = timedelta(days=3650)

_PART = re.compile(r"(\d+)(?:-(\d+))?")


def parse_videos(text: str) -> list[VideoId]:
    """The videos of ``1,2,5-9``, each once, in the order in which they are named.

    Raises:
        ValueError: it is no such list, or names more than ``MOST_VIDEOS``.
    """
    found: dict[VideoId, None] = {}
    for part in text.replace(" ", "").split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no id: write ids and ranges, as 1,2,5-9")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"{part} ends before it begins")
        if first < 1 or last > _HIGHEST_ID:
            raise ValueError(f"no video can have the id {first if first < 1 else last}")
        # Before the range is made: two ids may name all that there are.
        if len(found) + last - first >= MOST_VIDEOS:
            raise ValueError(f"these are more than {MOST_VIDEOS} videos")
        found |= dict.fromkeys(map(VideoId, range(first, last + 1)))
    return list(found)


def expected_end(
    now: datetime, ends: Sequence[datetime], left: int, windows: TimeWindows | None
) -> datetime | None:
    """When the last of ``left`` tasks will probably have ended; None: there is no basis for saying so.

    They end as often as they did lately, counted by the hours in which they may begin.

    Args:
        now: this moment.
        ends: when the latest tasks ended, in any order.
        left: how many have not.
        windows: the hours in which they may begin; None: any.
    """
    if not left:
        return now
    if len(ends) < _FEWEST_ENDS:
        return None
    first = min(ends)
    spent = _open_seconds(first, now, windows)
    # Between n ends lie n - 1 of them: the first one only tells since when.
    return _after(now, spent / (len(ends) - 1) * left, windows)


def _open_seconds(since: datetime, until: datetime, windows: TimeWindows | None) -> float:
    if windows is None:
        return (until - since).total_seconds()
    return sum(
        (min(ends, until) - max(begins, since)).total_seconds()
        for begins, ends in windows.intervals(since, until)
        if min(ends, until) > max(begins, since)
    )


def _after(now: datetime, seconds: float, windows: TimeWindows | None) -> datetime | None:
    """The moment at which so many open seconds will have passed."""
    if seconds > _LONGEST_LOOK.total_seconds():
        return None
    if windows is None:
        return now + timedelta(seconds=seconds)
    at, step = now, timedelta(days=14)
    while at - now < _LONGEST_LOOK:
        for begins, ends in windows.intervals(at, at + step):
            start, end = max(begins, at), min(ends, at + step)
            if end <= start:
                continue
            length = (end - start).total_seconds()
            if length >= seconds:
                return start + timedelta(seconds=seconds)
            seconds -= length
        at += step
    return None
