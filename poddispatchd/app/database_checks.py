"""What a check finds in Pod's database and in our schema there."""

from datetime import timedelta

from poddispatchd.app.findings import CheckResult, fine, note, problem, unseen
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain import certificate_ends
from poddispatchd.domain.lifecycle import row_status
from poddispatchd.domain.situation import duration_words
from poddispatchd.domain.task import StaleTasks, TaskStatus
from poddispatchd.errors import MAY_PASS, DatabaseError, RowLockedError, SchemaError
from poddispatchd.journal import observations
from poddispatchd.journal.scheduling import COMMITS_WAIT
from poddispatchd.pod import duplicates, grants, progress, tasks
from poddispatchd.pod.lock_holders import held_tables, held_tasks
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.table_faults import writing_faults
from poddispatchd.runtime import queue_tables
from poddispatchd.tasks.restored import done_before, restored_words
from poddispatchd.web.state import stale_words

OLDEST_POSTGRESQL = 13
"""The oldest major release with which the tests pass."""

_HELD_FOR = 10.0
"""Seconds after which it is worth a word that a whole table is held."""

_CLOCKS_APART = timedelta(minutes=1)
"""Two clocks that are both kept by NTP agree to a second."""

_MOST_STALE = 100
_MOST_LEFT = 100
_SHOWN = 5
_SHOWN_OF_A_QUEUE = 3


async def server_finding(database: Database) -> CheckResult:
    """Who answers, and whether it can be written to."""
    row = await database.fetchrow(
        "SELECT current_database(), current_user, current_setting('server_version'),"
        " current_setting('transaction_read_only')::boolean, pg_is_in_recovery(),"
        " current_setting('server_version_num')::integer / 10000, getdatabaseencoding(),"
        " current_setting('synchronous_standby_names') <> ''"
        " AND current_setting('synchronous_commit') NOT IN ('off', 'local')"
        " AND NOT EXISTS (SELECT FROM pg_stat_replication)"
    )
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    words = f"{row[0]} answers as {row[1]} (PostgreSQL {row[2]})"
    if row[4]:
        return problem(
            "database",
            f"{words}, but as a standby server, which cannot be written to: wait for the switch-over, "
            "or correct database.dsn.",
        )
    if row[3]:
        return problem(
            "database",
            f"{words}, but its sessions are read-only: default_transaction_read_only is on for the server, "
            "the database or the role. Turn it off there.",
        )
    if row[7]:
        return problem("database", f"{words}. {COMMITS_WAIT}")
    if row[5] < OLDEST_POSTGRESQL:
        return note(
            "database",
            f"{words}: poddispatchd is tested with {OLDEST_POSTGRESQL} and later. Upgrade PostgreSQL.",
        )
    if row[6] == "SQL_ASCII":
        return note(
            "database",
            f"{words}, and takes texts in any encoding (SQL_ASCII): a row with one that is not UTF-8 cannot "
            "be read, and its task waits. Django supports UTF8 only.",
        )
    return fine("database", f"{words}.")


async def certificate_findings(database: Database) -> list[CheckResult]:
    """When the certificates end by which the database is reached."""
    try:
        ends = await database.certificate_ends()
    except DatabaseError as error:
        return unseen("database", error)
    found, now = [], Clock().now()
    for whose, end in (
        ("The certificate of its server", ends.server),
        ("Our certificate for it", ends.client),
    ):
        if end is None:
            continue
        words = f"{whose} {certificate_ends.words_of(end, now)}"
        if certificate_ends.is_near(end, now):
            found.append(note("database", f"{words}, and it cannot be reached then: have it renewed."))
        else:
            found.append(fine("database", f"{words}."))
    return found


async def clock_findings(database: Database, clock: Clock | None = None) -> list[CheckResult]:
    """Whether the clock of this machine agrees with the database's; nothing where it does."""
    clock = clock or Clock()
    before = clock.now()
    try:
        row = await database.fetchrow("SELECT clock_timestamp()")
    except DatabaseError as error:
        return unseen("database", error)
    assert row is not None  # noqa: S101 - a SELECT without FROM has a row
    there, after = row[0], clock.now()
    if before - _CLOCKS_APART < there < after + _CLOCKS_APART:
        return []
    is_ahead = there < before
    apart = (
        f"{duration_words(before - there)} ahead of"
        if is_ahead
        else f"{duration_words(there - after)} behind"
    )
    words = (
        f"The clock of this machine is {apart} the database's: time windows open by the one, and what "
        "waits comes due by the other. See 'timedatectl' on both machines."
    )
    return [note("database", words)]


async def pooler_finding(database: Database) -> CheckResult:
    """What the DSN leads to: PostgreSQL itself, or a pooler."""
    try:
        connection = await database.dedicated_connection()
        try:
            pooling = await database.pooling_of(connection)
        finally:
            connection.terminate()
    except DatabaseError as error:
        return problem("pooler", str(error))
    return (note if pooling is Pooling.TRANSACTION else fine)("pooler", pooling.meaning)


