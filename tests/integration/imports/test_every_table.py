"""Whatever table refuses what an import writes, or is held: the result waits and comes in once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.errors import DatabaseError
from poddispatchd.imports import attempt
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'not today: %', NEW USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()
"""


_NOTE = """
CREATE TABLE written (name text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO written VALUES (TG_RELID::regclass::text); RETURN NULL; END $$;
DO $$ DECLARE name regclass; BEGIN
    FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relname <> 'written'
                   AND relnamespace IN ('public'::regnamespace, 'poddispatchd'::regnamespace) LOOP
        EXECUTE format('CREATE TRIGGER note AFTER INSERT OR UPDATE ON %s'
                       ' FOR EACH ROW EXECUTE FUNCTION note()', name);
    END LOOP;
END $$
"""


async def _written(here: Bench, kind: TaskType) -> list[str]:
    """The tables of Pod's and of ours in which an import of this kind inserts or changes rows."""
    task = await here.ready(kind)
    await here.execute(_NOTE)
    await here.import_due()
    assert await here.status(task) == "completed"
    await here.execute("DROP FUNCTION note() CASCADE")
    async with here.pod.connection() as connection:
        return [row[0] for row in await connection.fetch("SELECT DISTINCT name FROM written ORDER BY 1")]


@asynccontextmanager
async def _refusing(here: Bench, table: str, code: str) -> AsyncIterator[None]:
    """A trigger of the site refuses every row of a table."""
    await here.execute(_REFUSE.format(table=table, code=code))
    try:
        yield
    finally:
        await here.execute("DROP FUNCTION refuse() CASCADE")


@asynccontextmanager
async def _held(here: Bench, table: str) -> AsyncIterator[None]:
    """Another session lets nobody write into a table, as while an index is built."""
    async with here.pod.connection() as other, other.transaction():
        await other.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield


async def _still_waits(here: Bench, task: TaskPk) -> None:
    assert await here.status(task) == "running"
    [(state, attempts, _)] = await here.imports_of(task)
    assert (state, attempts <= 1) == ("open", True)
    assert "not today" not in str(await here.imports_of(task)) + await here.words(task)


async def _comes_in(here: Bench, task: TaskPk) -> None:
    here.clock.ahead += 3600
    await here.execute(
        "UPDATE poddispatchd.import SET lease_owner = NULL, lease_expires_at = NULL WHERE state = 'open'"
    )
    await here.import_again()
    assert await here.status(task) == "completed"
    assert [state for state, *_ in await here.imports_of(task)] == ["done"]
    assert here.staged() == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO])
@pytest.mark.parametrize("obstacle", ["P0001", "53100", "42501", "held"])
async def test_whichever_table_cannot_be_written_the_result_waits_and_comes_in_once(
    pod_database: PodDatabase,
    media_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: TaskType,
    obstacle: str,
) -> None:
    monkeypatch.setattr(attempt, "_PATIENCE_WITH_LOCKS", 0)
    async with bench(pod_database, media_root) as here:
        tables = await _written(here, kind)
        assert len(tables) > 5
        for table in tables:
            task = await here.ready(kind)
            around = _held(here, table) if obstacle == "held" else _refusing(here, table, obstacle)
            async with around:
                with suppress(DatabaseError):  # the queue itself: the job meets it, and looks again
                    await here.import_due()
                if await here.status(task) != "completed":
                    await _still_waits(here, task)
            await _comes_in(here, task) if await here.status(task) != "completed" else None
