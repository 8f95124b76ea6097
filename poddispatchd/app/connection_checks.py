"""Whether PostgreSQL has room for the sessions that a daemon wants."""

from poddispatchd.app.findings import CheckResult, fine, note, problem, unseen
from poddispatchd.database.pool import Database
from poddispatchd.database.poolers import Pooling
from poddispatchd.database.sqlstates import printable
from poddispatchd.errors import DatabaseError

_LIMITS = """\
SELECT rolname AS role, CASE WHEN rolsuper THEN -1 ELSE rolconnlimit END AS of_role,
       datname AS database, CASE WHEN rolsuper THEN -1 ELSE datconnlimit END AS of_database,
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer AS of_server
  FROM pg_catalog.pg_roles, pg_catalog.pg_database
 WHERE rolname = current_user AND datname = current_database()
"""

_LEAST = 2
"""Sessions without which no daemon works: one to listen and to schedule, one for all the rest."""


async def sessions_findings(database: Database, *, pool_size: int) -> list[CheckResult]:
    """Whether a limit of PostgreSQL's gives one daemon fewer sessions than it wants.

    Args:
        database: Pod's.
        pool_size: ``database.pool_size``.
    """
    try:
        connection = await database.dedicated_connection()
        try:
            is_pooled = await database.pooling_of(connection) is not Pooling.NONE
            row = await connection.fetchrow(_LIMITS)
        finally:
            connection.terminate()
    except DatabaseError as error:
        return unseen("sessions", error)
    if is_pooled or row is None:
        return []  # those of a pooler are its own, and shared by its clients
    limits = (
        (row["of_role"], f"The role {printable(row['role'])} (its CONNECTION LIMIT)"),
        (row["of_database"], f"The database {printable(row['database'])} (its CONNECTION LIMIT)"),
        (row["of_server"], "The server (max_connections, less those for superusers)"),
    )
    least, whose = min((limit for limit in limits if limit[0] >= 0), key=lambda limit: limit[0])
    wanted = pool_size + 1
    if least >= wanted:
        words = f"A daemon wants {wanted} (database.pool_size and one more), and may have {least}."
        return [fine("sessions", words)]
    words = (
        f"{whose} allows {least} for all who share them. A daemon wants {wanted} (database.pool_size and one "
        "more), a command two: let a DBA raise it, or lower database.pool_size."
    )
    if least < _LEAST:
        return [problem("sessions", words)]
    return [note("sessions", f"{words} It works with those that it gets, more slowly.")]
