"""What the campaign did and when: the causes that the oracle holds everything else against."""

import json
import time
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
    UPGRADE = "daemon: upgraded"
    CLOCK_STEP = "daemon: its machine's clock jumps"
    MANAGER_KILL = "manager: kill -9"
    MANAGER_PAUSE = "manager: SIGSTOP, SIGCONT"
    MANAGER_SLOW = "manager: every answer late"
    MANAGER_LINK_CUT = "manager link: cut and refused"
    MANAGER_LINK_STALL = "manager link: stalled"
    MANAGER_LINK_HALF_OPEN = "manager link: half open"
    RUNNER_DEATH = "runner: dies, comes back later"
    MANAGER_MUTE = "manager: does everything, answers nothing"
    TOKEN_ROTATED = "manager: another token"
    RATE_LIMIT = "manager: 429"
    SUBMISSION_ANSWERS = "manager: answers to submissions spoilt"
    STATUS_ANSWERS = "manager: answers to questions spoilt"
    DOWNLOADS = "manager: downloads spoilt"
    UNENDED_BODIES = "manager: HTTP/1.0 bodies, cut"
    DATABASE_RESTART = "database: immediate restart"
    POOLER_KILL = "pooler: kill -9"
    POOLER_CROWDED = "pooler: every server taken"
    POOLER_END = "pooler: ended by itself"
    LEADER_CUT = "leader's database link: cut and refused"
    LINK_CUT = "database link: cut and refused"
    LINK_STALL = "database link: stalled"
    LINK_HALF_OPEN = "database link: half open"
    LINK_DELAY = "database link: delayed"
    ROW_LOCKED = "task's row: held by another session"
    ROW_REFUSED = "task's row: its callback refused"
    TABLE_REFUSED = "database: writes of a table refused"
    TABLE_LOCKED = "database: tables locked to be changed"
    DATABASE_FULL = "database: its disk full"
    READ_ONLY = "database: read-only sessions"
    MIGRATION = "database: a table migrated"
    DISK_FULL = "disk: full"
    MEDIA_HUNG = "media tree: writes hang"
    MEDIA_STOPPED = "media tree: everything hangs"
    MEDIA_EMPTY = "media tree: empty"
    CALLBACK_SWALLOWED = "callback: answered 200, lost"
    CALLBACK_DROPPED = "callback: dropped before Pod"
    CALLBACK_ANSWER_LOST = "callback: its answer dropped"
    CALLBACK_DUPLICATED = "callback: repeated later"
    CALLBACK_DELAYED = "callback: late"
    CALLBACK_POISONED = "callback: a poisoned one before it"
    CALLBACK_OVERTAKEN = "callback: overtaken by a later one"
    POD_SUBMITS = "Pod: submits a row itself"
    TWIN_ROWS = "Pod: two rows for one source"
    TWIN_IDS = "Pod: two rows with one id"
    POD_NOWHERE = "Pod: a running row without id"


UNWANTED = (Kind.POOLER_END,)
"""What the campaign does not cause, and has to reckon with."""

OF_THE_POOLER = (Kind.POOLER_KILL, Kind.POOLER_CROWDED, *UNWANTED)

OF_STATEMENTS = (
    Kind.ROW_LOCKED,
    Kind.ROW_REFUSED,
    Kind.TABLE_REFUSED,
    Kind.TABLE_LOCKED,
    Kind.DATABASE_FULL,
    Kind.READ_ONLY,
    Kind.MIGRATION,
)
"""Faults that refuse statements; the detail of each is the SQLSTATE that they are refused with."""

OF_THE_MEDIA_TREE = (Kind.DISK_FULL, Kind.MEDIA_HUNG, Kind.MEDIA_STOPPED, Kind.MEDIA_EMPTY)

OF_A_REAL_DISK = (Kind.MEDIA_HUNG, Kind.MEDIA_STOPPED, Kind.MEDIA_EMPTY)
"""What only root can cause."""

OF_THE_DATABASE = (
    Kind.DATABASE_RESTART,
    Kind.DATABASE_FULL,
    Kind.READ_ONLY,
    *OF_THE_POOLER,
    Kind.LEADER_CUT,
    Kind.LINK_CUT,
    Kind.LINK_STALL,
    Kind.LINK_HALF_OPEN,
    Kind.LINK_DELAY,
)

OF_A_DAEMON = (Kind.DAEMON_KILL, Kind.LEADER_KILL, Kind.DAEMON_STOP, Kind.DAEMON_PAUSE, Kind.UPGRADE)


@dataclass(slots=True)
class Incident:
    """One fault: who was hit, from when to when (seconds of the epoch); endless while it lasts.

    ``happened`` is set by whoever caused it and saw that it really took effect: a process that was killed, a
    disk that takes no byte more, a link on which bytes were held back.
    """

    kind: Kind
    target: str
    begin: float
    end: float = float("inf")
    detail: str = ""
    happened: bool = False

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
        """Record a fault without a length, which has happened."""
        now = time.time()
        self.incidents.append(Incident(kind, target, now, now, detail, happened=True))

    def of(self, *kinds: Kind) -> list[Incident]:
        """The incidents of some kinds, in the order they began."""
        return [one for one in self.incidents if one.kind in kinds]

    def save(self, path: Path) -> None:
        """Write it down for whoever reads the logs afterwards."""
        path.write_text(json.dumps([asdict(one) for one in self.incidents], indent=1), encoding="utf-8")
