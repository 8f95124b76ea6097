"""What the campaign did and when: the causes that the oracle holds everything else against."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """A kind of fault; the text says who is hit and how."""

    DAEMON_KILL = "daemon: kill -9"
    LEADER_KILL = "leader: kill -9"
    DAEMON_STOP = "daemon: SIGTERM and start"
    DAEMON_PAUSE = "daemon: SIGSTOP, SIGCONT"
    DAEMON_RELOAD = "daemon: SIGHUP"
    DAEMON_BAD_RELOAD = "daemon: SIGHUP on a bad file"
    MANAGER_KILL = "manager: kill -9"
    MANAGER_PAUSE = "manager: SIGSTOP, SIGCONT"
    RUNNER_DEATH = "runner: dies, comes back later"
    ANSWERS = "manager: answers lost, late, wrong"
    DOWNLOADS = "manager: downloads cut, dropped, late"
    DATABASE_RESTART = "database: immediate restart"
    LINK_CUT = "database link: cut and refused"
    LINK_STALL = "database link: stalled"
    LINK_HALF_OPEN = "database link: half open"
    LINK_DELAY = "database link: delayed"
    DISK_FULL = "disk: full"
    CALLBACK_SWALLOWED = "callback: answered 200, lost"
    CALLBACK_DROPPED = "callback: dropped before Pod"
    CALLBACK_ANSWER_LOST = "callback: its answer dropped"
    CALLBACK_DUPLICATED = "callback: repeated later"
    CALLBACK_DELAYED = "callback: late, overtaken"


@dataclass(slots=True)
class Incident:
    """One fault: who was hit, from when to when (seconds of the epoch); endless while it lasts."""

    kind: Kind
    target: str
    begin: float
    end: float = float("inf")
    detail: str = ""

    def covers(self, moment: float, *, before: float = 0.5, after: float = 0.0) -> bool:
        """Whether a moment lies in it, give or take so many seconds."""
        return self.begin - before <= moment <= self.end + after


@dataclass(slots=True)
class Timeline:
    """Every incident of a campaign."""

    incidents: list[Incident] = field(default_factory=list)

    @contextmanager
    def incident(self, kind: Kind, target: str, detail: str = "") -> Iterator[Incident]:
        """Record a fault that lasts as long as the block."""
        one = Incident(kind, target, time.time(), detail=detail)
        self.incidents.append(one)
        try:
            yield one
        finally:
            one.end = time.time()

    def moment(self, kind: Kind, target: str, detail: str = "") -> None:
        """Record a fault without a length."""
        now = time.time()
        self.incidents.append(Incident(kind, target, now, now, detail))

    def of(self, *kinds: Kind) -> list[Incident]:
        """The incidents of some kinds, in the order they began."""
        return [one for one in self.incidents if one.kind in kinds]

    def save(self, path: Path) -> None:
        """Write it down for whoever reads the logs afterwards."""
        path.write_text(json.dumps([asdict(one) for one in self.incidents], indent=1), encoding="utf-8")

    def counts(self) -> Counter[Kind]:
        """How often each kind happened."""
        return Counter(one.kind for one in self.incidents)
