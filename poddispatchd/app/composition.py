"""Building the parts that the daemon and a single pass share, and finding out first whether they can work."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog
from msgspec import Struct

from poddispatchd.app.parts import Parts
from poddispatchd.clock import Clock
from poddispatchd.config.consistency import unfit_for_pod
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.database.read_only import ReadOnlyDatabase
from poddispatchd.errors import (
    MAY_PASS,
    ConfigurationError,
    DatabaseError,
    MediaSlowError,
    PoddispatchdError,
    PodUnfitError,
    RowLockedError,
    SchemaChangedError,
    SchemaError,
)
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod import grants
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.media.access import trouble_with
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.table_faults import reading_faults
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.connections import open_session
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.runtime.instances import instance_name
from poddispatchd.runtime.locked_rows import LockedRows
from poddispatchd.runtime.outage import Outage
from poddispatchd.runtime.wakeups import Wakeups
from poddispatchd.shadow.client import AskingClient
from poddispatchd.shadow.session import ShadowSession

log = structlog.get_logger(__name__)


class Resources(Struct, frozen=True):
    """What exists before the database answers: enough to take callbacks, and to answer 503.

    ``is_shadow``: nothing may be written, and no callback is taken.
    """

    settings: Settings
    database: Database
    registry: ManagerRegistry
    wakeups: Wakeups
    metrics: Metrics
    clock: Clock
    session: DatabaseSession
    instance: str
    media: MediaTree
    incidents: Incidents
    locked_rows: LockedRows
    is_shadow: bool = False


def create_resources(settings: Settings, *, clock: Clock | None = None, is_shadow: bool = False) -> Resources:
    """Build everything that needs no connection."""
    clock = clock or Clock()
    metrics, wakeups, instance = Metrics(), Wakeups(), instance_name()
    metrics.shadow.set(is_shadow)
    dsn, pool_size = settings.database.dsn, settings.database.pool_size
    database = (ReadOnlyDatabase if is_shadow else Database)(dsn, pool_size=pool_size)
    kind = ShadowSession if is_shadow else DatabaseSession
    session = kind(database, instance=instance, wakeups=wakeups, clock=clock, metrics=metrics)
    registry = ManagerRegistry(
        clock,
        metrics,
        came_back=wakeups.dispatcher,
        per_minute=settings.runners.submissions_per_minute,
        availability=availability_of(settings),
    )
    locked_rows = LockedRows(database, wakeups, clock)
    database.on_locked = locked_rows.met
    return Resources(
        settings=settings,
        database=database,
        registry=registry,
        wakeups=wakeups,
        metrics=metrics,
        clock=clock,
        session=session,
        instance=instance,
        media=MediaTree(settings.pod.media_root),
        incidents=Incidents(clock),
        locked_rows=locked_rows,
        is_shadow=is_shadow,
    )


@asynccontextmanager
async def assembled(
    resources: Resources, tell: Callable[[str, float], None] = lambda _words, _seconds: None
) -> AsyncIterator[Parts]:
    """The shared parts, on an open database whose schema fits.

    Args:
        resources: what they are made of.
        tell: is given a line about what takes long, and how many seconds that may be.

    Raises:
        ConfigurationError: something that only a person can change.
        PodUnfitError: Pod's tables do not fit for now; worth another try.
        DatabaseError: the database went away, or refuses something; worth another try.
    """
    settings, database = resources.settings, resources.database
    async with AsyncExitStack() as stack:
        if not database.is_open:
            await database.open()
        stack.push_async_callback(database.close)
        # Before our schema is made: nothing is written into a database that is not Pod's.
        capabilities = await _examined(settings, database, resources.media, is_shadow=resources.is_shadow)
        if not resources.is_shadow:
            await _own_schema(database, tell)
        http = open_session(settings.runners)
        stack.push_async_callback(http.close)
        parts = Parts(
            settings=settings,
            database=database,
            capabilities=capabilities,
            client=(AskingClient if resources.is_shadow else RunnerClient)(
                http,
                request_timeout=settings.runners.request_timeout,
            ),
            registry=resources.registry,
            session=resources.session,
            wakeups=resources.wakeups,
            metrics=resources.metrics,
            clock=resources.clock,
            instance=resources.instance,
            incidents=resources.incidents,
            locked_rows=resources.locked_rows,
            shared_media=resources.media,
            has_journal=not resources.is_shadow,
        )
        await parts.verify(settings)
        await parts.managers.refresh()
        with suppress(OSError, MediaSlowError):
            # From now on the links on the first level lead where they lead now.
            await parts.media.look(Look.ACCESS, parts.media.first_level_links)
        yield parts


async def _examined(
    settings: Settings, database: Database, media: MediaTree, *, is_shadow: bool
) -> Capabilities:
    """What this Pod can do; nothing has been written before it is known that everything fits.

    A shadow needs to read, no more; what it does not write it does not try to.

    Raises:
        ConfigurationError: with every problem found.
        PodUnfitError: Pod's tables are all that does not fit, and they did, or have yet to come.
    """
    problems = []
    if not is_shadow and (words := await _media_trouble(media)) is not None:
        problems.append(f"pod.media_root: {words}")
    try:
        capabilities = await introspect(database)
        missing = await grants.missing_rights(database)
        if is_shadow:
            missing = [right for right in missing if right.privilege == "SELECT"]
        unfit_tables = [grants.words_of(missing)] if missing else []
        unfit_tables += await reading_faults(database)
        if unfit_tables:
            raise SchemaError(" ".join(unfit_tables))  # noqa: TRY301 - what both have in common is below
    except SchemaError as error:
        if not problems and await _did_fit(database):
            raise PodUnfitError(str(error)) from error
        raise ConfigurationError(str(error), *problems) from error
    else:
        sites = await pod_managers.sites(database)
        if not sites and not problems:
            # Pod's first migration makes one; rows come later than tables where a database is put back.
            raise PodUnfitError("Pod has no site: its table django_site is empty.")
        unfit = unfit_for_pod(settings, sites.values(), podfile=capabilities.podfile)
        problems += [f"{key}: {words}" for key, words in unfit]
    if problems:
        raise ConfigurationError(*problems)
    return capabilities


async def _did_fit(database: Database) -> bool:
    """Whether a daemon has worked on this database: its schema is made when everything fits, not before."""
    try:
        async with database.connection() as connection:
            return await migration.current_version(connection) > 0
    except SchemaError:
        return True  # it is there, and the role lacks rights on it as well


async def _media_trouble(tree: MediaTree) -> str | None:
    """What a person must change about the media tree.

    A full disk, or a file system that does not answer or gives errors, is no reason to stay down over night:
    imports wait for it.
    """
    try:
        trouble = await tree.look(Look.ACCESS, trouble_with, tree.top)
    except MediaSlowError:
        log.warning(Event.MEDIA_SLOW, path=str(tree.root), seconds=tree.limits.look)
        return None
    if trouble is not None and trouble.may_pass:
        log.error(Event.MEDIA_OBSTRUCTED, reason=trouble.words)
        return None
    return None if trouble is None else trouble.words


async def _own_schema(database: Database, tell: Callable[[str, float], None]) -> None:
    def begins(step: migration.Migration) -> None:
        tell(f"Upgrading our schema: {step.version:04d} {step.name}", migration.LONGEST_STEP)

    try:
        for step in await migration.upgrade(database, begins):
            log.info(Event.SCHEMA_UPGRADED, version=step.version, name=step.name)
    except (*MAY_PASS, RowLockedError):
        raise
    except SchemaError as error:
        raise ConfigurationError(str(error)) from error
    except DatabaseError as error:
        raise ConfigurationError(
            f"The schema {migration.SCHEMA!r} cannot be used by this role: {error} It belongs to the role "
            "that made it: run everything with one role, and look at 'poddispatchd check'."
        ) from error


async def open_when_it_answers(resources: Resources, tell: Callable[[str], None]) -> None:
    """Open the database, however long it takes to come back.

    Args:
        resources: with the database to open.
        tell: is given a line about what is waited for.

    Raises:
        ConfigurationError: waiting changes nothing.
    """
    outage = Outage(resources.clock)
    while True:
        try:
            await resources.database.open()
        except MAY_PASS as error:
            if outage.is_news(error):
                log.warning(Event.DATABASE_DOWN, error=str(error))
            tell(f"Waiting for the database: {error}")
        else:
            return
        await outage.wait()


WAITED_FOR = (*MAY_PASS, PodUnfitError, RowLockedError, SchemaChangedError)
"""What may pass by itself in the middle of the start."""


def waited_for(error: PoddispatchdError) -> tuple[Event, str]:
    """As what a start that has to wait is told, and what it waits for."""
    match error:
        case RowLockedError():
            return Event.ROW_LOCKED, "the database"
        case PodUnfitError() | SchemaChangedError():
            return Event.SCHEMA_CHANGED, "Pod's tables"
        case _:
            return Event.DATABASE_DOWN, "the database"
