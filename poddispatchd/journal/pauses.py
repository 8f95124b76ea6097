"""Times in which a runner manager gets no new tasks."""

from datetime import datetime

from poddispatchd.database.connections import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import ManagerId

_QUERIES = load_queries(__package__, "pauses.sql")


async def pause(connection: Connection, manager: ManagerId, *, reason: str = "") -> None:
    """Give a runner manager no new tasks until it is resumed; the ones it has go on."""
    await connection.execute(*_QUERIES["pause"](runner_manager=manager, reason=reason))


async def plan(
    connection: Connection,
    manager: ManagerId,
    *,
    begins: datetime | None,
    ends: datetime | None,
    reason: str = "",
) -> None:
    """Give a runner manager no new tasks from one moment to another.

    Args:
        connection: any one.
        manager: which one.
        begins: the moment; None: now, by the database's clock.
        ends: the other one; None: until it is resumed.
        reason: why, for people.
    """
    await connection.execute(
        *_QUERIES["plan"](runner_manager=manager, begins_at=begins, ends_at=ends, reason=reason)
    )


async def resume(connection: Connection, manager: ManagerId) -> bool:
    """Give a runner manager tasks again; False when it was not paused. Pauses to come stay planned."""
    return bool(await connection.fetchval(*_QUERIES["resume"](runner_manager=manager)))


async def cancel_planned(connection: Connection, manager: ManagerId) -> int:
    """Forget the pauses of a runner manager that have not begun; how many there were."""
    done: str = await connection.execute(*_QUERIES["cancel_planned"](runner_manager=manager))
    return int(done.removeprefix("DELETE "))


async def purge(connection: Connection, *, days: int) -> bool:
    """Forget pauses that ended more than so many days ago, all at once: people make them."""
    await connection.execute(*_QUERIES["purge"](days=days))
    return False
