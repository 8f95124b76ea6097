"""Limits of PostgreSQL's for the sessions of a role, or of a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex
from urllib.parse import urlsplit

import pytest

from poddispatchd.app.connection_checks import sessions_findings
from poddispatchd.app.findings import CheckLevel
from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import DatabaseUnavailableError
from tests.plugins.postgres import PodDatabase


@asynccontextmanager
async def _limited(
    pod_database: PodDatabase, *, role: int = -1, database: int = -1
) -> AsyncIterator[Database]:
    """Pod's database as a role that may have so many sessions."""
    name = f"limited_{token_hex(4)}"
    address = urlsplit(pod_database.dsn.get_secret_value())
    dsn = address._replace(netloc=f"{name}:limited@{address.netloc.rpartition('@')[2]}").geturl()
    async with pod_database.connection() as owner:
        of_database = f'ALTER DATABASE "{pod_database.name}" CONNECTION LIMIT'
        await owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'limited' CONNECTION LIMIT {role}")
        await owner.execute(f"{of_database} {database}")
        limited = Database(SecretStr(dsn), pool_size=2)
        try:
            yield limited
        finally:
            await limited.close()
            await owner.execute(f"{of_database} -1")
            await owner.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize("whose", ["role", "database"])
async def test_who_gets_no_session_is_told_whose_limit_that_is(pod_database: PodDatabase, whose: str) -> None:
    """It was told in PostgreSQL's words alone, and nothing said how many are wanted."""
    async with _limited(pod_database, **{whose: 0}) as database:
        with pytest.raises(
            DatabaseUnavailableError,
            match=f"All that the CONNECTION LIMIT of the {whose} allows are taken: a daemon wants",
        ):
            await database.open()


@pytest.mark.parametrize("whose", ["role", "database"])
async def test_a_limit_below_what_a_daemon_wants_is_found_by_check(
    pod_database: PodDatabase, whose: str
) -> None:
    async with _limited(pod_database, **{whose: 5}) as database:
        await database.open()
        [few] = await sessions_findings(database, pool_size=5)
        [enough] = await sessions_findings(database, pool_size=4)
    assert few.severity is CheckLevel.NOTE
    assert few.words.startswith(f"The {whose} ")
    assert (
        "(its CONNECTION LIMIT) allows 5 for all who share them. A daemon wants 6 (database.pool_size and "
        "one more), a command two: let a DBA raise it, or lower database.pool_size."
    ) in few.words
    assert (enough.severity, enough.words) == (
        CheckLevel.FINE,
        "A daemon wants 5 (database.pool_size and one more), and may have 5.",
    )


async def test_the_limit_of_the_server_counts_where_there_is_no_other(pod_database: PodDatabase) -> None:
    async with _limited(pod_database) as database:
        await database.open()
        [found] = await sessions_findings(database, pool_size=100_000)
    assert found.words.startswith("The server (max_connections, less those for superusers) allows ")
