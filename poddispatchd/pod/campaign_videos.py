"""Videos that campaigns are made of, as Pod's tables have them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.campaigns import MOST_VIDEOS
from poddispatchd.domain.task import TaskPk, TaskType, VideoId
from poddispatchd.errors import DatabaseError, PoddispatchdError

_QUERIES = load_queries("poddispatchd.pod", "campaigns.sql")

_SECONDS = 30
"""How long the SQL of a person may take."""

_TO_CANCEL = 5
"""Seconds that PostgreSQL gets to end it."""

_ID = """CASE WHEN pg_typeof(chosen.id) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
              THEN chosen.id::text::bigint END"""

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
    """A video, for people. ``title`` is None when it is gone.

    ``has_file``: Pod's row names one. ``unfinished`` is a task of the same type, ``other`` one of another.
    """

    id: VideoId
    title: str | None
    owner: str | None
    duration: int | None
    unfinished: TaskPk | None
    other: TaskPk | None = None
    has_file: bool = True

    @property
    def remark(self) -> str | None:
        """Why it would be skipped or has to wait, as far as Pod's rows tell."""
        if self.title is None:
            return "It does not exist: it would be skipped."
        if not self.has_file:
            return "It has no file: it would be skipped."
        if self.unfinished is not None:
            return (
                f"Task {self.unfinished} does it already: it would be skipped, if that has not ended by then."
            )
        return None if self.other is None else f"It would wait for the end of task {self.other}."

    @property
    def is_left_out(self) -> bool:
        """Whether it would be skipped."""
        return self.title is None or not self.has_file or self.unfinished is not None


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
        # As a part of a SELECT it can be nothing else, and one statement only. What is no number is not
        # sent at all, however large it is; OFFSET 0: nor read as one while planning.
        text = sql.strip().removesuffix(";")
        rows = await _rolled_back(
            database,
            f"SELECT {_ID} AS id FROM (SELECT * FROM (\n{text}\n) AS own OFFSET 0) AS chosen (id)"  # noqa: S608 - the administrator's own
            f" LIMIT {MOST_VIDEOS + 1}",
        )
    except DatabaseError as error:
        if error.sqlstate is None:
            raise
        words = _REFUSED.get(error.sqlstate, "PostgreSQL refuses it")
        raise PoddispatchdError(f"The SQL cannot be used: {words} ({error.sqlstate}).") from None
    except TimeoutError:
        raise PoddispatchdError(f"The SQL cannot be used: {_REFUSED['57014']}.") from None
    found: dict[VideoId, None] = {}
    for row in rows:
        pk = row["id"]
        if pk is None or pk < 1:
            raise PoddispatchdError("The first column of the SQL must hold ids of videos, and nothing else.")
        found[VideoId(pk)] = None
    return list(found)


class _OverError(Exception):
    """Ends a transaction with nothing of it kept."""

    def __init__(self, rows: list[asyncpg.Record]) -> None:
        super().__init__()
        self.rows = rows


async def _rolled_back(database: Database, sql: str) -> list[asyncpg.Record]:
    """Read rows in a transaction that changes nothing, not even settings of a session that a pooler keeps."""
    try:
        async with (
            asyncio.timeout(_SECONDS + _TO_CANCEL),
            database.connection() as connection,
            connection.transaction(readonly=True),
        ):
            await connection.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
            rows = await connection.fetch(sql)
            raise _OverError(rows)  # noqa: TRY301 - which rolls it back
    except _OverError as over:
        return over.rows


async def described(database: Database, videos: Sequence[VideoId], kind: TaskType) -> list[VideoRow]:
    """Videos for people, in their order, also those that are gone."""
    rows = await database.fetch(*_QUERIES["described"](videos=list(videos), type=kind.value))
    return [
        VideoRow(
            VideoId(row["id"]),
            row["title"],
            row["owner"],
            row["duration"],
            row["unfinished"],
            row["other"],
            row["has_file"],
        )
        for row in rows
    ]
