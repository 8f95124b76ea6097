"""Hours of the week in which something may begin: ``20:00-07:00``, ``mon-fri 18:00-08:00; sat,sun``.

A window opens on each of its days and may reach into the next one. Its hours are those of a wall clock: a
time that the clock skips is the moment of the change, of a time that it shows twice the first counts. So
windows that follow each other neither overlap nor leave a gap when the clocks change, and one of them is an
hour shorter or longer.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from msgspec import Struct

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY_DAY = frozenset(range(7))
_DAY = 24 * 60

_HORIZON = timedelta(days=15)
"""How far is looked ahead: a window of one day a week can be empty once, when the clocks change."""

_BACK = timedelta(days=2)
"""A window that opened on an earlier day has closed by now."""

_WINDOW = re.compile(
    r"(?P<days>[a-z]{3}(?:\s*[-,]\s*[a-z]{3})*)?\s*"
    r"(?:(?P<opens>\d\d?:\d\d)\s*-\s*(?P<closes>\d\d?:\d\d))?"
)

_FORM = "write hours as 20:00-07:00, with days before them as mon-fri or sat,sun if they are not of every day"


class Window(Struct, frozen=True):
    """One window: minutes since the midnight with which each of its days begins.

    ``days``: 0 is Monday. ``closes`` is more than ``opens``, and beyond 24 h on the next day.
    """

    days: frozenset[int] = _EVERY_DAY
    opens: int = 0
    closes: int = _DAY

    def __str__(self) -> str:
        hours = "" if (self.opens, self.closes) == (0, _DAY) else f"{_time(self.opens)}-{_time(self.closes)}"
        if self.days == _EVERY_DAY:
            return hours or "00:00-24:00"
        return f"{_days(self.days)} {hours}".rstrip()


class TimeWindows(Struct, frozen=True):
    """Windows of one time zone; something may begin while any of them is open."""

    windows: tuple[Window, ...]
    zone: ZoneInfo

    def __str__(self) -> str:
        return format_windows(self.windows)

    def is_open(self, now: datetime) -> bool:
        """Whether something may begin at this moment."""
        return self.opens_at(now) == now

    def opens_at(self, now: datetime) -> datetime | None:
        """The first moment, from this one on, at which something may begin; None: there is none."""
        # Mostly it is open now: then the days to come need not be made.
        for until in (now, now + _HORIZON):
            for begins, _ in self.intervals(now, until):
                return max(begins, now)
        return None

    def opened_at(self, now: datetime) -> datetime | None:
        """Since when something may begin, if it may now; of windows that never close, some days ago."""
        return next((begins for begins, ends in self.intervals(now, now) if ends > now), None)

    def closes_at(self, now: datetime) -> datetime | None:
        """Until when something may begin, if it may now; None: it may not now, or there is no end to it."""
        until = now + _HORIZON
        begins, ends = next(self.intervals(now, until), (until, until))
        return ends if begins <= now and ends < until else None

    def intervals(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The times in which something may begin that touch a period, in their order: first moment and end.

        The first may begin before the period and the last end after it; what follows without a gap is one.
        """
        found = sorted(
            interval
            for interval in self._single(since, until)
            if interval[0] < interval[1] and interval[1] > since and interval[0] <= until
        )
        held: tuple[datetime, datetime] | None = None
        for begins, ends in found:
            if held is not None and begins <= held[1]:
                held = (held[0], max(held[1], ends))
                continue
            if held is not None:
                yield held
            held = (begins, ends)
        if held is not None:
            yield held

    def _single(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        day = (since.astimezone(self.zone) - _BACK).date()
        last = until.astimezone(self.zone).date()
        while day <= last:
            for window in self.windows:
                if day.weekday() in window.days:
                    yield _moment(self.zone, day, window.opens), _moment(self.zone, day, window.closes)
            day += timedelta(days=1)


def parse_windows(text: str) -> tuple[Window, ...]:
    """Windows from ``20:00-07:00`` or ``mon-fri 18:00-08:00; sat,sun``.

    Raises:
        ValueError: it is no such text.
    """
    return tuple(_window(part.strip().lower()) for part in text.split(";"))


def format_windows(windows: Sequence[Window]) -> str:
    """The shortest way to write windows."""
    return "; ".join(str(window) for window in windows)


def _window(text: str) -> Window:
    match = _WINDOW.fullmatch(text)
    if not text or match is None:
        raise ValueError(_FORM)
    days = _EVERY_DAY if match["days"] is None else _named_days(match["days"])
    if match["opens"] is None:
        return Window(days)
    opens, closes = _minutes(match["opens"], most=_DAY - 1), _minutes(match["closes"], most=_DAY)
    if opens == closes:
        raise ValueError(f"{text} is never open: write 00:00-24:00 for the whole day")
    return Window(days, opens, closes if closes > opens else closes + _DAY)


def _named_days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in re.split(r"\s*,\s*", text):
        names = re.split(r"\s*-\s*", part)
        if len(names) > 2 or any(name not in _DAYS for name in names):
            raise ValueError(f"days are {', '.join(_DAYS)}: {_FORM}")
        first, last = _DAYS.index(names[0]), _DAYS.index(names[-1])
        days |= {day % 7 for day in range(first, (last if last >= first else last + 7) + 1)}
    return frozenset(days)


def _minutes(text: str, *, most: int) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes > 59 or hours * 60 + minutes > most:
        raise ValueError(f"there is no time {text}: {_FORM}")
    return hours * 60 + minutes


def _time(minutes: int) -> str:
    minutes = minutes if minutes <= _DAY else minutes - _DAY
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _days(days: frozenset[int]) -> str:
    """Days as runs of neighbours: ``mon-fri,sun``; the week is no circle."""
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(_DAYS[run[0]] if len(run) == 1 else f"{_DAYS[run[0]]}-{_DAYS[run[-1]]}" for run in runs)


@lru_cache(maxsize=4096)
def _moment(zone: ZoneInfo, day: date, minutes: int) -> datetime:
    """The first moment at which the clocks of a zone show this time of a day, or a later one."""
    shown = datetime.combine(day, time()) + timedelta(minutes=minutes)
    # Of a time that is shown twice this is the first (fold 0).
    found = shown.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == shown:
        return found
    # The clock skips this time: the change lies between the moments by the clocks of after and before.
    early, late = shown.replace(tzinfo=zone, fold=1).astimezone(UTC), found
    offset = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + timedelta(seconds=(late - early) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late
