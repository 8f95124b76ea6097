"""The command after each import (``imports.after``), one at a time, in the order of the imports.

It has a queue of its own, so that one that hangs holds up neither imports nor mail. It is run once for each
import; again only when the daemon was stopped or killed while it ran, or lost the database before its end was
written. Each daemon runs one at a time.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import PurePath

import structlog

from poddispatchd.errors import DatabaseError, DeliveryRefusedError
from poddispatchd.journal import notices
from poddispatchd.journal.notices import Channel, Delivery, DeliveryState
from poddispatchd.notify.command import run_hook
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import HookOutcome
from poddispatchd.parts import Parts

log = structlog.get_logger(__name__)

_IDLE = 600.0
_SOON = 0.1
_CLAIM = 600.0


class Hooks:
    """Runs the configured command."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def step(self) -> float:
        """Run the command for one import; seconds until the next look."""
        if await self._next():
            return 0.0
        async with self._parts.database.connection() as connection:
            due = await notices.next_due(connection, (Channel.HOOK,))
        return _IDLE if due is None else min(_IDLE, max(due, _SOON))

    async def drain(self) -> None:
        """Run it for every import that waits."""
        while await self._next():
            pass

    async def _next(self) -> bool:
        """Run it once; False when nothing waits."""
        parts = self._parts
        enabled = bool(parts.settings.imports.after)
        async with parts.database.connection() as connection:
            if not enabled:
                await notices.drop_open(connection, Channel.HOOK)
                return False
            due = await notices.claim_due(connection, Channel.HOOK, 1, seconds=_CLAIM)
        for delivery in due:
            await self._run(delivery)
        return bool(due)

    async def _run(self, delivery: Delivery) -> None:
        parts = self._parts
        after = parts.settings.imports
        ids = (str(delivery.task_pk), str(delivery.content["type"]), str(delivery.content["video"]))
        facts = {"task": delivery.task_pk, "command": PurePath(after.after[0]).name}
        try:
            run = await run_hook((*after.after, *ids), seconds=after.after_timeout, environ=os.environ)
        except asyncio.CancelledError:
            await self._hand_back(delivery)
            raise
        except DeliveryRefusedError as error:
            log.error(Event.HOOK_FAILED, **facts, reason=str(error))  # noqa: TRY400 - words say it all
            await self._settle(delivery, HookOutcome.FAILED, str(error))
            return
        if run.succeeded:
            log.info(Event.HOOK_COMPLETED, **facts, output=run.output or None)
            await self._settle(delivery, HookOutcome.COMPLETED)
            return
        words = f"Exit status {run.status}."
        if run.timed_out:
            words = f"It was killed after {after.after_timeout:g} s."
        log.error(Event.HOOK_FAILED, **facts, reason=words, output=run.output or None)
        outcome = HookOutcome.TIMED_OUT if run.timed_out else HookOutcome.FAILED
        await self._settle(delivery, outcome, words)

    async def _settle(self, delivery: Delivery, outcome: HookOutcome, error: str | None = None) -> None:
        state = DeliveryState.DONE if outcome is HookOutcome.COMPLETED else DeliveryState.FAILED
        async with self._parts.database.connection() as connection:
            await notices.settle(connection, delivery, state, error)
        self._parts.metrics.import_hooks.labels(outcome).inc()

    async def _hand_back(self, delivery: Delivery) -> None:
        """The daemon stops: the command was killed, and runs again after the next start."""
        with suppress(DatabaseError):
            async with self._parts.database.connection() as connection:
                await notices.retry(connection, delivery, seconds=0, error="Stopped.", counts=False)
