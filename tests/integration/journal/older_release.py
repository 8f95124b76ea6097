"""How releases before schema 0011 schedule: under an advisory lock. Their statements, as they were."""

from poddispatchd.database.connections import Connection

_TRY_LOCK = """
SELECT CASE WHEN lease_expires_at > now() AND instance <> $1 THEN false
            ELSE pg_try_advisory_lock(hashtextextended('poddispatchd.scheduler', 0)) END
FROM poddispatchd.leader
"""

_NEW_TERM = """
WITH free AS MATERIALIZED (
    SELECT FROM poddispatchd.leader
    WHERE lease_expires_at IS NULL OR lease_expires_at <= now() OR instance = $1 FOR UPDATE
)
UPDATE poddispatchd.leader SET term = term + 1, instance = $1, since = now(), lease_expires_at = NULL
FROM free
RETURNING term
"""

_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('poddispatchd.scheduler', 0))"


async def take_lead(connection: Connection, instance: str) -> int | None:
    """What a daemon of such a release does to schedule; it does so as long as its session lasts."""
    if not await connection.fetchval(_TRY_LOCK, instance):
        return None
    term = await connection.fetchval(_NEW_TERM, instance)
    if term is None:
        await give_up_lead(connection)
        return None
    return int(term)


async def give_up_lead(connection: Connection) -> None:
    """Its end."""
    await connection.fetchval(_UNLOCK)
