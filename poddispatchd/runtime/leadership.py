"""Who schedules: one daemon of a database, by a lease with a term; how it is kept, and how it is lost."""

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database import migration
from poddispatchd.database.connections import Connection
from poddispatchd.journal import scheduling
from poddispatchd.journal.scheduling import COMMITS_WAIT
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

LEASE = 7.0
"""Seconds for which a daemon schedules unless it renews: another one goes on so long after a kill."""

_RENEW_EVERY = 2.5
"""Seconds: a renewal may fail once without harm, and costs one statement."""

_STANDBY_EVERY = 8.0
_STANDBY_UNHEARD = 2.5
"""Seconds between two looks of a daemon that cannot hear that the leader has resigned."""

_AFTER_A_LEASE = 0.1

HELD = (
    "Another database session holds the row of poddispatchd.leader: while it does, no daemon can go on "
    "scheduling. Find it in pg_stat_activity (state 'idle in transaction')."
)


async def why_held(connection: Connection) -> str:
    """Why the row of the scheduler cannot be had, for people."""
    # A session of ours that waits to commit holds it, long after its daemon has given it up.
    return COMMITS_WAIT if await scheduling.commits_wait(connection) else HELD


class Leadership:
    """This daemon's term as the scheduler, if it has one.

    A row of the journal is leased, by the database's clock: the same with PostgreSQL itself and behind
    poolers, which keep no session. Its end needs no server that finds out that a machine has vanished. Writes
    that name a term match nothing once another one has begun.
    """

    def __init__(self, *, instance: str, clock: Clock) -> None:
        self._instance = instance
        self._clock = clock
        self._term: int | None = None
        self._ends_at = float("-inf")
        self._asked_at = float("-inf")
        self._next_look = 0.0
        self._has_resigned = False

    @property
    def term(self) -> int | None:
        """Our term; None while another one schedules, and once our lease has run out by our own clock."""
        return self._term if self._clock.monotonic() < self._ends_at else None

    def next_look(self) -> float:
        """Seconds until ``attend`` is due."""
        if self._has_resigned:
            return _STANDBY_EVERY  # there is nothing to do any more, though a term may still be there
        if self._term is None:
            return self._next_look
        # Since the last renewal was asked for: whatever the connection does between two must not add up.
        return max(0.0, self._asked_at + _RENEW_EVERY - self._clock.monotonic())

    async def attend(self, connection: Connection, *, hears: bool) -> bool:
        """Renew the lease, or begin a term if nobody else has one.

        Args:
            connection: any one.
            hears: whether this daemon is told when the leader resigns.

        Returns:
            Whether a term has begun.

        Raises:
            SchemaNewerError: a newer release has upgraded our schema; the term is given up.
            SchemaChangedError: our schema is gone, or an older one, as after a restore of the database.
        """
        if self._has_resigned:
            return False
        # Before the statement: the database counts from later on, so that we stop before it lets another one.
        asked_at = self._asked_at = self._clock.monotonic()
        if (term := self._term) is not None:
            with migration.loss_explained():
                version = await scheduling.renew_lease(connection, term, self._instance, seconds=LEASE)
            if await self._gives_back(connection, term):
                return False
            if version is not None:
                await self._hand_over_to(connection, version)
                self._ends_at = asked_at + LEASE
                return False
            self.lose("Another instance schedules.")
        with migration.loss_explained():
            look = await scheduling.take_lease(
                connection, self._instance, seconds=LEASE, schema=migration.LATEST
            )
        if await self._gives_back(connection, look.term):
            return False
        # A standby of an older release ends, too: it could not take over any more.
        migration.check_version(look.schema_version)
        migration.check_upgraded(look.schema_version)
        if look.term is None:
            wait = _STANDBY_EVERY if hears else _STANDBY_UNHEARD
            left = look.seconds_left
            self._next_look = min(wait, left + _AFTER_A_LEASE) if left is not None and left > 0 else wait
            return False
        self._term, self._ends_at = look.term, asked_at + LEASE
        log.info(Event.LEADER_ACQUIRED, term=look.term)
        return True

    async def _gives_back(self, connection: Connection, term: int | None) -> bool:
        """Whether we have resigned while a lease was taken or renewed: nobody is to wait for its end."""
        if self._has_resigned and term is not None:
            await scheduling.end_lease(connection, term, self._instance)
        return self._has_resigned

    async def _hand_over_to(self, connection: Connection, version: int) -> None:
        if version > migration.LATEST:
            term, self._has_resigned = self._term, True
            self.lose("A newer poddispatchd has upgraded the schema: it schedules from now on.")
            if term is not None:
                await scheduling.end_lease(connection, term, self._instance)
        migration.check_version(version)

    def lose(self, reason: str) -> None:
        """Have no term any more."""
        if self._term is not None:
            log.warning(Event.LEADER_LOST, term=self._term, reason=reason)
        self._term = None
        self._next_look = _STANDBY_UNHEARD

    def withdraw(self) -> None:
        """Begin no term any more: also without a connection to give the lease back with, and before it."""
        self._has_resigned = True

    async def resign(self, connection: Connection) -> None:
        """Give the lease back for good, so that nobody has to wait for its end."""
        self.withdraw()
        await self.release(connection)

    async def release(self, connection: Connection) -> None:
        """Give the lease back for now: the connection that kept it ends."""
        term, self._term = self._term, None
        self._next_look = _STANDBY_UNHEARD
        if term is not None:
            await scheduling.end_lease(connection, term, self._instance)
