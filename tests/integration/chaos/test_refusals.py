"""What the fault campaign does inside a real database really happens there, and is mended again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import TypeAlias

import asyncpg
import pytest

from chaos.sabotage import refusals
from chaos.sabotage.fault import Fault, Lot
from chaos.sabotage.refusals import DatabaseFaults
from chaos.timeline import Incident, Kind, Timeline
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.sandbox.pod.seed import seed_world
from poddispatchd.sandbox.pod.world import add_task, add_video
from tests.plugins.postgres import PodDatabase

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class _Held:
    """Faults that last until the test has looked."""

    def __init__(self, database: PodDatabase) -> None:
        self._dsn = database.dsn.get_secret_value()
        self.timeline = Timeline()
        self.faults = DatabaseFaults(self.connect, self.timeline, Lot(Random(4), brevity=1e6))

    async def connect(self, application: str = "") -> _Connection:
        settings = (
            {"application_name": application} if application else {"default_transaction_read_only": "off"}
        )
        return await asyncpg.connect(self._dsn, server_settings=settings)

    @asynccontextmanager
    async def during(self, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Incident]:
        """The incident while the fault lasts."""
        begun, over = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            begun.set()
            await over.wait()

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "sleep", sleep)
            work = asyncio.create_task(fault())
            async with asyncio.timeout(20):
                waiting = asyncio.create_task(begun.wait())
                await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                try:
                    yield self.timeline.incidents[-1]
                finally:
                    over.set()
                    await work


@pytest.fixture
async def held(pod_database: PodDatabase, media_root: Path) -> _Held:
    async with pod_database.connection() as connection:
        world = await seed_world(connection, media_root, variant=pod_database.variant)
        for number in range(2):
            video = await add_video(connection, world, title=f"Video {number}", owner="student")
            await add_task(connection, TaskType.ENCODING, video=video, status=TaskStatus.RUNNING)
    return _Held(pod_database)


async def _refused(held: _Held, statement: str, application: str = "poddispatchd") -> str | None:
    """The SQLSTATE that a statement is refused with, None when it is carried out."""
    connection = await held.connect(application)
    try:
        await connection.execute("SET lock_timeout = '200ms'")
        await connection.execute(statement)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    finally:
        with suppress(asyncpg.InterfaceError):
            await connection.close()
    return None


_TOUCH = "UPDATE runner_manager_task SET status = status"


async def test_a_held_row_cannot_be_had_and_the_others_can(
    held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held.during(held.faults.lock_row, monkeypatch) as incident:
        assert incident.kind is Kind.ROW_LOCKED
        pk = incident.target.removeprefix("task ")
        assert await _refused(held, f"{_TOUCH} WHERE id = {pk}") == incident.detail == "55P03"
        assert await _refused(held, f"{_TOUCH} WHERE id <> {pk}") is None
    assert await _refused(held, _TOUCH) is None


async def test_a_refused_row_cannot_be_written_by_daemons(
    held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held.during(held.faults.refuse_row, monkeypatch) as incident:
        pk = incident.target.removeprefix("task ")
        assert await _refused(held, f"{_TOUCH} WHERE id = {pk}") == incident.detail
        assert await _refused(held, f"{_TOUCH} WHERE id <> {pk}") is None
        assert await _refused(held, _TOUCH, "psql") is None
    assert incident.happened
    assert await _refused(held, _TOUCH) is None


async def test_a_refusal_that_nobody_met_has_not_happened(
    held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with held.during(held.faults.refuse_row, monkeypatch) as incident:
        pass
    assert not incident.happened


@pytest.mark.parametrize("code", ["P0001", "53100", "42501"])
async def test_a_refused_table_takes_no_write_of_daemons(
    held: _Held, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(refusals, "_TABLES", ("runner_manager_task",))
    monkeypatch.setattr(refusals, "_OF_A_TABLE", (code,))
    async with held.during(held.faults.refuse_table, monkeypatch) as incident:
        assert await _refused(held, _TOUCH) == incident.detail == code
        assert await _refused(held, "DELETE FROM runner_manager_task") == code
    assert incident.happened
    assert await _refused(held, _TOUCH) is None


async def test_read_only_sessions_end_the_old_ones_and_stay_so(
    held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, ended = await held.connect("poddispatchd"), asyncio.Event()
    before.add_termination_listener(lambda _: ended.set())
    async with held.during(held.faults.make_read_only, monkeypatch) as incident:
        await ended.wait()
        begun_meanwhile = await held.connect("poddispatchd")
        assert await _refused(held, _TOUCH) == incident.detail == "25006"
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await begun_meanwhile.execute(_TOUCH)
    await begun_meanwhile.close()
    assert await _refused(held, _TOUCH) is None


async def test_a_full_database_takes_no_row_of_daemons_in_any_table(
    held: _Held, pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pod_database.connection() as connection:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS poddispatchd")
        await connection.execute("CREATE TABLE poddispatchd.of_ours (name text)")
    write = "INSERT INTO poddispatchd.of_ours (name) VALUES ('new')"
    async with held.during(held.faults.fill_database, monkeypatch) as incident:
        assert await _refused(held, _TOUCH) == incident.detail == "53100"
        assert await _refused(held, write) == "53100"
        assert await _refused(held, write, "psql") is None
        assert await _refused(held, "DELETE FROM poddispatchd.of_ours") is None
    assert incident.happened
    assert await _refused(held, _TOUCH) is None
    assert await _refused(held, write) is None


@pytest.mark.parametrize(
    ("code", "repair"),
    [
        ("23502", "SET DEFAULT"),
        ("23502", "DROP COLUMN"),
        ("42703", "RENAME COLUMN"),
        ("42P01", "RENAME TO"),
    ],
)
async def test_a_migrated_table_is_another_one_until_it_is_mended(
    held: _Held, pod_database: PodDatabase, monkeypatch: pytest.MonkeyPatch, code: str, repair: str
) -> None:
    async with pod_database.connection() as connection:
        await connection.execute("CREATE TABLE migrated (name text)")
    write = "INSERT INTO migrated (name) VALUES ('new')"
    assert await _refused(held, write) is None
    monkeypatch.setattr(refusals, "_COLUMN_OF", {"migrated": "name"})

    def one_of(_: Lot, offered: Sequence[object]) -> object:
        wanted = (one for one in offered if getattr(one, "code", None) == code or repair in str(one))
        return next(wanted, "migrated")

    monkeypatch.setattr(Lot, "one_of", one_of)
    async with held.during(held.faults.migrate, monkeypatch) as incident:
        assert incident.target == "migrated"
        assert await _refused(held, write) == incident.detail == code
    assert await _refused(held, write) is None


def test_every_migrated_table_has_a_column_that_results_need() -> None:
    assert set(refusals._MIGRATED) == refusals._COLUMN_OF.keys()


async def test_a_trigger_goes_although_its_table_has_another_name_meanwhile(
    held: _Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_TABLES", ("runner_manager_task",))
    renaming = "ALTER TABLE {} RENAME TO {}".format
    async with held.during(held.faults.refuse_table, monkeypatch):
        assert await _refused(held, renaming("runner_manager_task", "away"), "psql") is None
    assert await _refused(held, renaming("away", "runner_manager_task"), "psql") is None
    assert await _refused(held, _TOUCH) is None
