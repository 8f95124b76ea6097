"""Forgetting what the journal holds of tasks that Pod has deleted, in statements that are all short."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeAlias

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import Query, load_queries, render
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError
from poddispatchd.pod import tasks

_QUERIES = load_queries("poddispatchd.maintenance", "erasure.sql")
_BY_TASK = {"submission": "settled_at", "import": "finished_at", "notice": "settled_at"}
"""The tables whose rows are about a task and hold more of it than its number, and when a row was settled.

Deliveries are such ones as well. They are found by their own number: nothing else wants an index on their
tasks."""

_WALKS: tuple[tuple[Query, Query], ...] = (
    *(
        (
            render(_QUERIES["gone_tasks"], table=table),
            render(_QUERIES["erase"], table=table, settled_at=column),
        )
        for table, column in _BY_TASK.items()
    ),
    (_QUERIES["gone_deliveries"], _QUERIES["erase_deliveries"]),
)
"""What looks at some rows of a table, and what erases those of them that are to go."""

BEFORE_ALL = -(2**63)


Step: TypeAlias = Callable[[], Awaitable[bool]]
"""Looks at, or deletes, some rows; whether there may be more."""


class Erasure:
    """Forgets it, a step after the other; remembers how far it has come in each table."""

    def __init__(self) -> None:
        self._behind: dict[int, int] = {}
        self._behind_callback = BEFORE_ALL

    def steps(self, connection: Connection, *, batch: int) -> list[Step]:
        """What forgets it, each to be repeated until there is no more.

        Args:
            connection: in no transaction, so that no row is held for longer than a statement takes.
            batch: rows that a statement looks at.
        """
        return [
            *(partial(self._walk_on, connection, number, batch) for number in range(len(_WALKS))),
            partial(self._erase_callbacks, connection, batch),
            partial(_forget_owners, connection, batch),
        ]

    async def _walk_on(self, connection: Connection, number: int, batch: int) -> bool:
        looks, erases = _WALKS[number]
        behind = self._behind.pop(number, BEFORE_ALL)
        looked = await connection.fetchrow(*looks(after=behind, limit=batch))
        assert looked is not None  # noqa: S101 - an aggregate without GROUP BY always has a row
        if looked["up_to"] is None:
            return False
        # Before anything is erased: what is refused or held is passed over, and is met again the next time.
        self._behind[number] = looked["up_to"]
        if looked["gone"]:
            await connection.execute(*erases(gone=looked["gone"]))
        return True

    async def _erase_callbacks(self, connection: Connection, batch: int) -> bool:
        """Forget callbacks that were set aside, of runs that no task has."""
        behind, self._behind_callback = self._behind_callback, BEFORE_ALL
        rows = await connection.fetch(*_QUERIES["set_aside_callbacks"](after=behind, limit=batch))
        if not rows:
            return False
        self._behind_callback = rows[-1]["id"]
        wanted = {row["task_id"] for row in rows}
        async for after, up_to in windows(lambda row: tasks.next_window(connection, row, limit=batch)):
            held = _QUERIES["held_ids"](after=after, up_to=up_to, task_ids=sorted(wanted))
            wanted -= {row["task_id"] for row in await connection.fetch(*held)}
            if not wanted:
                break
        gone = [row["id"] for row in rows if row["task_id"] in wanted]
        await connection.execute(*_QUERIES["erase_callbacks"](callbacks=gone))
        return True


async def each_apart(*parts: Callable[[], Awaitable[None]]) -> None:
    """Do one thing after the other, also behind one that the database refuses (invariant I12).

    Raises:
        DatabaseUnavailableError: the database is lost.
        DatabaseError: the first one that any of them met.
    """
    refused: DatabaseError | None = None
    for part in parts:
        try:
            await part()
        except DatabaseUnavailableError:
            raise
        except DatabaseError as error:
            refused = refused or error
    if refused is not None:
        raise refused


async def _forget_owners(connection: Connection, batch: int) -> bool:
    return await connection.execute(*_QUERIES["forget_owners"](batch=batch)) == f"UPDATE {batch}"


async def windows(
    next_one: Callable[[int], Awaitable[int | None]], *, behind: int = BEFORE_ALL
) -> AsyncIterator[tuple[int, int]]:
    """The rows of a table, some at a time: behind which row they stand, and which is the last of them.

    Args:
        next_one: the last one of those behind a row; None when there is none.
        behind: the row behind which the first of them stands.
    """
    after = behind
    while (up_to := await next_one(after)) is not None:
        yield after, up_to
        after = up_to
