"""What really happened of what was caused: a fault that nobody met proves nothing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from chaos.evidence import Evidence
from chaos.timeline import Incident, Kind

_WRONG = 5.0
"""Seconds by which a clock differs from the database's when it is called wrong."""

_SAME = 3.0
"""Seconds between the time that an import writes down and its commit, at most."""

_NO_SPACE = ("No space left", "keep_free")
"""How a daemon's lines tell that the disk is full."""

_SEEN_IN_LOGS = (Kind.ROW_LOCKED, Kind.READ_ONLY, Kind.MIGRATION)
"""Faults that have happened when a daemon has told of them."""

_TOLD_WITHIN = 5.0
"""Seconds after such a fault in which a daemon may tell of it."""

_BY_ENDPOINT: Mapping[str, Kind] = {
    "execute": Kind.SUBMISSION_ANSWERS,
    "file": Kind.DOWNLOADS,
    "result": Kind.DOWNLOADS,
    "slow": Kind.MANAGER_SLOW,
    "mute": Kind.MANAGER_MUTE,
}


@dataclass(frozen=True, slots=True)
class Effect:
    """How often a kind of fault was caused, and how often it took effect.

    One order to a manager may spoil several answers or none, so that these counts differ in both directions.
    """

    kind: Kind
    caused: int
    happened: int


def effects(evidence: Evidence) -> list[Effect]:
    """Every kind, those that never happened included."""
    caused = Counter(one.kind for one in evidence.timeline.incidents)
    happened = Counter(one.kind for one in evidence.timeline.incidents if one.happened)
    happened.update(kind_of(entry) for entry in evidence.noted if entry["what"] == "met")
    happened[Kind.RUNNER_DEATH] = sum(entry["what"] == "runner died" for entry in evidence.noted)
    happened[Kind.CLOCK_STEP] = _steps_seen(evidence)
    for kind in _SEEN_IN_LOGS:
        happened[kind] = sum(_is_told(evidence, one) for one in evidence.timeline.of(kind))
    return [Effect(kind, caused[kind], happened[kind]) for kind in Kind]


def kind_of(met: Mapping[str, object]) -> Kind:
    """The kind of fault that a manager says a request met."""
    if met.get("status") == 429:
        return Kind.RATE_LIMIT
    if met.get("kind") == "unended":
        return Kind.UNENDED_BODIES
    return _BY_ENDPOINT.get(str(met["endpoint"]), Kind.STATUS_ANSWERS)


def spoilt_answers(evidence: Evidence) -> Counter[str]:
    """How often each way of spoiling an answer was met, by endpoint."""
    return Counter(
        " ".join(str(entry[key]) for key in ("endpoint", "kind", "status") if entry.get(key) is not None)
        for entry in evidence.noted
        if entry["what"] == "met"
    )


def notes(evidence: Evidence) -> list[str]:
    """Other signs that faults reached the daemons, in words."""
    skewed = [one for one in evidence.imports if one.skew is not None and abs(one.skew) > _WRONG]
    full = evidence.timeline.of(Kind.DISK_FULL)
    no_space = [
        line
        for line in evidence.events("media.obstructed", "media.not_writable", "import.retried")
        if any(word in line.text for word in _NO_SPACE)
        and any(one.covers(line.at, after=5.0) for one in full)
    ]
    unknown = [line for line in evidence.events("callback.ignored") if line.task is None]
    return [
        f"imports committed under a wrong clock: {len(skewed)}",
        f"times that a daemon found no space on the disk: {len(no_space)}",
        f"callbacks of runs that no row knows: {len(unknown)}",
    ]


def _steps_seen(evidence: Evidence) -> int:
    """Steps of clocks after which some import was dated by that clock."""
    seen = [one.skew for one in evidence.imports if one.skew is not None]
    wanted = [float(one.detail.split()[0]) for one in evidence.timeline.of(Kind.CLOCK_STEP)]
    return sum(any(abs(skew - step) < _SAME for skew in seen) for step in wanted)


def _is_told(evidence: Evidence, one: Incident) -> bool:
    """Whether a daemon has met a fault: it names the SQLSTATE, or the task whose row is held."""
    lines = (
        line for lines in evidence.logs.values() for line in lines if one.covers(line.at, after=_TOLD_WITHIN)
    )
    if one.kind is Kind.ROW_LOCKED:
        return any(line.event == "row.locked" and one.target == f"task {line.task}" for line in lines)
    return any(f"({one.detail})" in line.text for line in lines)
