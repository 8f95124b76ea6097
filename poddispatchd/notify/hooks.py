"""The command after each import (``imports.after``), one at a time, in the order of the imports.

It has a queue of its own, so that one that hangs holds up neither imports nor mail. It is run once for each
import; again only when the daemon was stopped or killed while it ran, or before its end could be written.
Each daemon runs one at a time.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import PurePath

import structlog

from poddispatchd.config.model import ImportsSettings
from poddispatchd.errors import DeliveryRefusedError
from poddispatchd.notify.command import run_hook
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.queue import Delivery, DeliveryState
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import HookOutcome, Metrics
from poddispatchd.runtime.lease_queue import Leased

log = structlog.get_logger(__name__)

_IDLE = 600.0
_TO_KILL = 60.0
"""Seconds beyond ``imports.after_timeout`` in which a command is killed and its end written."""


class Hooks:
    """Runs the configured command."""

    def __init__(
        self, deliveries: Deliveries, settings: Callable[[], ImportsSettings], metrics: Metrics
    ) -> None:
        self._deliveries = deliveries
        self._settings = settings
        self._metrics = metrics

    async def step(self) -> float:
        """Run the command for one import; seconds until the next look."""
        if await self._next():
            return 0.0
        return await self._deliveries.next_look(idle=_IDLE)

    async def drain(self) -> None:
        """Run it for every import that waits."""
        while await self._next():
            pass

    async def _next(self) -> bool:
        """Run it once; False when nothing waits."""
        settings = self._settings()
        due = await self._deliveries.claim(1, enabled=bool(settings.after))
        for leased in due:
            await self._attempt(leased, settings)
        return bool(due)

    async def _attempt(self, leased: Leased, settings: ImportsSettings) -> None:
        try:
            await self._deliveries.attempt(
                leased,
                lambda: self._run(Delivery.of(leased), settings),
                # Longer than the command has: it is killed by its own limit, and that is written down.
                within=settings.after_timeout + _TO_KILL,
            )
        except asyncio.CancelledError:
            # The daemon stops: the command was killed, and runs again after the next start.
            await self._deliveries.hand_back([leased.lease])
            raise

    async def _run(self, delivery: Delivery, settings: ImportsSettings) -> None:
        ids = (str(delivery.task_pk), str(delivery.content["type"]), str(delivery.content["video"]))
        facts = {"task": delivery.task_pk, "command": PurePath(settings.after[0]).name}
        try:
            run = await run_hook((*settings.after, *ids), seconds=settings.after_timeout, environ=os.environ)
        except DeliveryRefusedError as error:
            log.error(Event.HOOK_FAILED, **facts, reason=str(error))  # noqa: TRY400 - words say it all
            await self._finish(delivery, HookOutcome.FAILED, str(error))
            return
        if run.succeeded:
            log.info(
                Event.HOOK_COMPLETED, **facts, output=run.output or None, left_behind=run.left_behind or None
            )
            await self._finish(delivery, HookOutcome.COMPLETED)
            return
        words = f"It {run.words}"
        log.error(Event.HOOK_FAILED, **facts, reason=words, output=run.output or None)
        outcome = HookOutcome.TIMED_OUT if run.timed_out else HookOutcome.FAILED
        await self._finish(delivery, outcome, words)

    async def _finish(self, delivery: Delivery, outcome: HookOutcome, error: str | None = None) -> None:
        state = DeliveryState.DONE if outcome is HookOutcome.COMPLETED else DeliveryState.FAILED
        self._metrics.import_hooks.labels(outcome).inc()
        await self._deliveries.finish(delivery, state, error, is_told=False)