async def held_rows_finding(database: Database) -> CheckResult:
    """Tasks that wait because a session left a transaction open, or holds whole tables."""
    try:
        held, tables = await held_tasks(database), await held_tables(database, seconds=_HELD_FOR)
    except DatabaseError as error:
        return problem("held rows", str(error))
    if held.is_whole_table:
        return problem(
            "held rows",
            f"A transaction that is left open holds Pod's whole task table, by {held.by}: nobody can read "
            "it. End it there.",
        )
    if tables:
        return problem("held rows", " ".join(each.words for each in tables))
    if not held.by:
        return fine("held rows", "No database session holds Pod's tasks for long.")
    if not held.tasks:
        return note("held rows", f"A transaction on Pod's task table is open for long: {held.by}.")
    more = " and more" if len(held.tasks) > _SHOWN else ""
    return problem(
        "held rows",
        f"Task {', '.join(map(str, held.tasks[:_SHOWN]))}{more} waits: a transaction that is left open holds "
        f"its row, by {held.by}. End it there.",
    )


async def rights_findings(database: Database) -> list[CheckResult]:
    """What the role may not do and must, or may do and need not."""
    missing = await grants.missing_rights(database)
    found = (
        problem("rights", grants.words_of(missing))
        if missing
        else fine("rights", "The role has every right it needs on Pod's tables.")
    )
    undone = await grants.undone_without_rights(database)
    hidden, surplus = await grants.hidden_rows(database), await grants.surplus_rights(database)
    return [
        found,
        *([] if undone is None else [note("rights", undone)]),
        *([] if hidden is None else [problem("rights", hidden)]),
        *([] if surplus is None else [note("rights", surplus)]),
    ]


async def table_findings(database: Database) -> list[CheckResult]:
    """What a DBA did to Pod's tables that keeps statements from being taken."""
    try:
        faults = await writing_faults(database)
    except DatabaseError as error:
        return unseen("Pod's tables", error)
    return [problem("Pod's tables", words) for words in faults]


async def schema_findings(database: Database) -> list[CheckResult]:
    """Whether our schema is there and of this release."""
    try:
        async with database.connection() as connection:
            version = await migration.checked_version(connection)
            may_create = await connection.fetchval(
                "SELECT has_database_privilege(current_database(), 'CREATE')"
                " OR coalesce(has_schema_privilege(to_regnamespace('poddispatchd'), 'CREATE'), false)"
            )
    except SchemaError as error:
        return [problem("own schema", str(error))]
    except (*MAY_PASS, RowLockedError) as error:
        return unseen("own schema", error)
    except DatabaseError as error:
        return [problem("own schema", f"{error} Run 'poddispatchd db init' with this very role.")]
    if version == migration.LATEST:
        return [fine("own schema", f"Version {version}, up to date.")]
    if version == 0 and not may_create:
        return [
            problem(
                "own schema",
                "It does not exist, and this role may not create it: see 'poddispatchd db init'.",
            )
        ]
    return [
        note("own schema", f"Version {version} of {migration.LATEST}: the daemon upgrades it at its start.")
    ]


async def set_aside_findings(database: Database) -> list[CheckResult]:
    """Items of our queues that were given up, with the words of the latest ones."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
            counts = await queue_tables.set_aside_counts(connection)
            items = await queue_tables.set_aside(connection, limit=_SHOWN_OF_A_QUEUE)
    except DatabaseError as error:
        return unseen("queues", error)
    found = [
        note("queues", f"{name} {item.key} (task {item.task}), after {item.attempts} attempts: {item.words}")
        for name, several in items.items()
        for item in several
    ]
    words = queue_tables.set_aside_words(counts)
    return found if words is None else [problem("queues", words), *found]


async def running_findings(settings: Settings, database: Database) -> list[CheckResult]:
    """The tasks that the daemon has found to run for too long, and that run on."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
            told = await observations.stale_tasks(connection, limit=_MOST_STALE)
            found = [await tasks.get_task(connection, pk) for pk in told]
            waiting = await duplicates.waiting_behind(connection, told, limit=_MOST_STALE)
    except DatabaseError as error:
        return unseen("running tasks", error)
    running = (task for task in found if task is not None and row_status(task.status) is TaskStatus.RUNNING)
    stale = StaleTasks(tuple(task.pk for task in running), tuple(waiting))
    if not stale.tasks:
        return [fine("running tasks", "None has been running for too long.")]
    return [problem("running tasks", stale_words(stale, after=settings.reconcile.stale_after))]


async def left_videos_findings(database: Database) -> list[CheckResult]:
    """Videos that Pod shows as being encoded for ever, as where their task was deleted while it ran."""
    try:
        async with database.connection() as connection:
            found = await progress.left_in_progress(connection, limit=_MOST_LEFT)
    except DatabaseError as error:
        return unseen("videos", error)
    if not found:
        return []
    count = f"{_MOST_LEFT} or more" if len(found) == _MOST_LEFT else str(len(found))
    named = ", ".join(str(pk) for pk in found[:_SHOWN])
    return [
        note(
            "videos",
            f"{count} shown as being encoded while no task of theirs waits or runs (the latest: {named}), as "
            "where it was deleted, or as Pod shows those that it encodes by itself. If it does not: 'Encode "
            "selected', in its administration of videos, begins anew.",
        )
    ]


async def restored_findings(database: Database, tree: MediaTree) -> list[CheckResult]:
    """Tasks that were done before the database was put back from a backup."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
        done = await done_before(database, tree)
    except DatabaseError as error:
        return unseen("restored database", error)
    return [problem("restored database", restored_words(done))] if done else []
