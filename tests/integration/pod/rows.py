"""Rows for tests: whatever a table asks for and a test does not care about gets a value by itself."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.task import TaskPk
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.tasks import get_task
from tests.plugins.postgres import PodDatabase

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

_VALUES = {
    "bigint": 0,
    "boolean": False,
    "date": NOON.date(),
    "integer": 0,
    "smallint": 0,
    "text": "",
    "timestamp with time zone": NOON,
    "character varying": "",
    "inet": "127.0.0.1",
    "time without time zone": NOON.time(),
}

_numbers = itertools.count(1)


@asynccontextmanager
async def opened(pod_database: PodDatabase) -> AsyncIterator[Database]:
    """A pool to a test's database."""
    database = Database(pod_database.dsn)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def pod(pod_database: PodDatabase) -> AsyncIterator[tuple[Database, Capabilities, Connection]]:
    """A pool, what was found in the catalog, and a connection to prepare and look at rows with."""
    async with opened(pod_database) as database, pod_database.connection() as connection:
        yield database, await introspect(database), connection


async def insert(connection: Connection, table: str, **values: object) -> int:
    """A row of a table; returns its id."""
    columns = await connection.fetch(
        """
        SELECT attname AS name, format_type(atttypid, NULL) AS type
          FROM pg_attribute
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
           AND attnotnull AND NOT atthasdef AND attidentity = ''
        """,
        table,
    )
    row = {column["name"]: _VALUES.get(column["type"]) for column in columns} | values
    names = ", ".join(f'"{name}"' for name in row)
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    inserted = await connection.fetchrow(
        f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING *", *row.values()
    )
    assert inserted is not None
    return int(inserted["id"])


async def user(
    connection: Connection, affiliation: str | None = "employee", *, priority: bool = False
) -> int:
    """A user; without an affiliation there is no Owner row."""
    number = next(_numbers)
    pk = await insert(connection, "auth_user", username=f"user{number}")
    if affiliation is not None:
        await insert(
            connection,
            "authentication_owner",
            user_id=pk,
            affiliation=affiliation,
            hashkey=f"{number:064d}",
        )
    if priority:
        await insert(connection, "runner_manager_priority_user", user_id=pk)
    return pk


async def site(connection: Connection, domain: str) -> int:
    """A site; sites made by the schema are found again."""
    known = await connection.fetchval("SELECT id FROM django_site WHERE domain = $1", domain)
    return known or await insert(connection, "django_site", domain=domain, name=domain)


async def video(connection: Connection, owner: int | None = None, **values: object) -> int:
    """A video on no site, of an employee unless told."""
    number = next(_numbers)
    type_ = await connection.fetchval("SELECT min(id) FROM video_type")
    return await insert(
        connection,
        "video_video",
        **{
            "owner_id": owner if owner is not None else await user(connection),
            "type_id": type_ or await insert(connection, "video_type", title="Other", slug=f"other-{number}"),
            "video": f"videos/owner/film-{number}.mp4",
            "slug": f"{number:04d}-film",
            "title": f"Film {number}",
            **values,
        },
    )


async def recording(connection: Connection, source_file: str | None = None, **values: object) -> int:
    """A studio recording with a recorder of its own."""
    number = next(_numbers)
    type_ = await connection.fetchval("SELECT min(id) FROM video_type")
    recorder = await insert(
        connection,
        "recorder_recorder",
        type_id=type_ or await insert(connection, "video_type", title="Other", slug=f"other-{number}"),
        name=f"Room {number}",
        directory=f"room-{number}",
        address_ip=f"10.0.{number // 250}.{number % 250}",
    )
    return await insert(
        connection,
        "recorder_recording",
        **{
            "recorder_id": recorder,
            "user_id": await user(connection),
            "source_file": source_file or f"/srv/media/opencast-files/{number}/{number}.xml",
            **values,
        },
    )


async def task(
    connection: Connection, type_: str = "encoding", status: str = "pending", **values: object
) -> TaskPk:
    """A task, by default an encoding of a new video that waits since noon."""
    if type_ == "studio" and "recording_id" not in values:
        values["recording_id"] = await recording(connection)
    if type_ != "studio" and "video_id" not in values:
        values["video_id"] = await video(connection)
    return TaskPk(
        await insert(
            connection,
            "runner_manager_task",
            **{"type": type_, "status": status, "date_added": NOON, **values},
        )
    )


async def manager(connection: Connection, site_id: int, **values: object) -> int:
    """A runner manager of a site."""
    number = next(_numbers)
    return await insert(
        connection,
        "runner_manager",
        **{
            "site_id": site_id,
            "name": f"rm{number}",
            "url": f"https://rm{number}.example.org/",
            "token": f"token-{number}",
            "priority": 1,
            "is_active": True,
            **values,
        },
    )


def later(minutes: float) -> datetime:
    """Noon and some minutes."""
    return NOON + timedelta(minutes=minutes)


async def status_of(connection: Connection, pk: TaskPk) -> str:
    """The status a task has now."""
    found = await get_task(connection, pk)
    assert found is not None
    return found.status


async def all_rows(connection: Connection, table: str) -> list[asyncpg.Record]:
    """A whole table, in the order of its ids."""
    return await connection.fetch(f"SELECT * FROM {table} ORDER BY id")
