"""Windows in which nothing can ever be submitted, or that belong to no runner manager, for ``check``."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches

from poddispatchd.domain.availability import Availability, WindowNow
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.situation import Finding, Reason, Severity, Situation
from poddispatchd.domain.task import SUBMITTABLE, SiteId
from poddispatchd.domain.timetable_words import TimetableWords


def window_findings(
    availability: Availability,
    managers: Sequence[RunnerManager],
    sites: Mapping[SiteId, str],
    served: Collection[SiteId],
    now: datetime,
) -> Iterator[Finding]:
    """What is wrong with the windows; when they open and close next if nothing is.

    Args:
        availability: the windows.
        managers: all of Pod's.
        sites: the domains of Pod's sites.
        served: the sites whose tasks are handed out.
        now: the moment, in the zone of whoever reads this.
    """
    if availability.is_unlimited:
        return
    found = [
        *_unknown_names(availability, managers),
        *_never_open(availability, managers, sites, served, now),
    ]
    yield from found
    if not found:
        words = TimetableWords(now, Situation(now).clock)
        for name, windows in {**availability.task_types, **availability.runner_managers}.items():
            if (window := WindowNow.of(windows, now)) is not None:
                yield Finding(Reason.WINDOW_CLOSED, Severity.NORMAL, f"{name}: {words.window(window)}.")


def _unknown_names(availability: Availability, managers: Sequence[RunnerManager]) -> Iterator[Finding]:
    names = {manager.name for manager in managers}
    for name in sorted(availability.runner_managers.keys() - names):
        near = get_close_matches(name, names, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(names)) or 'none'}."
        yield Finding(
            Reason.WINDOW_NEVER_OPEN,
            Severity.PROBLEM,
            f"windows.runner_managers: Pod has no runner manager {name!r}{hint}",
        )


def _never_open(
    availability: Availability,
    managers: Sequence[RunnerManager],
    sites: Mapping[SiteId, str],
    served: Collection[SiteId],
    now: datetime,
) -> Iterator[Finding]:
    """Where the windows of a type and of runner managers are never open together."""
    for site in sorted(served):
        active = [manager for manager in managers if manager.site_id == site and manager.is_active]
        for kind in SUBMITTABLE:
            never = [m.name for m in active if availability.opens_at(kind, m.name, now) is None]
            if not never:
                continue
            place, names = sites.get(site, f"site {site}"), ", ".join(never)
            if len(never) == len(active):
                yield Finding(
                    Reason.WINDOW_NEVER_OPEN,
                    Severity.PROBLEM,
                    f"No task of type {kind} is ever submitted for {place}: its window and those of the "
                    f"runner managers there ({names}) are never open together.",
                )
            else:
                yield Finding(
                    Reason.WINDOW_NEVER_OPEN,
                    Severity.NOTICE,
                    f"No task of type {kind} is ever submitted to {names}: windows are never open together.",
                )
