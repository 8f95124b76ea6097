"""Time that passes in the journal, which goes by the database's clock: no test can push that forward."""

from poddispatchd.database.pool import Connection


async def age_journal(connection: Connection, seconds: float) -> None:
    """Move into the past since when submissions are open, and until when tasks wait."""
    await connection.execute(
        "UPDATE poddispatchd.submission SET created_at = created_at - make_interval(secs => $1)"
        " WHERE state = 'open'",
        seconds,
    )
    await connection.execute(
        "UPDATE poddispatchd.own_task SET not_before = not_before - make_interval(secs => $1)", seconds
    )
