"""Certificates that are about to end: shown as metrics, and told once a day."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TypeAlias

import structlog

from poddispatchd.clock import Clock
from poddispatchd.database.certificates import CertificateEnds
from poddispatchd.database.pool import Database
from poddispatchd.domain.certificate_ends import is_near, words_of
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import DatabaseUnavailableError, DeliveryError
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

_OTHERS_WITHIN = 15.0
"""Seconds that they have, side by side: the job has other things to do."""

OthersEnd: TypeAlias = Callable[[], Awaitable[datetime | None]]
"""When the certificate of another server ends; None where none is needed. Raises ``DeliveryError``."""

_NAMES = {"mail": "the mail server", "events": "the endpoint of events (events.url)"}


class CertificateWatch:
    """Looks at the certificates of runner managers, of the database, at ours for it, and at others'.

    ``others``: of servers that are told something, by their channels.
    """

    def __init__(
        self,
        *,
        database: Database,
        registry: ManagerRegistry,
        client: RunnerClient,
        others: Mapping[str, OthersEnd],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._database = database
        self._registry = registry
        self._client = client
        self._others = others
        self._metrics = metrics
        self._clock = clock
        self._look_at = clock.monotonic() + _FIRST_AFTER
        self._told_at: dict[str, float] = {}
        self._ends: dict[str, datetime | None] = {}

    async def look(self, _: QueueStats) -> None:
        """Look, when it is time."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _EVERY
        for name, end in self._of_managers():
            self._metrics.runner_manager_certificate_end.labels(name).set(_shown(end))
            self._tell(f"runner manager {name}", end)
        await self._look_at_others()
        if self._database.last_certificate_ends != CertificateEnds():
            # There may be no other connection: none is left, or a certificate has ended by now.
            with suppress(DatabaseUnavailableError):
                await self._database.certificate_ends()
        self._show(self._database.last_certificate_ends)

    async def _look_at_others(self) -> None:
        """Those of other servers; what was known of one stays when it cannot be had."""
        found = await asyncio.gather(*(self._end_of(channel) for channel in self._others))
        for channel, end in zip(self._others, found, strict=True):
            self._ends[channel] = end
            self._metrics.notification_certificate_end.labels(channel).set(_shown(end))
            self._tell(_NAMES[channel], end)

    async def _end_of(self, channel: str) -> datetime | None:
        # Whoever has something to send there tells what is wrong, and so does ``check``.
        with suppress(DeliveryError, TimeoutError):
            async with asyncio.timeout(_OTHERS_WITHIN):
                return await self._others[channel]()
        return self._ends.get(channel)

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
