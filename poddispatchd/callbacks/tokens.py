"""Whose token signed a callback: told from memory, whatever anybody sends (invariant I13)."""

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Mapping

from poddispatchd.callbacks.answer_deadline import ANSWER_WITHIN, within
from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager, token_bytes
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import CallbackRefusedError, DatabaseUnavailableError
from poddispatchd.observability.logs import register_secret
from poddispatchd.pod import managers as pod_managers

FRESH_FOR = 5.0
"""Seconds for which the managers read last are good enough to tell whose a token is."""

FRESH_FOR_UNKNOWN_TOKENS = 1.0
"""Seconds for which they are good enough to turn an unknown token away: its manager may be new."""

REFUSED_FOR = 10.0
"""Seconds for which a token that was looked for and not found is refused without another look."""

_MOST_REFUSED = 4096
"""Refused tokens that are remembered; of more, the oldest are forgotten."""


class TokenBook:
    """The tokens of all runner managers, as they were read last.

    However many requests come, one statement at a time reads them, at most one a second; a token that nobody
    has is remembered and costs none for a while.
    """

    def __init__(self, database: Database, clock: Clock, *, answer_within: float = ANSWER_WITHIN) -> None:
        self._database = database
        self._clock = clock
        self._answer_within = answer_within
        self._known: Mapping[bytes, tuple[ManagerId, ...]] = {}
        """By a keyed digest: however long it is searched for, that tells nothing about a token."""
        self._read_at = float("-inf")
        self._failed_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._refused: dict[bytes, float] = {}
        self._key = secrets.token_bytes(32)
        self.reads = 0

    def fresh_signers(self, token: bytes) -> tuple[ManagerId, ...]:
        """The runner managers that have this token, if that is known for sure; else none."""
        age = self._clock.monotonic() - self._read_at
        signers = self._match(token) if age < FRESH_FOR else ()
        if signers and age > FRESH_FOR / 2 and self._reading is None:
            self._begin_reading()  # in good time, so that nobody has to wait for it
        return signers

    async def signers(self, token: bytes) -> tuple[ManagerId, ...]:
        """The runner managers that have this token.

        Raises:
            CallbackRefusedError: 403: it is nobody's.
            DatabaseUnavailableError: it cannot be told now.
        """
        if signers := self.fresh_signers(token):
            return signers
        now = self._clock.monotonic()
        digest = self._digest(token)
        if self._refused.get(digest, float("-inf")) > now:
            raise CallbackRefusedError(403, "Invalid Bearer token.")
        if now - self._read_at >= FRESH_FOR_UNKNOWN_TOKENS:
            await self._read_again()
            if signers := self._match(token):
                return signers
            self._remember(digest, now + REFUSED_FOR)
        raise CallbackRefusedError(403, "Invalid Bearer token.")

    def has_seen(self, token: bytes) -> bool:
        """Whether this token was somebody's when the tokens were read last."""
        return bool(self._match(token))

    def is_refused(self, token: bytes) -> bool:
        """Whether this token is known to be nobody's, without another look."""
        now = self._clock.monotonic()
        if self._refused.get(self._digest(token), float("-inf")) > now:
            return True
        return now - self._read_at < FRESH_FOR_UNKNOWN_TOKENS and not self._match(token)

    def refuse(self, token: bytes) -> None:
        """It was looked for and not found: it is refused without another look for a while."""
        self._remember(self._digest(token), self._clock.monotonic() + REFUSED_FOR)

    def reading(self) -> "asyncio.Future[None] | None":
        """The look at the database that is going on, or begins now; None: one has failed a moment ago."""
        if self._reading is None:
            if 0 <= self._clock.monotonic() - self._failed_at < FRESH_FOR_UNKNOWN_TOKENS:
                return None
            self._begin_reading()
        return self._reading

    def _digest(self, token: bytes) -> bytes:
        return hashlib.blake2b(token.strip(), key=self._key, digest_size=16).digest()

    def _match(self, token: bytes) -> tuple[ManagerId, ...]:
        return self._known.get(self._digest(token), ())

    def _remember(self, digest: bytes, until: float) -> None:
        # To the end of the dictionary, from whose beginning the oldest are dropped.
        self._refused.pop(digest, None)
        while len(self._refused) >= _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = until

    async def _read_again(self) -> None:
        """Read the managers; whoever comes meanwhile waits for the same answer.

        Raises:
            DatabaseUnavailableError: they cannot be read, or could not a moment ago.
        """
        reading = self.reading()
        if reading is None:
            raise DatabaseUnavailableError
        # Others wait for the same look: it must not end with a client that has gone.
        await asyncio.shield(reading)

    def _begin_reading(self) -> None:
        self._reading = asyncio.create_task(self._read(), name="tokens of runner managers")
        self._reading.add_done_callback(self._has_read)

    async def _read(self) -> None:
        # Before, not after: what was changed while we read may not be seen.
        begun = self._clock.monotonic()
        self.reads += 1
        # All of them, active or not: a manager that gets no tasks any more still tells of those that it has.
        managers = await within(self._answer_within, pod_managers.runner_managers(self._database))
        for manager in managers:
            register_secret(manager.token)
        self._known, self._read_at = self._digests(managers), begun

    def _has_read(self, task: "asyncio.Task[None]") -> None:
        self._reading = None
        if not task.cancelled() and task.exception() is not None:
            self._failed_at = self._clock.monotonic()

    def _digests(self, managers: Iterable[RunnerManager]) -> dict[bytes, tuple[ManagerId, ...]]:
        """The managers that can be recognised, active or not; an empty token is nobody's.

        Each token in the forms that may arrive: in UTF-8, or in Latin-1 as Python's HTTP clients send it.
        """
        found: dict[bytes, tuple[ManagerId, ...]] = {}
        for manager in managers:
            token = manager.token.get_secret_value().strip()
            forms = {token.encode("utf-8", "surrogateescape")}
            if (as_sent := token_bytes(token)) is not None:
                forms.add(as_sent)
            for form in forms if token else ():
                digest = self._digest(form)
                found[digest] = (*found.get(digest, ()), manager.id)
        return found
