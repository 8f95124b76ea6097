"""The office of the scheduler: who has it, how it is kept, and how it is lost."""

import asyncpg
import structlog

from poddispatchd.clock import Clock
from poddispatchd.journal import scheduling
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

LEASE = 7.0
"""Seconds for which a daemon behind a pooler schedules unless it renews."""

_RENEW_EVERY = 2.0
_STANDBY_EVERY = 8.0
_AFTER_A_LEASE = 0.1


class Leadership:
    """This daemon's term as the scheduler, if it has one.

    With a session of its own it holds an advisory lock, which ends with the session. Behind a pooler a lock
    would stay on a server that others get, or last until the pooler finds out that we have vanished, in hours
    perhaps: there it holds a lease, by the database's clock. Daemons of both kinds exclude each other
    (``scheduling``).
    """

    def __init__(self, *, instance: str, clock: Clock) -> None:
        self._instance = instance
        self._clock = clock
        self._term: int | None = None
        self._ends_at = float("inf")
        self._is_leased = False
        self._next_look = _STANDBY_EVERY

    @property
    def term(self) -> int | None:
        """Our term; None while another one schedules, and as soon as a lease has run out by our own clock."""
        return self._term if self._clock.monotonic() < self._ends_at else None

    def next_look(self, relaxed: float) -> float:
        """Seconds until ``attend`` is due; ``relaxed`` for a term that needs no renewal."""
        if self._term is None:
            return self._next_look
        return _RENEW_EVERY if self._is_leased else relaxed

    async def attend(self, connection: "asyncpg.Connection[asyncpg.Record]", *, leased: bool) -> bool:
        """Renew the lease, or begin a term if nobody else has one; whether one has begun."""
        asked_at = self._clock.monotonic()
        if self._term is not None and leased:
            if await scheduling.renew_lease(connection, self._term, seconds=LEASE):
                self._ends_at = asked_at + LEASE
            else:
                self.lose("Another instance schedules.")
        if self._term is not None:
            return False
        if leased:
            term = await scheduling.take_lease(connection, self._instance, seconds=LEASE)
        else:
            term = await scheduling.take_lead(connection, self._instance)
        if term is None:
            left = await scheduling.lease_left(connection)
            ends_in = left if left is not None and left > 0 else _STANDBY_EVERY
            self._next_look = min(_STANDBY_EVERY, ends_in + _AFTER_A_LEASE)
            return False
        self._term, self._is_leased = term, leased
        self._ends_at = asked_at + LEASE if leased else float("inf")
        log.info(Event.LEADER_ACQUIRED, term=term)
        return True

    def lose(self, reason: str) -> None:
        """Have no term any more."""
        if self._term is not None:
            log.warning(Event.LEADER_LOST, term=self._term, reason=reason)
        self._term = None

    async def resign(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Give a lease back, so that nobody has to wait for its end; a lock goes with its session."""
        if self._term is not None and self._is_leased:
            await scheduling.end_lease(connection, self._term)
        self._term = None
