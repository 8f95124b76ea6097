"""When tasks may be submitted to a runner manager: in the windows of their type and of the manager, no pause.

What runs is left alone: windows and pauses only say when something may begin.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import TypeAlias, TypeVar

from msgspec import Struct, field

from poddispatchd.domain.time_windows import TimeWindows

_HORIZON = timedelta(days=15)
"""How far is looked ahead beyond the end of the last pause: windows come again every week."""


_K = TypeVar("_K")


class Pause(Struct, frozen=True):
    """A runner manager gets no task from one moment to another; ``ends`` None: until somebody resumes it."""

    begins: datetime
    ends: datetime | None = None
    reason: str = ""

    def holds(self, now: datetime) -> bool:
        """Whether it gets none at this moment."""
        return self.begins <= now and (self.ends is None or now < self.ends)


def pause_at(pauses: Iterable[Pause], now: datetime) -> Pause | None:
    """The pause that holds; of several the one that ends last."""
    held = [pause for pause in pauses if pause.holds(now)]
    return max(held, key=lambda pause: (pause.ends is None, pause.ends or pause.begins), default=None)


def next_pause(pauses: Iterable[Pause], now: datetime) -> Pause | None:
    """The pause that begins next."""
    return min(
        (pause for pause in pauses if pause.begins > now), key=lambda pause: pause.begins, default=None
    )


def closed_everywhere(
    opens_at: Collection[Mapping[_K, datetime | None]],
) -> dict[_K, datetime | None]:
    """What is closed in every one of these, and when the first of them opens; None: never."""
    common = set.intersection(*(set(each) for each in opens_at)) if opens_at else set()
    return {
        key: min((moment for each in opens_at if (moment := each[key]) is not None), default=None)
        for key in common
    }


class WindowNow(Struct, frozen=True):
    """Windows at one moment: ``hours`` as people write them.

    ``opens_at`` is None while they are open, ``closes_at`` while they are closed, or when they never close.
    """

    hours: str
    is_open: bool
    opens_at: datetime | None = None
    closes_at: datetime | None = None

    @classmethod
    def of(cls, windows: TimeWindows | None, now: datetime) -> "WindowNow | None":
        """These windows at this moment; None for none."""
        if windows is None:
            return None
        opens = windows.opens_at(now)
        is_open = opens == now
        return cls(str(windows), is_open, None if is_open else opens, windows.closes_at(now))


class Openings(Struct, frozen=True):
    """The times in which something may begin, in seconds from now: where each begins and ends."""

    begins: tuple[float, ...] = (0.0,)
    ends: tuple[float, ...] = (inf,)

    def next(self, after: float) -> float:
        """The first moment from this one on; infinite: nobody knows of any."""
        index = bisect_right(self.ends, after)
        return max(after, self.begins[index]) if index < len(self.begins) else inf


ALWAYS = Openings()


class Availability(Struct, frozen=True):
    """The windows of task types and of runner managers, by their names; what is absent is always open."""

    task_types: Mapping[str, TimeWindows] = field(default_factory=dict)
    runner_managers: Mapping[str, TimeWindows] = field(default_factory=dict)

    @property
    def is_unlimited(self) -> bool:
        """Whether there are no windows at all."""
        return not self.task_types and not self.runner_managers

    def opened_at(self, now: datetime) -> dict[str, datetime]:
        """Since when the windows of task types are open, of those that are."""
        found = ((kind, windows.opened_at(now)) for kind, windows in self.task_types.items())
        return {kind: moment for kind, moment in found if moment is not None}

    def opens_at(
        self, kind: str, manager: str, now: datetime, *, pauses: Collection[Pause] = ()
    ) -> datetime | None:
        """The first moment from this one on at which a manager may be given a task of a type.

        None: there is none, as far as anybody knows.
        """
        windows = self._windows(kind, manager)
        if not windows and not pauses:
            return now
        last = max((pause.ends for pause in pauses if pause.ends is not None), default=now)
        latest = max(last, now) + _HORIZON
        moment, before = now, None
        # Each of them moves the moment on: until none does any more.
        while moment != before:
            before = moment
            for each in windows:
                opens = each.opens_at(moment)
                if opens is None:
                    return None
                moment = opens
            if (pause := pause_at(pauses, moment)) is not None:
                if pause.ends is None:
                    return None
                moment = pause.ends
            if moment > latest:
                return None
        return moment

    def openings(self, kind: str, manager: str, now: datetime, *, pauses: Collection[Pause] = ()) -> Openings:
        """All the times within the next days in which a manager may be given a task of a type."""
        spans: list[_Span] = [(0.0, inf)]
        for windows in self._windows(kind, manager):
            spans = _common(spans, [_seconds(span, now) for span in windows.intervals(now, now + _HORIZON)])
        for pause in pauses:
            begins = (pause.begins - now).total_seconds()
            ends = inf if pause.ends is None else (pause.ends - now).total_seconds()
            spans = _common(spans, [(-inf, begins), (ends, inf)])
        return Openings(tuple(begins for begins, _ in spans), tuple(ends for _, ends in spans))

    def _windows(self, kind: str, manager: str) -> list[TimeWindows]:
        found = (self.task_types.get(kind), self.runner_managers.get(manager))
        return [windows for windows in found if windows is not None]


_Span: TypeAlias = tuple[float, float]
"""From one moment to another, in seconds from now."""


def _seconds(interval: tuple[datetime, datetime], now: datetime) -> _Span:
    """What goes on beyond the horizon has no end that would matter."""
    begins, ends = interval
    return (begins - now).total_seconds(), (ends - now).total_seconds() if ends < now + _HORIZON else inf


def _common(some: Sequence[_Span], others: Sequence[_Span]) -> list[_Span]:
    """What lies in both, in the order of the first."""
    return [
        (max(begins, other_begins), min(ends, other_ends))
        for begins, ends in some
        for other_begins, other_ends in others
        if max(begins, other_begins) < min(ends, other_ends)
    ]
