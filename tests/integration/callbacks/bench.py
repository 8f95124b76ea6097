"""The real webhook with everything behind it up to the rows, on a test's database."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from poddispatchd.app import features
from poddispatchd.app.parts import Parts
from poddispatchd.callbacks.answer_deadline import ANSWER_WITHIN
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.callbacks.worker import CallbackWorker
from poddispatchd.clock import Clock
from poddispatchd.config.listeners import WebhookSettings
from poddispatchd.config.model import (
    DatabaseSettings,
    PodSettings,
    ReconcileSettings,
    RunnersSettings,
    Settings,
)
from poddispatchd.config.units import Address
from poddispatchd.database import migration
from poddispatchd.database.pool import Connection, Database
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import queue_order
from poddispatchd.pod.capabilities import introspect
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.locked_rows import LockedRows
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.web.listener import ListenerOptions, listening
from poddispatchd.web.webhook import early_answers, webhook_application, webhook_limits
from tests.plugins.postgres import PodDatabase

PATH = "/runner/notify_task_end/"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the webhook said."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> object:
        """The body, as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Bench:
    """One daemon's way of callbacks: listener, receiver, inbox."""

    parts: Parts
    receiver: CallbackReceiver
    inbox: CallbackWorker
    address: Address

    async def raw(
        self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes | None
    ) -> Answer:
        """Send a request byte for byte; header values are Latin-1 text."""
        reader, writer = await asyncio.open_connection(self.address.host, self.address.port)
        lines = [f"{method} {path} HTTP/1.1", "Host: pod.example.org", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join((*lines, "", "")).encode("latin-1") + (body or b""))
        try:
            await writer.drain()
            head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        first, *rest = head.decode().split("\r\n")
        return Answer(
            int(first.split()[1]), content, dict(line.split(": ", 1) for line in rest if ": " in line)
        )

    async def call(self, token: str, body: bytes | None = None, **fields: object) -> Answer:
        """A callback as a runner manager makes it."""
        return await self.raw(
            "POST",
            PATH,
            [("Content-Type", "application/json"), ("Authorization", f"Bearer {token}")],
            json.dumps(fields).encode() if body is None else body,
        )

    async def settle(self) -> None:
        """Handle callbacks until none is due, and give everything its rank as the maintenance would."""
        while await self.inbox.step() <= 0.1:
            pass
        await queue_order.write_ranks(self.parts.database, self.parts.catalogue.capabilities)


@asynccontextmanager
async def bench(
    pod_database: PodDatabase,
    *,
    clock: Clock | None = None,
    max_attempts: int = 3,
    answer_within: float = ANSWER_WITHIN,
    instance: str = "test:1:1",
    pool_size: int = 3,
) -> AsyncIterator[Bench]:
    """Everything from the listener to the rows, on a database with our schema."""
    clock = clock or Clock()
    settings = Settings(
        database=DatabaseSettings(dsn=pod_database.dsn, pool_size=pool_size),
        pod=PodSettings(media_root=Path("/srv/pod/media"), use_podfile=pod_database.variant == "podfile"),
        reconcile=ReconcileSettings(max_attempts=max_attempts),
        runners=RunnersSettings.read({"request_timeout": "5s"}),
        webhook=WebhookSettings(listen=Address("127.0.0.1", 0)),
    )
    async with AsyncExitStack() as stack:
        database = Database(settings.database.dsn, pool_size=pool_size)
        await database.open()
        stack.push_async_callback(database.close)
        await migration.upgrade(database)
        http = open_session(settings.runners)
        stack.push_async_callback(http.close)
        metrics, wakeups = Metrics(), Wakeups()
        registry = ManagerRegistry(clock, metrics)
        session = DatabaseSession(database, instance=instance, wakeups=wakeups, clock=clock, metrics=metrics)
        parts = Parts(
            settings=settings,
            database=database,
            capabilities=await introspect(database),
            client=RunnerClient(http, request_timeout=settings.runners.request_timeout),
            registry=registry,
            session=session,
            wakeups=wakeups,
            metrics=metrics,
            clock=clock,
            instance=instance,
            incidents=Incidents(clock),
            locked_rows=LockedRows(database, wakeups, clock),
        )
        database.on_locked = parts.locked_rows.met
        await parts.managers.refresh()
        receiver = CallbackReceiver(database, registry, wakeups, clock, answer_within=answer_within)
        application = webhook_application(
            receiver, settings.webhook, metrics=metrics, clock=clock, answer_within=answer_within
        )
        address = await stack.enter_async_context(
            listening(
                application,
                settings.webhook.listen,
                "webhook.listen",
                ListenerOptions(
                    limits=webhook_limits(settings.webhook),
                    trusted=settings.webhook.trusted_proxies,
                    metrics=metrics,
                    early=early_answers(receiver, settings.webhook, metrics=metrics, clock=clock),
                ),
            )
        )
        yield Bench(parts, receiver, features.callback_worker(parts), address)


async def rows(connection: Connection, table: str) -> dict[int, dict[str, object]]:
    """A whole table, by id."""
    found = await connection.fetch(f"SELECT id, to_jsonb(t) AS row FROM {table} AS t")
    return {record["id"]: json.loads(record["row"]) for record in found}


async def open_imports(connection: Connection) -> set[tuple[int, int, str]]:
    """The results that are to be imported."""
    found = await connection.fetch(
        "SELECT task_pk, runner_manager_id, task_id FROM poddispatchd.import WHERE state = 'open'"
    )
    return {tuple(record) for record in found}


class ShiftedClock(Clock):
    """The real clock, which a test puts forward."""

    def __init__(self) -> None:
        self.shift = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.shift)
