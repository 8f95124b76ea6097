"""Building the parts that the daemon and a single pass share, and finding out first whether they can work."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database import Database
from poddispatchd.domain.backoff import full_jitter
from poddispatchd.errors import ConfigurationError, DatabaseError, DatabaseUnavailableError, SchemaError
from poddispatchd.events import Event
from poddispatchd.journal import migration
from poddispatchd.metrics import Metrics
from poddispatchd.pod import grants
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.media_access import trouble_with
from poddispatchd.runner.client import RunnerClient, open_session
from poddispatchd.services.dispatcher import Dispatcher
from poddispatchd.services.fleet import Fleet
from poddispatchd.services.hooks import Hooks
from poddispatchd.services.importer import Importer, instance_name
from poddispatchd.services.inbox import Inbox
from poddispatchd.services.janitor import Janitor
from poddispatchd.services.notifier import Notifier
from poddispatchd.services.parts import Parts
from poddispatchd.services.prober import Prober
from poddispatchd.services.reconciler import Reconciler
from poddispatchd.services.session import DatabaseSession
from poddispatchd.services.signals import Wakes
from poddispatchd.services.submission import Submitter

log = structlog.get_logger(__name__)

_DISK_PATIENCE = 5.0
"""Seconds that the media tree may take at the start."""


@dataclass(frozen=True, slots=True)
class Groundwork:
    """What exists before the database answers: enough to take callbacks, and to answer 503."""

    settings: Settings
    database: Database
    fleet: Fleet
    wakes: Wakes
    metrics: Metrics
    clock: Clock
    session: DatabaseSession
    instance: str


def lay_groundwork(settings: Settings, *, clock: Clock | None = None) -> Groundwork:
    """Build everything that needs no connection."""
    clock = clock or Clock()
    metrics, wakes, instance = Metrics(), Wakes(), instance_name()
    database = Database(settings.database.dsn, pool_size=settings.database.pool_size)
    session = DatabaseSession(database, instance=instance, wakes=wakes, clock=clock, metrics=metrics)
    fleet = Fleet(clock, metrics, came_back=wakes.dispatcher)
    return Groundwork(settings, database, fleet, wakes, metrics, clock, session, instance)


@asynccontextmanager
async def assembled(groundwork: Groundwork) -> AsyncIterator[Parts]:
    """The shared parts, on an open database whose schema fits.

    Raises:
        ConfigurationError: something that only a person can change.
        DatabaseUnavailableError: the database went away; worth another try.
    """
    settings, database = groundwork.settings, groundwork.database
    async with AsyncExitStack() as stack:
        if not database.is_open:
            await database.open()
        stack.push_async_callback(database.close)
        capabilities = await _examined(settings, database)
        await _own_schema(database)
        http = open_session(settings.runners)
        stack.push_async_callback(http.close)
        parts = Parts(
            settings=settings,
            database=database,
            capabilities=capabilities,
            client=RunnerClient(http, request_timeout=settings.runners.request_timeout),
            fleet=groundwork.fleet,
            session=groundwork.session,
            wakes=groundwork.wakes,
            metrics=groundwork.metrics,
            clock=groundwork.clock,
            instance=groundwork.instance,
        )
        await parts.refresh_sites()
        await parts.refresh_managers()
        yield parts


async def _examined(settings: Settings, database: Database) -> Capabilities:
    """What this Pod can do; nothing has been written before it is known that everything fits.

    Raises:
        ConfigurationError: with every problem found.
    """
    problems = []
    if (words := await _media_trouble(settings)) is not None:
        problems.append(f"pod.media_root: {words}")
    try:
        capabilities = await introspect(database)
        missing = await grants.missing_rights(database)
    except SchemaError as error:
        raise ConfigurationError(str(error), *problems) from error
    if missing:
        problems.append(grants.words_of(missing))
    if capabilities.podfile != settings.pod.use_podfile:
        wanted = str(capabilities.podfile).lower()
        problems.append(
            "pod.use_podfile: the tables of this Pod were made with "
            f"USE_PODFILE = {capabilities.podfile}: set it to {wanted}."
        )
    if problems:
        raise ConfigurationError(*problems)
    return capabilities


async def _media_trouble(settings: Settings) -> str | None:
    """What is wrong with the media tree; a file system that does not answer is waited for later."""
    root = settings.pod.media_root
    try:
        async with asyncio.timeout(_DISK_PATIENCE):
            return await asyncio.to_thread(trouble_with, root)
    except TimeoutError:
        log.warning(Event.MEDIA_SLOW, path=str(root), seconds=_DISK_PATIENCE)
        return None


async def _own_schema(database: Database) -> None:
    try:
        for step in await migration.upgrade(database):
            log.info(Event.SCHEMA_UPGRADED, version=step.version, name=step.name)
    except DatabaseUnavailableError:
        raise
    except SchemaError as error:
        raise ConfigurationError(str(error)) from error
    except DatabaseError as error:
        raise ConfigurationError(
            f"The schema {migration.SCHEMA!r} cannot be used by this role: {error} It belongs to the role "
            "that made it: run everything with one role, and look at 'poddispatchd check'."
        ) from error


async def open_patiently(groundwork: Groundwork, tell: Callable[[str], None]) -> None:
    """Open the database, however long it takes to come back.

    Args:
        groundwork: with the database to open.
        tell: is given a line about what is waited for.

    Raises:
        ConfigurationError: waiting changes nothing.
    """
    failures = 0
    while True:
        try:
            await groundwork.database.open()
        except DatabaseUnavailableError as error:
            if failures == 0:
                log.warning(Event.DATABASE_DOWN, error=str(error))
            tell(f"Waiting for the database: {error}")
        else:
            return
        await groundwork.clock.sleep(
            0.2 + full_jitter(failures, base=0.5, cap=10.0, random=groundwork.clock.random)
        )
        failures += 1


@dataclass(frozen=True, slots=True)
class Jobs:
    """The daemon's jobs."""

    dispatcher: Dispatcher
    inbox: Inbox
    importer: Importer
    reconciler: Reconciler
    janitor: Janitor
    prober: Prober
    notifier: Notifier
    hooks: Hooks

    @classmethod
    def of(cls, parts: Parts, *, budget: int | None = None) -> "Jobs":
        """The jobs that work with these parts; ``budget`` limits how many tasks are submitted."""
        return cls(
            dispatcher=Dispatcher(parts, Submitter(parts), budget=budget),
            inbox=Inbox(parts),
            importer=Importer(parts),
            reconciler=Reconciler(parts),
            janitor=Janitor(parts),
            prober=Prober(parts),
            notifier=Notifier(parts),
            hooks=Hooks(parts),
        )
