"""Videos that campaigns are made of, as Pod's tables have them."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.campaigns import MOST_VIDEOS
from poddispatchd.domain.task import TaskPk, TaskType, VideoId
from poddispatchd.errors import DatabaseError, PoddispatchdError

_QUERIES = load_queries("poddispatchd.pod", "campaigns.sql")

_SECONDS = 30
"""How long the SQL of a person may take."""

_REFUSED = {
    "57014": f"it takes longer than {_SECONDS} s",
    "25006": "it changes something",
    "42501": "the daemon's role may not read that",
    "42601": "it is not one SELECT",
    "42703": "it names a column that does not exist",
    "42P01": "it names a table that does not exist",
}
"""By SQLSTATE; the words of PostgreSQL may hold values of rows (invariant I15)."""


class VideoRow(Struct, frozen=True):
    """A video, for people. ``title`` is None when it is gone; ``unfinished`` is a task of the same type."""

    id: VideoId
    title: str | None
    owner: str | None
    duration: int | None
    unfinished: TaskPk | None


async def encoded_before(database: Database, before: datetime) -> list[VideoId]:
    """The videos that have been encoded, and last before a moment; one more than a campaign takes at most."""
    rows = await database.fetch(*_QUERIES["encoded_before"](before=before, limit=MOST_VIDEOS + 1))
    return [VideoId(row["id"]) for row in rows]


async def selected(database: Database, sql: str) -> list[VideoId]:
    """The videos that a SELECT of a person gives, in their order; one more than a campaign takes at most.

    It is read in a transaction that can change nothing, and that is over after 30 seconds.

    Raises:
        PoddispatchdError: PostgreSQL refuses it, or its first column holds no ids.
        DatabaseUnavailableError: the database cannot be reached.
    """
    try:
        async with database.connection() as connection, connection.transaction(readonly=True):
            await connection.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
            # As a part of a SELECT it can be nothing else, and one statement only.
            text = sql.strip().removesuffix(";")
            rows = await connection.fetch(
                f"SELECT chosen.id FROM (\n{text}\n) AS chosen (id) LIMIT {MOST_VIDEOS + 1}"  # noqa: S608 - the administrator's own
            )
    except DatabaseError as error:
        if error.sqlstate is None:
            raise
        words = _REFUSED.get(error.sqlstate, "PostgreSQL refuses it")
        raise PoddispatchdError(f"The SQL cannot be used: {words} ({error.sqlstate}).") from None
    found: dict[VideoId, None] = {}
    for row in rows:
        pk = row["id"]
        if not isinstance(pk, int) or isinstance(pk, bool) or pk < 1:
            raise PoddispatchdError("The first column of the SQL must hold ids of videos, and nothing else.")
        found[VideoId(pk)] = None
    return list(found)


async def described(database: Database, videos: Sequence[VideoId], kind: TaskType) -> list[VideoRow]:
    """Videos for people, in their order, also those that are gone."""
    rows = await database.fetch(*_QUERIES["described"](videos=list(videos), type=kind.value))
    return [
        VideoRow(VideoId(row["id"]), row["title"], row["owner"], row["duration"], row["unfinished"])
        for row in rows
    ]
