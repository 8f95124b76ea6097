"""What windows and pauses say of a runner manager at one moment."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf

from msgspec import Struct, field

from poddispatchd.domain.availability import Availability, Openings, Pause, WindowNow, pause_at
from poddispatchd.domain.task import SUBMITTABLE, TaskType
from poddispatchd.domain.timetable_words import TimetableWords


class Timetable(Struct, frozen=True):
    """One runner manager.

    Attributes:
        pause: the one that holds.
        planned: those to come, in their order.
        window: its own windows.
        opens_at: the types for which a window is closed, its own or that of the type, and the first moment at
            which a task of them may begin, None: never.
        shut_for: by type, seconds for which windows and pauses shut it; infinite: nobody knows.
    """

    pause: Pause | None = None
    planned: tuple[Pause, ...] = ()
    window: WindowNow | None = None
    opens_at: Mapping[TaskType, datetime | None] = field(default_factory=dict)
    shut_for: Mapping[TaskType, float] = field(default_factory=dict)

    def words(self, words: TimetableWords) -> list[str]:
        """For people; nothing where there are no windows and no pauses."""
        told = [] if self.pause is None else [words.pause(self.pause)]
        told += words.planned(self.planned)
        return told if self.window is None else [*told, words.window(self.window)]


ALWAYS = Timetable()
"""Without windows and pauses."""


class Timetables:
    """Those of several managers at one moment: what is the same for many is found out once."""

    def __init__(self, availability: Availability, now: datetime) -> None:
        self._availability = availability
        self._now = now
        self._known: dict[tuple[TaskType, str, tuple[Pause, ...]], datetime | None] = {}

    def of(self, name: str, pauses: Sequence[Pause]) -> Timetable:
        """That of the manager of this name."""
        availability, now = self._availability, self._now
        if availability.is_unlimited and not pauses:
            return ALWAYS
        by_windows = {kind: self._opens_at(kind, name, ()) for kind in SUBMITTABLE}
        by_all = {kind: self._opens_at(kind, name, tuple(pauses)) for kind in SUBMITTABLE}
        return Timetable(
            pause=pause_at(pauses, now),
            planned=tuple(sorted((one for one in pauses if one.begins > now), key=lambda one: one.begins)),
            window=WindowNow.of(availability.runner_managers.get(name), now),
            opens_at={kind: by_all[kind] for kind, opens in by_windows.items() if opens != now},
            shut_for={
                kind: inf if opens is None else (opens - now).total_seconds()
                for kind, opens in by_all.items()
                if opens != now
            },
        )

    def openings(self, name: str, pauses: Sequence[Pause]) -> Mapping[str, Openings]:
        """By type, when the manager of this name may be given tasks; a type that is absent: always."""
        if self._availability.is_unlimited and not pauses:
            return {}
        return {
            kind: self._availability.openings(kind, name, self._now, pauses=pauses) for kind in SUBMITTABLE
        }

    def _opens_at(self, kind: TaskType, name: str, pauses: tuple[Pause, ...]) -> datetime | None:
        # Managers without windows of their own share the answer.
        key = (kind, name if name in self._availability.runner_managers else "", pauses)
        if key not in self._known:
            self._known[key] = self._availability.opens_at(kind, name, self._now, pauses=pauses)
        return self._known[key]
