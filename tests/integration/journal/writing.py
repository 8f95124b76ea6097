"""What tests write into the journal, and read of it, without the decisions that the daemon takes before."""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from poddispatchd.database.connections import Connection
from poddispatchd.domain.task import ManagerId, Task, TaskPk
from poddispatchd.journal import submissions
from poddispatchd.journal.submissions import Submission
from tests.plugins.postgres import PodDatabase


async def add_intent(
    connection: Connection,
    task: Task,
    manager: ManagerId,
    *,
    attempt: int = 1,
    body: bytes = b"{}",
    waiting: Mapping[TaskPk, datetime] | None = None,
) -> Submission:
    """An open submission, which is for the tasks ``waiting`` as well."""
    key = await connection.fetchval(
        """
        INSERT INTO poddispatchd.submission (task_pk, task_type, runner_manager_id, attempt, body, date_added)
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
        """,
        task.pk,
        task.type.value,
        manager,
        attempt,
        body,
        task.date_added,
    )
    await connection.executemany(
        "INSERT INTO poddispatchd.wish (submission_id, task_pk, date_added) VALUES ($1, $2, $3)",
        [(key, pk, added) for pk, added in (waiting or {}).items()],
    )
    return next(each for each in await submissions.open_submissions(connection) if each.id == key)


async def lease_left(connection: Connection) -> float | None:
    """Seconds until the scheduler's lease runs out; None without one."""
    left: float | None = await connection.fetchval(
        "SELECT extract(epoch FROM lease_expires_at - now())::float8 FROM poddispatchd.leader"
    )
    return left


async def until_one_waits(pod_database: PodDatabase) -> None:
    """Come back as soon as a session of the database waits for a lock."""
    waits = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with pod_database.connection() as connection:
        for _ in range(2000):
            if await connection.fetchval(waits):
                return
            await asyncio.sleep(0.005)
    raise AssertionError("no session waits for a lock")
