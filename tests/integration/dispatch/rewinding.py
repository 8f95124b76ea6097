"""A recorded Pod that is brought back to its start state instead of being copied again."""

from dataclasses import dataclass

from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from tests.plugins.shared_world import SharedWorld

_CHANGED = (
    "runner_manager",
    "runner_manager_task",
    "video_video",
    "video_video_sites",
    "authentication_owner",
    "runner_manager_priority_user",
    "recorder_recording",
    "video_encode_transcript_encodingstep",
    "video_encode_transcript_encodinglog",
)
"""Tables that a case, or the dispatcher in it, changes."""

_REWIND_SEQUENCE = """
    SELECT setval(pg_get_serial_sequence('runner_manager_task', 'id'),
                  (SELECT max(id) FROM kept.runner_manager_task))
"""


@dataclass(frozen=True, slots=True)
class RewindingWorld:
    """A recorded Pod that serves for one case after the other: copying it takes longer than a case."""

    world: SharedWorld

    async def keep(self) -> None:
        """Keep the start state, with our own schema."""
        database = Database(self.world.database.dsn)
        await database.open()
        try:
            await migration.upgrade(database)
        finally:
            await database.close()
        async with self.world.database.connection() as connection:
            await connection.execute("CREATE SCHEMA kept")
            for table in _CHANGED:
                await connection.execute(f"CREATE TABLE kept.{table} AS TABLE {table}")

    async def rewind(self) -> None:
        """Back to the start state; the files that cases leave behind are in nobody's way."""
        async with self.world.database.connection() as connection:
            await connection.execute("SET session_replication_role = replica")
            for table in _CHANGED:
                await connection.execute(
                    f"DELETE FROM {table}; INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE kept.{table}"
                )
            await connection.execute(_REWIND_SEQUENCE)
            journal = await connection.fetch(
                "SELECT relname AS name FROM pg_class WHERE relnamespace = 'poddispatchd'::regnamespace"
                " AND relkind = 'r' AND relname NOT IN ('schema_version', 'leader')"
            )
            # Few rows each. TRUNCATE gives every table and index a new file: 10 ms instead of 0.3.
            await connection.execute(
                "; ".join(f"DELETE FROM poddispatchd.{table['name']}" for table in journal)
            )
