"""How long everything took to come back, read from the daemons' logs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from chaos.evidence import Evidence
from chaos.logs import Line
from chaos.timeline import OF_A_DAEMON, OF_THE_DATABASE, Incident, Kind
from chaos.violation import Violation

_HORIZON = 30.0
"""Seconds of a long fault in which nothing else may happen for its recovery to count."""

_QUIET_BEFORE, QUIET_AFTER = 5.0, 10.0
"""Seconds around a fault in which nothing else may happen for its recovery to count."""

_LONGEST = 90.0
"""Seconds after which what comes is not taken for the recovery any more."""

_DISTURBING = (*OF_THE_DATABASE, *OF_A_DAEMON)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A kind of recovery and how many seconds each one took; ``limit`` is what none may exceed."""

    name: str
    seconds: tuple[float, ...]
    limit: float | None = None


def recoveries(evidence: Evidence, swallowed: dict[str, float]) -> list[Recovery]:
    """All that can be told; ``swallowed`` is when the callback of a manager's id was lost.

    Of daemons and links only those that nothing else disturbed count.
    """
    kills = _alone(evidence, Kind.DAEMON_KILL, Kind.LEADER_KILL)
    lost = list(_lost_callbacks(evidence, swallowed))
    return [
        Recovery("lost callback: task completed", tuple(took for took, calm in lost if calm)),
        Recovery("lost callback, other faults meanwhile", tuple(took for took, calm in lost if not calm)),
        Recovery(
            "daemon kill: ready after its start", _each(kills, _own(evidence, "daemon.ready"), from_end=True)
        ),
        Recovery(
            "dead leader: another one schedules",
            _each(_alone(evidence, Kind.LEADER_KILL), _anyones(evidence, "leader.acquired")),
            limit=10.0,
        ),
        Recovery(
            "leader cut off: somebody schedules",
            _each(
                _of_leaders(evidence, _alone(evidence, Kind.LEADER_CUT, Kind.LINK_CUT, Kind.LINK_HALF_OPEN)),
                _anyones(evidence, "leader.acquired"),
            ),
            limit=30.0,
        ),
        Recovery("database restart: taken up again", _taken_up(evidence, Kind.DATABASE_RESTART)),
        *(
            [Recovery("pooler kill: taken up again", _taken_up(evidence, Kind.POOLER_KILL))]
            if evidence.timeline.of(Kind.POOLER_KILL)
            else []
        ),
        Recovery(
            "half-open link: found out",
            _each(_alone(evidence, Kind.LINK_HALF_OPEN), _own(evidence, "database.down")),
        ),
        Recovery(
            "half-open link: works again",
            _each(_alone(evidence, Kind.LINK_HALF_OPEN), _own(evidence, "database.up")),
        ),
    ]


def late(found: Sequence[Recovery]) -> list[Violation]:
    """Recoveries that took longer than they may."""
    return [
        Violation("late", f"{one.name}: {seconds:.1f} s, more than {one.limit:.0f} s")
        for one in found
        for seconds in one.seconds
        if one.limit is not None and seconds > one.limit
    ]


def _alone(evidence: Evidence, *kinds: Kind) -> list[Incident]:
    """Incidents that nothing else disturbed."""
    others = evidence.timeline.of(*_DISTURBING)
    return [one for one in evidence.timeline.of(*kinds) if one.happened and not _is_disturbed(one, others)]


def _is_disturbed(one: Incident, others: Sequence[Incident]) -> bool:
    until = min(one.end, one.begin + _HORIZON) + QUIET_AFTER
    return any(
        other is not one and other.begin < until and other.end > one.begin - _QUIET_BEFORE for other in others
    )


_Told = Callable[[Incident], Sequence[Line]]


def _own(evidence: Evidence, event: str) -> _Told:
    """Lines of an event of the daemon that an incident hit."""
    return lambda incident: [line for line in evidence.logs.get(incident.target, ()) if line.event == event]


def _anyones(evidence: Evidence, event: str) -> _Told:
    """Lines of an event of any daemon."""
    lines = evidence.events(event)
    return lambda _: lines


def _taken_up(evidence: Evidence, kind: Kind) -> tuple[float, ...]:
    """Seconds from the end of each fault that hit all daemons until each that lost the database has it again.

    Behind a pooler that goes on waiting for the database a short fault is not even noticed.
    """
    found: list[float] = []
    for name, lines in evidence.logs.items():
        losses = [line for line in lines if line.event == "database.down"]
        noticed = [
            one
            for one in _alone(evidence, kind)
            if any(one.covers(line.at, after=QUIET_AFTER) for line in losses)
        ]
        found += _each(noticed, _lines(evidence, name, "database.up"), from_end=True)
    return tuple(found)


def _lines(evidence: Evidence, daemon: str, event: str) -> _Told:
    """Lines of an event of one daemon."""
    lines = [line for line in evidence.logs[daemon] if line.event == event]
    return lambda _: lines


def _each(incidents: Sequence[Incident], told: _Told, *, from_end: bool = False) -> tuple[float, ...]:
    """Seconds from each incident to the first line that answers it, if one does before the next incident."""
    found = []
    for number, one in enumerate(incidents):
        begin = one.end if from_end else one.begin
        limit = incidents[number + 1].begin if number + 1 < len(incidents) else float("inf")
        at = next((line.at for line in told(one) if line.at >= begin), None)
        if at is not None and at < min(limit, begin + _LONGEST):
            found.append(at - begin)
    return tuple(found)


def _of_leaders(evidence: Evidence, incidents: Sequence[Incident]) -> list[Incident]:
    """Those that hit the daemon which scheduled at that moment."""
    acquired = [
        (line.at, name)
        for name, lines in evidence.logs.items()
        for line in lines
        if line.event == "leader.acquired"
    ]
    found = []
    for one in incidents:
        before = [entry for entry in acquired if entry[0] < one.begin]
        if before and max(before)[1] == one.target:
            found.append(one)
    return found


def _lost_callbacks(evidence: Evidence, swallowed: dict[str, float]) -> Iterator[tuple[float, bool]]:
    """Seconds from a lost callback to the end of its task, and whether nothing else was broken meanwhile."""
    by_id = {row.task_id: row.pk for row in evidence.rows.values() if row.task_id is not None}
    completed = {line.task: line.at for line in evidence.events("task.completed")}
    for task_id, at in swallowed.items():
        end = completed.get(by_id.get(task_id))
        if end is not None and end > at:
            broken = (
                one for one in evidence.timeline.incidents if not one.kind.startswith(("callback", "Pod"))
            )
            yield end - at, not any(one.begin < end and one.end > at for one in broken)
