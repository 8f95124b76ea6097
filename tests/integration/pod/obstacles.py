"""Tables that refuse what is written into them, or that somebody else holds."""

import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import cycle, islice

from poddispatchd.domain.task import TaskType
from tests.plugins.postgres import PodDatabase

SECRET = "not today"
"""A text of the site's own, which must not be told."""

_OBSTACLES = ("P0001", "53100", "held")
"""See ``in_the_way``."""

_REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{words}: %', NEW USING ERRCODE = '{code}'; END $$;
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


def rounds(*kinds: TaskType) -> list[tuple[TaskType, int]]:
    """Kinds of tasks, each with a place in the obstacles at which ``with_obstacles`` is to begin for it.

    Each table meets one of them, and for another kind another one; with ``make test-thorough``, each.
    """
    if os.environ.get("PODDISPATCHD_TEST_THOROUGH"):
        return [(kind, first) for kind in kinds for first in range(len(_OBSTACLES))]
    return [(kind, number % len(_OBSTACLES)) for number, kind in enumerate(kinds)]


def with_obstacles(tables: Iterable[str], first: int) -> Iterator[tuple[str, str]]:
    """Tables, and of the obstacles one after the other for the next of them."""
    return zip(tables, islice(cycle(_OBSTACLES), first, None), strict=False)


@asynccontextmanager
async def noted(database: PodDatabase) -> AsyncIterator[list[str]]:
    """The tables of Pod's and of ours in which rows are inserted or changed meanwhile; told at the end."""
    found: list[str] = []
    async with database.connection() as connection:
        await connection.execute(_NOTE)
        yield found
        await connection.execute("DROP FUNCTION note() CASCADE")
        found += [row[0] for row in await connection.fetch("SELECT DISTINCT name FROM written ORDER BY 1")]
        await connection.execute("DROP TABLE written")


@asynccontextmanager
async def in_the_way(database: PodDatabase, table: str, obstacle: str) -> AsyncIterator[None]:
    """Nobody can write into a table.

    ``obstacle`` is ``held``: another session has locked it, as while an index is built; or the SQLSTATE with
    which a trigger of the site refuses every row.
    """
    async with database.connection() as other:
        if obstacle == "held":
            async with other.transaction():
                await other.execute(f"LOCK TABLE {table} IN SHARE MODE")
                yield
            return
        await other.execute(_REFUSE.format(table=table, code=obstacle, words=SECRET))
        try:
            yield
        finally:
            await other.execute("DROP FUNCTION refuse() CASCADE")
