"""Tables that refuse what is written into them, or that somebody else holds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.plugins.postgres import PodDatabase

SECRET = "not today"
"""A text of the site's own, which must not be told."""

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
