"""Fair share: inside a class of Pod's order, whoever had least runner time lately goes first.

Runner time is counted for a party: an owner or an establishment. A task is reckoned to begin when its party
has had what it had lately and, besides, what its own tasks before it will take: those that are reckoned to
begin first go first, so that parties take turns and nobody's many tasks hold up the few of others.

How far a task is put back is measured in the runner time of those that overtook it: that stand behind it in
Pod's order and were given a runner which could have taken it. It may be overtaken once more only if that will
not put it back for longer than the longest delay: who overtakes is reckoned to have the runner for as long as
nine of ten runs take. Else it goes by Pod's order again, before all of its class whom this has not yet come
to. So nobody is put back for longer, but for what a run takes beyond that (``test_fair_share.py`` has the
exact bounds).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct, field

from poddispatchd.domain.task import TaskPk

HALF_LIFE = 86400.0
"""Seconds after which runner time counts half: what was had lately is what matters."""

UNKNOWN_RUN = 600.0
"""Seconds that a run is reckoned to take while none of its type has ended."""

Place: TypeAlias = tuple[datetime, TaskPk]
"""Where a task stands inside its class in Pod's order; less is earlier."""

Kind: TypeAlias = tuple[int, str]
"""A class of Pod's order and a type of task."""


class FairShare(StrEnum):
    """Whose runner time is counted."""

    NONE = "none"
    OWNER = "owner"
    ESTABLISHMENT = "establishment"


class Claim(Struct, frozen=True):
    """A pending task; ``priority`` is its class in Pod's order, ``party`` whose runner time it will be."""

    task: TaskPk
    priority: int
    type: str
    date_added: datetime
    party: str

    @property
    def place(self) -> Place:
        """Where it stands in its class in Pod's order."""
        return self.date_added, self.task

    @property
    def kind(self) -> Kind:
        """Its class and type."""
        return self.priority, self.type


class Overtaking(Struct, frozen=True):
    """A task was given a runner that tasks of a type before it in Pod's order could have had.

    ``priority`` and ``place`` are those of the task, ``type`` is that of those before it. ``seconds`` is how
    long it has had the runner, ``reckoned`` how long it will have had it in the end, no less than that; both
    are divided by the number of runners that work on tasks of that type.
    """

    priority: int
    type: str
    place: Place
    seconds: float
    reckoned: float


class FairOrder(Struct, frozen=True):
    """What an order by fair share rests on.

    Attributes:
        by: whose runner time is counted; not ``NONE``.
        used: seconds of it that each party had lately.
        costs: seconds that a run of each type takes.
        due: up to which place tasks of a class and a type go by Pod's order.
    """

    by: FairShare
    used: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    due: Mapping[Kind, Place] = field(default_factory=dict)


def fair_order(claims: Iterable[Claim], order: FairOrder) -> list[Claim]:
    """Pending tasks in the order in which they are handed out: ``fair_queue`` of queue.sql, in memory.

    Args:
        claims: all of them.
        order: with the runner time of what runs as well.
    """
    begins: dict[tuple[int, str], float] = defaultdict(float)
    placed = []
    for claim in sorted(claims, key=lambda claim: (claim.priority, claim.place)):
        own = (claim.priority, claim.party)
        is_due = claim.kind in order.due and claim.place < order.due[claim.kind]
        begin = order.used.get(claim.party, 0.0) + begins[own]
        placed.append((claim.priority, not is_due, 0.0 if is_due else begin, claim.place, claim))
        begins[own] += order.costs.get(claim.type, UNKNOWN_RUN)
    return [claim for *_, claim in sorted(placed, key=lambda each: each[:-1])]


def may_put_back(longest: float, run: float) -> bool:
    """Whether anybody can be overtaken at all by a run of so many seconds; else it is Pod's order."""
    return run <= longest


def due_places(overtakings: Collection[Overtaking], longest: float, run: float) -> dict[Kind, Place]:
    """Up to which places tasks go by Pod's order, by class and type: ``due`` of fair_share.sql, in memory.

    Args:
        overtakings: all of them.
        longest: seconds for which a task may be put back.
        run: seconds for which whoever is next is reckoned to have a runner. It is not divided by the number
            of runners: that many tasks may be handed out before overtakings are looked at again.
    """
    by_kind: dict[Kind, list[Overtaking]] = defaultdict(list)
    for overtaking in overtakings:
        by_kind[overtaking.priority, overtaking.type].append(overtaking)
    due: dict[Kind, Place] = {}
    for kind, several in by_kind.items():
        put_back_for = 0.0
        for overtaking in sorted(several, key=lambda each: each.place, reverse=True):
            put_back_for += overtaking.reckoned
            if put_back_for > longest - run:
                due[kind] = overtaking.place
                break
    return due


def put_back(claim: Claim, overtakings: Iterable[Overtaking]) -> float:
    """Seconds for which a task has been put back beyond Pod's order."""
    return sum(
        overtaking.seconds
        for overtaking in overtakings
        if (overtaking.priority, overtaking.type) == claim.kind and overtaking.place > claim.place
    )
