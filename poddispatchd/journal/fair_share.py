"""Runner time that parties had lately, and which tasks overtook others."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from poddispatchd.database.connections import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.fair_share import HALF_LIFE, FairShare, Overtaking
from poddispatchd.domain.task import TaskPk

_QUERIES = load_queries(__package__, "fair_share.sql")

_MOST = 10_000
"""Overtakings that are looked at: the last ones decide."""


class GivenRunner(Struct, frozen=True):
    """A task was given a runner that tasks of ``types`` could have had, ``age`` seconds ago."""

    task: TaskPk
    priority: int
    date_added: datetime
    types: Sequence[str]
    age: float


async def used(connection: Connection, by: FairShare) -> dict[str, float]:
    """Seconds of runner time that each party had lately."""
    name = "used_by_owner" if by is FairShare.OWNER else "used_by_establishment"
    rows = await connection.fetch(*_QUERIES[name](half_life=HALF_LIFE))
    return {row["party"]: row["seconds"] for row in rows}


async def costs(connection: Connection) -> Mapping[str, float]:
    """Seconds that a run of each type takes."""
    return {row["task_type"]: row["seconds"] for row in await connection.fetch(*_QUERIES["costs"]())}


async def note(connection: Connection, given: Sequence[GivenRunner]) -> None:
    """Remember who was given a runner that others could have had."""
    rows = [(one, kind) for one in given for kind in one.types]
    await connection.execute(
        *_QUERIES["note"](
            tasks=[one.task for one, _ in rows],
            types=[kind for _, kind in rows],
            priorities=[one.priority for one, _ in rows],
            dates=[one.date_added for one, _ in rows],
            ages=[one.age for one, _ in rows],
        )
    )


async def tidy(connection: Connection) -> None:
    """Note which of those have no runner any more, and forget whom nobody stands before."""
    await connection.execute(*_QUERIES["end"]())
    await connection.execute(*_QUERIES["forget"]())


async def purge(connection: Connection) -> None:
    """Forget what is as good as forgotten: fair share was switched off, perhaps."""
    await connection.execute(*_QUERIES["purge"]())


async def overtakings(connection: Connection) -> list[Overtaking]:
    """Who overtook whom, and for how long."""
    return [
        Overtaking(
            row["priority"], row["task_type"], (row["date_added"], TaskPk(row["task_pk"])), row["seconds"]
        )
        for row in await connection.fetch(*_QUERIES["overtakings"](most=_MOST))
    ]
