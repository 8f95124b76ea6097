"""How many tasks a runner manager works on at once, as far as its past tells: it never says so itself."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta

from msgspec import Struct, field

from poddispatchd.domain.availability import Openings
from poddispatchd.domain.run_times import EndedRun
from poddispatchd.domain.task import ManagerId, SiteId

_RARE = 0.05
"""A level held for less of the busy time is none: results are brought in while the next task runs already."""


class ManagerNow(Struct, frozen=True):
    """A runner manager at this moment.

    Attributes:
        id: its id.
        site: the site whose tasks it takes.
        is_usable: whether tasks are given to it: active, not paused, and up.
        full_for: the types for which it has no room.
        openings: by type, when tasks may begin there; a type that is absent: always.
    """

    id: ManagerId
    site: SiteId
    is_usable: bool = True
    full_for: frozenset[str] = frozenset()
    openings: Mapping[str, Openings] = field(default_factory=dict)


class Capacity(Struct, frozen=True):
    """Slots of a runner manager; ``taken`` of them hold what is not ours; ``types`` it takes (None: any).

    ``openings`` are those of the manager.
    """

    manager: ManagerId
    site: SiteId
    slots: int
    taken: int
    types: frozenset[str] | None
    openings: Mapping[str, Openings] = field(default_factory=dict)


def slots_seen(runs: Iterable[EndedRun]) -> dict[ManagerId, int]:
    """The highest number of runs that each manager had at once for a good part of the time it was busy."""
    edges: dict[ManagerId, list[tuple[float, int]]] = defaultdict(list)
    for run in runs:
        if run.manager is not None and run.ran > 0:
            begun = run.ended_at - timedelta(seconds=run.ran)
            edges[run.manager] += [(begun.timestamp(), 1), (run.ended_at.timestamp(), -1)]
    return {manager: _level(found) for manager, found in edges.items()}


def _level(edges: list[tuple[float, int]]) -> int:
    held: dict[int, float] = defaultdict(float)
    level, since = 0, 0.0
    # An end sorts before a beginning of the same moment: the two were not side by side.
    for moment, change in sorted(edges):
        if level:
            held[level] += moment - since
        level, since = level + change, moment
    busy, above = sum(held.values()), 0.0
    for level in sorted(held, reverse=True):
        above += held[level]
        if above >= _RARE * busy:
            return level
    return 1


def capacities(
    managers: Iterable[ManagerNow], runs: Collection[EndedRun], running: Mapping[ManagerId, int]
) -> list[Capacity]:
    """What can be expected of the managers that are given tasks.

    Args:
        managers: all of Pod's.
        runs: that ended lately.
        running: tasks of ours on each of them now.
    """
    seen = slots_seen(runs)
    types: dict[ManagerId, set[str]] = defaultdict(set)
    for run in runs:
        if run.manager is not None:
            types[run.manager].add(run.type)
    found = []
    for manager in managers:
        if not manager.is_usable:
            continue
        ours = running.get(manager.id, 0)
        slots = max(1, ours, seen.get(manager.id, 0))
        known = frozenset(types[manager.id]) if manager.id in types else None
        is_full = bool(manager.full_for) if known is None else known <= manager.full_for
        found.append(
            Capacity(manager.id, manager.site, slots, slots - ours if is_full else 0, known, manager.openings)
        )
    return found
