"""How long everything took to come back, read from the daemons' logs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chaos.logs import Line
from chaos.setting import Stage
from chaos.timeline import Incident, Kind


@dataclass(frozen=True, slots=True)
class Recovery:
    """A kind of recovery and how many seconds each one took."""

    name: str
    seconds: tuple[float, ...]


_DISTURBING = (
    Kind.DAEMON_KILL,
    Kind.LEADER_KILL,
    Kind.DAEMON_STOP,
    Kind.DAEMON_PAUSE,
    Kind.DATABASE_RESTART,
    Kind.LINK_CUT,
    Kind.LINK_STALL,
    Kind.LINK_HALF_OPEN,
    Kind.LINK_DELAY,
)
"""What makes another recovery longer: those are left out."""

_HORIZON = 30.0


def recoveries(
    stage: Stage, logs: Mapping[str, list[Line]], completed_at: Mapping[str, float]
) -> list[Recovery]:
    """All that can be told; ``completed_at`` is when the task of a manager's id was completed.

    Of daemons and links only those that nothing else disturbed; of callbacks all.
    """
    timeline = stage.timeline

    def alone(*kinds: Kind) -> list[Incident]:
        return [one for one in timeline.of(*kinds) if not _is_disturbed(one, timeline.of(*_DISTURBING))]

    half_open = alone(Kind.LINK_HALF_OPEN)
    return [
        Recovery("dead leader: another one schedules", _take_overs(logs, alone(Kind.LEADER_KILL))),
        Recovery(
            "daemon kill: started again and ready",
            _after(logs, alone(Kind.DAEMON_KILL, Kind.LEADER_KILL), "daemon.ready", since_end=True),
        ),
        Recovery(
            "database restart: taken up again",
            tuple(
                seconds
                for name in logs
                for seconds in _until(logs[name], alone(Kind.DATABASE_RESTART), "database.up")
            ),
        ),
        Recovery("half-open link: found out", _after(logs, half_open, "database.down")),
        Recovery("half-open link: works again", _after(logs, half_open, "database.up")),
        Recovery("stalled link: found out", _after(logs, alone(Kind.LINK_STALL), "database.down")),
        Recovery(
            "lost callback: task completed",
            tuple(
                completed_at[task] - at
                for task, at in stage.relay.swallowed.items()
                if completed_at.get(task, 0.0) > at
            ),
        ),
    ]


def _is_disturbed(one: Incident, others: Iterable[Incident]) -> bool:
    until = min(one.end, one.begin + _HORIZON) + 10.0
    return any(other is not one and other.begin < until and other.end > one.begin - 5.0 for other in others)


def _until(lines: Iterable[Line], incidents: list[Incident], event: str) -> list[float]:
    """Seconds from the end of incidents to the next line of an event, if it comes before the next one."""
    found = []
    listed = list(lines)
    for number, one in enumerate(incidents):
        limit = incidents[number + 1].begin if number + 1 < len(incidents) else float("inf")
        at = next((line.at for line in listed if line.event == event and line.at >= one.end), None)
        if at is not None and at < min(limit, one.end + 60):
            found.append(at - one.end)
    return found


def _after(
    logs: Mapping[str, list[Line]], incidents: list[Incident], event: str, *, since_end: bool = False
) -> tuple[float, ...]:
    """Seconds from incidents to the next line of an event of their target."""
    found = []
    for one in incidents:
        begin = one.end if since_end else one.begin
        at = next(
            (line.at for line in logs.get(one.target, ()) if line.event == event and line.at >= begin), None
        )
        if at is not None and at - begin < 90:
            found.append(at - begin)
    return tuple(found)


def _take_overs(logs: Mapping[str, list[Line]], kills: list[Incident]) -> tuple[float, ...]:
    """Seconds from the kill of a leader until any daemon schedules."""
    gained = sorted(line.at for lines in logs.values() for line in lines if line.event == "leader.acquired")
    return tuple(
        next(at for at in gained if at >= kill.begin) - kill.begin
        for kill in kills
        if any(at >= kill.begin for at in gained)
    )
