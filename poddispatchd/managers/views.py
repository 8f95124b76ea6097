"""Runner managers as rows, journal and configuration tell of them: how they answer only a daemon knows."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from poddispatchd.domain.availability import Availability
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.situation import ManagerView
from poddispatchd.domain.task import ManagerId
from poddispatchd.journal.scheduling import ManagerMemory
from poddispatchd.managers.timetable import Timetables


def views_of_rows(
    managers: Iterable[RunnerManager],
    memories: Mapping[ManagerId, ManagerMemory],
    availability: Availability,
    now: datetime,
) -> tuple[ManagerView, ...]:
    """The managers for a diagnosis."""
    timetables = Timetables(availability, now)
    views = []
    for manager in managers:
        timetable = timetables.of(manager.name, memories.get(manager.id, ManagerMemory()).pauses)
        pause = timetable.pause
        views.append(
            ManagerView(
                id=manager.id,
                name=manager.name,
                site=manager.site_id,
                is_active=manager.is_active,
                is_paused=pause is not None,
                paused_until=None if pause is None else pause.ends,
                pause_reason="" if pause is None else pause.reason,
                opens_at=timetable.opens_at,
            )
        )
    return tuple(views)
