"""Certificates that are about to end: shown as metrics, and told once a day."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.certificates import CertificateEnds
from poddispatchd.database.pool import Database
from poddispatchd.domain.certificate_ends import is_near, words_of
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.runner.client import RunnerClient

log = structlog.get_logger(__name__)

_FIRST_AFTER = 60.0
"""Seconds: a single pass, one of many a day, has ended by then."""

_EVERY = 3600.0
"""Seconds between two looks. The database's takes a connection, where certificates count: those that there
are may be older than a new one."""

_TOLD_EVERY = 86400.0


class CertificateWatch:
    """Looks at the certificates of runner managers, of the database, and at ours for the database."""

    def __init__(
        self,
        *,
        database: Database,
        registry: ManagerRegistry,
        client: RunnerClient,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._registry = registry
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._look_at = clock.monotonic() + _FIRST_AFTER
        self._told_at: dict[str, float] = {}

    async def look(self, _: QueueStats) -> None:
        """Look, when it is time."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _EVERY
        for name, end in self._of_managers():
            self._metrics.runner_manager_certificate_end.labels(name).set(_shown(end))
            self._tell(f"runner manager {name}", end)
        if self._database.last_certificate_ends != CertificateEnds():
            # There may be no other connection: none is left, or a certificate has ended by now.
            with suppress(DatabaseUnavailableError):
                await self._database.certificate_ends()
        self._show(self._database.last_certificate_ends)

    def _of_managers(self) -> Iterator[tuple[str, datetime | None]]:
        """The first end of each name, which several may have; of those that are active, if there are any."""
        by_name: dict[str, list[RunnerManager]] = {}
        for manager in self._registry.all():
            by_name.setdefault(manager.name, []).append(manager)
        for name, namesakes in by_name.items():
            active = [manager for manager in namesakes if manager.is_active]
            ends = (self._client.certificate_end(manager) for manager in active or namesakes)
            yield name, min((end for end in ends if end is not None), default=None)

    def _show(self, ends: CertificateEnds) -> None:
        self._metrics.database_certificate_end.labels("server").set(_shown(ends.server))
        self._metrics.database_certificate_end.labels("client").set(_shown(ends.client))
        self._tell("the database's server", ends.server)
        self._tell("this daemon as a client of the database (sslcert)", ends.client)

    def _tell(self, of: str, end: datetime | None) -> None:
        wall_clock, now = self._clock.now(), self._clock.monotonic()
        if end is None or not is_near(end, wall_clock):
            self._told_at.pop(of, None)
        elif now - self._told_at.get(of, float("-inf")) >= _TOLD_EVERY:
            self._told_at[of] = now
            log.warning(Event.CERTIFICATE_ENDS, of=of, reason=f"It {words_of(end, wall_clock)}.")


def _shown(end: datetime | None) -> float:
    return 0.0 if end is None else end.timestamp()
