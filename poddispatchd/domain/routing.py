"""Which runner manager is offered which task, now."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from math import inf

from msgspec import Struct, field

from poddispatchd.domain.task import SUBMITTABLE, ManagerId, SiteId, TaskPk, TaskType

ANSWERS_WITHIN = 2.0
"""Seconds a task waits for the answer of a better manager before a worse one is asked instead."""

_SOON = 60.0
"""Seconds: who is closed for longer, by its breaker or a misconfiguration, is not waited for."""


class Offer(Struct, frozen=True):
    """A pending task that may be submitted.

    ``refused_by`` are the managers that refused its payload, ``lost_by`` those at which a run of it came to
    nothing: others come first, and until ``others_until`` it is for others alone, if one of them works.
    """

    task: TaskPk
    type: TaskType
    site: SiteId
    refused_by: frozenset[ManagerId] = frozenset()
    lost_by: frozenset[ManagerId] = frozenset()
    others_until: float = 0.0


class Lane(Struct, frozen=True):
    """One runner manager as the dispatcher sees it; submissions to it go one at a time.

    Times are seconds of one clock. ``closed_until``: the breaker, a rate limit or a misconfiguration.
    ``full_until``: by task type, after a 503. ``last_given``: when it last accepted a task, 0 for never.
    ``shut_until``: by task type, what windows and pauses shut; infinite while nobody knows until when.
    ``busy_since``: when the submission in progress began. ``is_slow``: its last answer took longer than
    ``ANSWERS_WITHIN``. ``is_doubtful``: its last answers were lost: all others come first, for a task whose
    answer is lost may be with it for long. ``is_steady``: it took its last tasks, and may be asked again at
    once. ``takes_next``: it can be given a task that follows the submission in progress.
    """

    manager: ManagerId
    site: SiteId
    priority: int
    paused: bool = False
    closed_until: float = 0.0
    full_until: Mapping[TaskType, float] = field(default_factory=dict)
    shut_until: Mapping[TaskType, float] = field(default_factory=dict)
    last_given: float = 0.0
    busy_since: float | None = None
    is_slow: bool = False
    is_doubtful: bool = False
    is_steady: bool = False
    takes_next: bool = False

    @property
    def is_open(self) -> bool:
        """Whether a task can be given to this manager now, if it has room for it."""
        return self.busy_since is None or self.takes_next

    def has_room(self, kind: TaskType, now: float) -> bool:
        """Whether this manager may be asked to take such a task, now or after its submission in progress."""
        return (
            not self.paused
            and self.closed_until <= now
            and self.full_until.get(kind, 0.0) <= now
            and self.shut_until.get(kind, 0.0) <= now
        )

    def works_for(self, offer: Offer, now: float) -> bool:
        """Whether the task would be given to this manager as soon as it has room for it."""
        return (
            self.site == offer.site
            and not self.paused
            and self.closed_until <= now + _SOON
            and self.shut_until.get(offer.type, 0.0) <= now
            and self.manager not in offer.refused_by
        )

    def types_with_room(self, now: float) -> tuple[TaskType, ...]:
        """The types of which this manager may be asked to take a task, as ``has_room``."""
        return tuple(kind for kind in SUBMITTABLE if self.has_room(kind, now))

    def can_take(self, offer: Offer, now: float) -> bool:
        """Whether this manager may be asked to take the task, now or after its submission in progress."""
        return (
            self.site == offer.site
            and self.has_room(offer.type, now)
            and self.manager not in offer.refused_by
        )

    def answers_soon(self, now: float) -> bool:
        """Whether a submission is in progress whose answer is worth waiting for."""
        return self.busy_since is not None and not self.is_slow and now - self.busy_since < ANSWERS_WITHIN


class Assignment(Struct, frozen=True):
    """Submit this task to this manager."""

    task: TaskPk
    manager: ManagerId


def candidates(offer: Offer, lanes: Iterable[Lane], now: float) -> list[Lane]:
    """The managers that may be asked, best first: by priority, in equal turns inside one priority.

    Pod's immediate submission takes turns and its CRON does not; taking turns is what its documentation
    promises. The one least recently given a task comes first, then the lower id; before both those that can
    take it at once.
    """
    return sorted((lane for lane in lanes if lane.can_take(offer, now)), key=_preference)


def _preference(lane: Lane) -> tuple[bool, int, bool, float, ManagerId]:
    return lane.is_doubtful, lane.priority, lane.takes_next, lane.last_given, lane.manager


def choose(
    ordered: Iterable[Lane],
    now: float,
    *,
    taken: Collection[ManagerId],
    refused_by: Collection[ManagerId] = (),
) -> Lane | None:
    """The manager to submit a task to at once, of those that may be asked; None to let it wait.

    A manager with a submission in progress is waited for, but no longer than ``ANSWERS_WITHIN``, and not at
    all when it was slow the last time: a slow one must not delay the others. Then worse managers get the
    task.
    """
    for _, group in groupby(ordered, key=lambda lane: (lane.is_doubtful, lane.priority)):
        answer_is_near = False
        for lane in group:
            if lane.manager in refused_by:
                continue
            if lane.manager in taken:
                answer_is_near = answer_is_near or not lane.is_slow
            elif lane.is_open:
                return lane
            else:
                answer_is_near = answer_is_near or lane.answers_soon(now)
        if answer_is_near:
            return None
    return None


def assign(offers: Iterable[Offer], lanes: Sequence[Lane], now: float) -> list[Assignment]:
    """Give tasks, in their order, to managers that are open; each gets at most one.

    A task that cannot be placed stands in nobody's way.
    """
    assignments: list[Assignment] = []
    taken: set[ManagerId] = set()
    still_open, spared = sum(lane.is_open for lane in lanes), _Spared(lanes, now)
    # Tasks of one type and site see the same managers: they are put in order once, not for each task.
    ordered: dict[tuple[SiteId, TaskType], list[Lane]] = {}
    for offer in offers:
        if len(taken) == still_open:
            break
        kind = (offer.site, offer.type)
        if kind not in ordered:
            ordered[kind] = candidates(Offer(offer.task, offer.type, offer.site), lanes, now)
        passed_over = offer.refused_by | spared.of(offer)
        lane = choose(ordered[kind], now, taken=taken, refused_by=passed_over)
        if lane is not None:
            assignments.append(Assignment(offer.task, lane.manager))
            taken.add(lane.manager)
    return assignments


class _Spared:
    """The managers that do not get a task because its runs came to nothing there and others are to have it.

    One that loses whatever it takes has room at once, and would get all runs that a task may have. Tasks that
    are alike see the same managers: these are looked at once, not for each task.
    """

    def __init__(self, lanes: Iterable[Lane], now: float) -> None:
        self._lanes = lanes
        self._now = now
        self._known: dict[tuple[object, ...], frozenset[ManagerId]] = {}

    def of(self, offer: Offer) -> frozenset[ManagerId]:
        """Those of one task."""
        if not offer.lost_by:
            return offer.lost_by
        is_kept = self._now < offer.others_until
        alike = offer.site, offer.type, offer.lost_by, offer.refused_by, is_kept
        if alike not in self._known:
            is_for_others = any(
                lane.can_take(offer, self._now) or (is_kept and lane.works_for(offer, self._now))
                for lane in self._lanes
                if lane.manager not in offer.lost_by
            )
            self._known[alike] = offer.lost_by if is_for_others else frozenset()
        return self._known[alike]


def by_site(lanes: Iterable[Lane]) -> Mapping[SiteId, set[ManagerId]]:
    """The managers of each site that are to take tasks, now or later; none of a site without any."""
    able: dict[SiteId, set[ManagerId]] = defaultdict(set)
    for lane in lanes:
        able[lane.site].add(lane.manager)
    return able


def capacity(lanes: Iterable[Lane], now: float) -> dict[TaskType, frozenset[SiteId]]:
    """The sites on which some manager can be asked at once to take a task of a type; no type without one."""
    found: dict[TaskType, set[SiteId]] = {}
    for lane in lanes:
        for kind in SUBMITTABLE:
            if lane.is_open and lane.has_room(kind, now):
                found.setdefault(kind, set()).add(lane.site)
    return {kind: frozenset(sites) for kind, sites in found.items()}


def unserved(
    offers: Iterable[Offer], lanes: Sequence[Lane], now: float, among: Iterable[Lane] | None = None
) -> list[Lane]:
    """The managers that can be asked at once but are to get none of these tasks.

    Without this question a page of tasks that wait for something else, or for somebody else, would hide those
    behind it.

    Args:
        offers: the tasks.
        lanes: all managers: some tasks are kept for those that are full now.
        now: by the clock of the lanes.
        among: of which managers it is asked; None: of all.
    """
    asked = lanes if among is None else among
    waiting = [lane for lane in asked if lane.is_open and any(lane.has_room(t, now) for t in SUBMITTABLE)]
    spared = _Spared(lanes, now)
    for offer in offers:
        if not waiting:
            break
        left_out = spared.of(offer)
        waiting = [lane for lane in waiting if lane.manager in left_out or not lane.can_take(offer, now)]
    return waiting


def next_opening(lanes: Iterable[Lane], now: float) -> float | None:
    """When something that may keep a task waiting ends by itself; None when nothing will."""
    moments = [
        moment
        for lane in lanes
        if not lane.paused
        for moment in (
            lane.closed_until,
            *lane.full_until.values(),
            now if lane.busy_since is None or lane.is_slow else lane.busy_since + ANSWERS_WITHIN,
        )
        if moment > now
    ]
    return min(moments, default=None)


def next_window(lanes: Iterable[Lane], now: float) -> float | None:
    """When a window opens next, or a pause ends; None when none will."""
    moments = (moment for lane in lanes for moment in lane.shut_until.values() if now < moment < inf)
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
