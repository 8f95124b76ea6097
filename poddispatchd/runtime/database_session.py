"""The daemon's one connection beside the pool: it listens, and keeps the lease of the scheduler."""

import asyncio
import logging
from contextlib import suppress

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.connections import NO_ANSWER, GuardedConnection, answered_within
from poddispatchd.database.pool import Database
from poddispatchd.database.poolers import Pooling
from poddispatchd.errors import (
    DatabaseError,
    DatabaseStateError,
    DatabaseUnavailableError,
    RowLockedError,
    SchemaNewerError,
    StatementEndedError,
)
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.runtime.leadership import Leadership, why_held
from poddispatchd.runtime.outage import Outage
from poddispatchd.runtime.wakeups import Wakeup, Wakeups

log = structlog.get_logger(__name__)

CHANNEL = "poddispatchd_task"
"""Where the optional trigger announces a change of the queue."""

QUEUES_CHANGED = "queues"
"""What a person's change of the journal's queues is announced as there."""

_PROBE_EVERY = 25.0
_PROBE_TIMEOUT = 5.0
_FAREWELL = 2.0

_TO_LEADERS = ("leader ", "schema ")
"""How announcements begin that concern who schedules, not the queue."""


class DatabaseSession:
    """Listens for changes of the queue where that is possible, and sees to it that somebody schedules.

    All is proved by round trips. A daemon that lost the database lost its term. ``pooling`` is what the
    connection leads to: behind a pooler that gives each transaction another server nobody can listen.
    """

    def __init__(
        self, database: Database, *, instance: str, wakeups: Wakeups, clock: Clock, metrics: Metrics
    ) -> None:
        self._database = database
        self._instance = instance
        self._wakes = wakeups
        self._clock = clock
        self._metrics = metrics
        self._up = asyncio.Event()
        self._outage = Outage(clock)
        self._attention = Wakeup()
        self._echo = asyncio.Event()
        self._probes = 0
        self._connection: GuardedConnection | None = None
        self.leadership = Leadership(instance=instance, clock=clock)
        """Of this daemon."""
        self._probe_at = 0.0
        self._echo_by: float | None = None
        """Until when the last probe is to come back; None when it has, or will not."""
        self.pooling = Pooling.NONE
        self.listening = False
        self.problem: str | None = None
        self.lease_problem: str | None = None
        """Why nobody can become the scheduler, in words; None as long as that is possible."""

    @property
    def term(self) -> int | None:
        """This daemon's term as the scheduler; None while another one schedules."""
        return self.leadership.term

    @property
    def is_up(self) -> bool:
        """Whether the database answered when last asked."""
        return self._up.is_set()

    async def available(self) -> None:
        """Wait until the database answers."""
        await self._up.wait()

    def suspect(self) -> None:
        """Someone met a lost connection: look at once."""
        self._attention.ring()

    async def run(self) -> None:
        """Connect, hold, and connect again, for ever.

        Raises:
            SchemaNewerError: a newer release has upgraded our schema: this daemon schedules no more.
        """
        try:
            while True:
                try:
                    await self._connect()
                    self._outage.end()
                    await self._hold()
                except SchemaNewerError:
                    raise
                except DatabaseError as error:
                    self._lost(error)
                    await self._give_up(error)
                except Exception as error:  # without this connection nothing would ever be scheduled again
                    log.exception(Event.SERVICE_CRASHED, job="database session")
                    self._lost(
                        DatabaseError(f"The connection to the database failed ({type(error).__name__}).")
                    )
                    await self._close()
                await self._outage.wait()
        finally:
            await self._close()

    async def _connect(self) -> None:
        connection = await self._database.dedicated_connection()
        self._connection = connection
        # The driver calls it when the socket ends: the loss is met at once, not with the next renewal.
        connection.add_termination_listener(lambda _: self._attention.ring())
        await self._find_pooler(connection)
        if self.pooling is not Pooling.TRANSACTION:
            await connection.add_listener(CHANNEL, self._notified)
            self.listening = await self._round_trip(connection)
        # Listening comes before: a leader that resigns between the two would not be heard.
        await self._lead(connection)
        if not self._up.is_set():
            log.info(Event.DATABASE_UP, listening=self.listening)
        self.problem = None
        self._up.set()
        self._show()
        # Whatever was announced while nobody listened is found by looking at everything.
        self._wakes.ring_all()

    async def _hold(self) -> None:
        """Return only by an exception: the connection is lost."""
        connection = self._connection
        while connection is not None:
            rung = await self._attention.wait(min(self.leadership.next_look(), self._until_listening))
            if connection.is_closed():
                raise DatabaseUnavailableError("The database closed the connection.")
            # The lease first, and no wait for a notification between two renewals: one that does not come
            # back would cost the term.
            await self._lead(connection)
            if self.pooling is not Pooling.TRANSACTION:
                await self._look_at_listening(connection, is_suspect=rung)
            self._show()

    async def _find_pooler(self, connection: GuardedConnection) -> None:
        known, self.pooling = self.pooling, await self._database.pooling_of(connection)
        if self.pooling is not known:
            level = logging.WARNING if self.pooling is Pooling.TRANSACTION else logging.INFO
            log.log(level, Event.POOLER_CHANGED, pooling=self.pooling.value, meaning=self.pooling.meaning)

    @property
    def _until_listening(self) -> float:
        """Seconds until a probe is to be sent, or the last one to have come back."""
        if self.pooling is Pooling.TRANSACTION:
            return _PROBE_EVERY
        due = self._probe_at if self._echo_by is None else self._echo_by
        return max(0.0, due - self._clock.monotonic())

    async def _look_at_listening(self, connection: GuardedConnection, *, is_suspect: bool) -> None:
        """Send a probe when one is due; the answer, or that there is none, comes beside."""
        now = self._clock.monotonic()
        if self._echo_by is not None:
            if now < self._echo_by:
                return
            self._echo_by = None
            self._hears(listening=False)
        if is_suspect or self._probe_at <= now:
            await self._send_probe(connection)

    def _hears(self, *, listening: bool) -> None:
        if listening != self.listening:
            self.listening = listening
            log.warning(Event.LISTENER_CHANGED, listening=listening)

    async def _lead(self, connection: GuardedConnection) -> None:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                begun = await self.leadership.attend(connection, hears=self.listening)
        except TimeoutError:
            if self.pooling is Pooling.NONE:
                raise DatabaseUnavailableError(NO_ANSWER) from None
            # No lock_timeout is set behind a pooler: if anything is answered, it is the row that is held.
            async with answered_within(_FAREWELL):
                await connection.execute("SELECT 1")
            await self._blocked(connection)
        except RowLockedError:
            await self._blocked(connection)
        else:
            self.lease_problem = None
            if begun:
                self._wakes.ring_all()

    async def _blocked(self, connection: GuardedConnection) -> None:
        """Whatever holds the row, the database answers: our term goes on until its lease ends."""
        reason = await why_held(connection)
        known, self.lease_problem = self.lease_problem, reason
        if reason != known:
            log.warning(Event.LEADER_BLOCKED, reason=reason)

    async def resign(self) -> None:
        """Give the term up for good: this daemon stops, and another one schedules at once."""
        self.leadership.withdraw()
        with suppress(DatabaseError, TimeoutError):
            async with asyncio.timeout(_FAREWELL), self._database.connection() as connection:
                await self.leadership.resign(connection)
        self._show()

    async def _send_probe(self, connection: GuardedConnection) -> None:
        """Announce something to ourselves: behind a pooler it may not come back."""
        now = self._clock.monotonic()
        # Numbered: the echo of an earlier probe proves nothing about now.
        self._probes += 1
        self._probe_at, self._echo_by = now + _PROBE_EVERY, now + _PROBE_TIMEOUT
        self._echo.clear()
        async with answered_within(_PROBE_TIMEOUT):
            if self._up.is_set() and not self.listening:
                # Whatever ended the subscription, as a reset by a pooler does, need not end it for good.
                await connection.execute(f"LISTEN {CHANNEL}")
            await connection.execute(
                "SELECT pg_notify($1, $2)", CHANNEL, f"probe {self._instance} {self._probes}"
            )

    async def _round_trip(self, connection: GuardedConnection) -> bool:
        """Whether a notification sent on this connection comes back; it is waited for, and no term runs."""
        await self._send_probe(connection)
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                await self._echo.wait()
        except TimeoutError:
            self._echo_by = None
            return False
        return True

    def _notified(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if text.startswith("probe "):
            if text == f"probe {self._instance} {self._probes}":
                self._echo_by = None
                self._echo.set()
                if self._up.is_set():
                    self._hears(listening=True)
            return
        if text.startswith(_TO_LEADERS):
            self._attention.ring()
            return
        if text == QUEUES_CHANGED:
            self._wakes.ring_all()
        if text == "administration":
            # A person did something: it is told and counted at once.
            self._wakes.maintenance.ring()
            self._wakes.administration.ring()
            self._wakes.stops.ring()
            self._wakes.campaigns.ring()
        self._wakes.dispatcher.ring()

    def _lost(self, error: DatabaseError) -> None:
        if self._outage.is_news(error):
            log.error(Event.DATABASE_DOWN, error=str(error))
        self.leadership.lose("The database is lost.")
        self.problem = str(error)
        self.listening = False
        self._up.clear()
        self._show()

    def _show(self) -> None:
        self._metrics.database_up.set(self._up.is_set())
        self._metrics.listener_up.set(self.listening)
        self._metrics.leader.set(self.term is not None)

    async def _give_up(self, error: DatabaseError) -> None:
        """Close the lost connection, and have the pool's not tried in vain."""
        # Where the server answers, or has closed the socket, nobody waits for it in vain.
        answers = isinstance(error, DatabaseStateError | StatementEndedError)
        silent = not answers and self._connection is not None and not self._connection.is_closed()
        await self._close()
        with suppress(DatabaseError):
            await self._database.expire(silent=silent)

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        try:
            with suppress(DatabaseError, TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await self.leadership.release(connection)
                await connection.close(timeout=_FAREWELL)
        finally:
            connection.terminate()
