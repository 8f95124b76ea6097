"""Which runner manager is offered which task, now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from poddispatchd.domain.task import ManagerId, SiteId, TaskPk, TaskType

PATIENCE = 2.0
"""Seconds a task waits for the answer of a better manager before a worse one is asked instead."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A pending task that may be submitted; ``refused_by`` are the managers that refused its payload."""

    task: TaskPk
    type: TaskType
    site: SiteId
    refused_by: frozenset[ManagerId] = frozenset()


@dataclass(frozen=True, slots=True)
class Lane:
    """One runner manager as the dispatcher sees it; submissions to it go one at a time.

    Times are seconds of one clock. ``closed_until``: the breaker, a rate limit or a misconfiguration.
    ``full_until``: by task type, after a 503. ``last_given``: when it last accepted a task, 0 for never.
    ``busy_since``: when the submission in progress began.
    """

    manager: ManagerId
    site: SiteId
    priority: int
    paused: bool = False
    closed_until: float = 0.0
    full_until: Mapping[TaskType, float] = field(default_factory=dict)
    last_given: float = 0.0
    busy_since: float | None = None

    def can_take(self, offer: Offer, now: float) -> bool:
        """Whether this manager may be asked to take the task, now or when its submission in progress ends."""
        return (
            self.site == offer.site
            and not self.paused
            and self.closed_until <= now
            and self.full_until.get(offer.type, 0.0) <= now
            and self.manager not in offer.refused_by
        )


@dataclass(frozen=True, slots=True)
class Assignment:
    """Submit this task to this manager."""

    task: TaskPk
    manager: ManagerId


def candidates(offer: Offer, lanes: Iterable[Lane], now: float) -> list[Lane]:
    """The managers that may be asked, best first: by priority, in equal turns inside one priority.

    Pod's immediate submission takes turns and its CRON does not; taking turns is what its documentation
    promises. The one least recently given a task comes first, then the lower id.
    """
    able = (lane for lane in lanes if lane.can_take(offer, now))
    return sorted(able, key=lambda lane: (lane.priority, lane.last_given, lane.manager))


def choose(offer: Offer, lanes: Iterable[Lane], now: float, *, taken: frozenset[ManagerId]) -> Lane | None:
    """The manager to submit a task to at once; None to let it wait.

    A manager with a submission in progress is waited for, but no longer than ``PATIENCE``: a slow one must
    not delay the others.
    """
    for _, group in groupby(candidates(offer, lanes, now), key=lambda lane: lane.priority):
        answer_is_near = False
        for lane in group:
            if lane.manager in taken:
                answer_is_near = True
            elif lane.busy_since is None:
                return lane
            elif now - lane.busy_since < PATIENCE:
                answer_is_near = True
        if answer_is_near:
            return None
    return None


def assign(offers: Sequence[Offer], lanes: Sequence[Lane], now: float) -> list[Assignment]:
    """Give tasks, in their order, to managers that can be asked right now; each gets at most one.

    A task that cannot be placed stands in nobody's way.
    """
    assignments: list[Assignment] = []
    taken: frozenset[ManagerId] = frozenset()
    idle = sum(lane.busy_since is None for lane in lanes)
    for offer in offers:
        if len(taken) == idle:
            break
        lane = choose(offer, lanes, now, taken=taken)
        if lane is not None:
            assignments.append(Assignment(offer.task, lane.manager))
            taken |= {lane.manager}
    return assignments


def next_opening(lanes: Iterable[Lane], now: float) -> float | None:
    """When something that may keep a task waiting ends by itself; None when nothing will."""
    moments = [
        moment
        for lane in lanes
        if not lane.paused
        for moment in (
            lane.closed_until,
            *lane.full_until.values(),
            now if lane.busy_since is None else lane.busy_since + PATIENCE,
        )
        if moment > now
    ]
    return min(moments, default=None)


def site_of(
    sites: Sequence[SiteId], *, current: SiteId, served: frozenset[SiteId], with_managers: frozenset[SiteId]
) -> SiteId | None:
    """The site whose address and whose managers a task gets; None when none of its sites is served.

    The current site (SITE_ID) if the task is on it, or on no site at all; else its first site. One that has
    runner managers comes before one that has none: Pod itself offers every task to the managers of the
    current site.
    """
    own = [site for site in (sites or (current,)) if site in served]
    own.sort(key=lambda site: (site not in with_managers, site != current, site))
    return own[0] if own else None
