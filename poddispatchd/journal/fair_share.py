"""Runner time that parties had lately, and which tasks overtook others."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from poddispatchd.database.connections import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.fair_share import HALF_LIFE, UNKNOWN_RUN, FairShare, Kind, Overtaking, Place
from poddispatchd.domain.task import TaskPk

_QUERIES = load_queries(__package__, "fair_share.sql")

_DUE = _QUERIES["due"].fill(overtakings=_QUERIES["overtakings"])


class RunLengths(Struct, frozen=True):
    """Seconds that runs of each type took lately: on average, and nine of ten at most."""

    average: Mapping[str, float] = {}
    nine_of_ten: Mapping[str, float] = {}

    @property
    def longest(self) -> float:
        """For how long somebody is reckoned to have a runner, whatever the type."""
        return max(self.nine_of_ten.values(), default=UNKNOWN_RUN)


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


async def run_lengths(connection: Connection) -> RunLengths:
    """How long runs took lately; types of which none has ended are left out."""
    rows = await connection.fetch(*_QUERIES["costs"]())
    return RunLengths(
        {row["task_type"]: row["seconds"] for row in rows},
        {row["task_type"]: row["nine_of_ten"] for row in rows},
    )


async def note(connection: Connection, given: Sequence[GivenRunner]) -> int:
    """Remember who was given a runner that others could have had, in the order in which that was.

    Returns:
        How many more may be given until that must be done again: as many put others back by a run.
    """
    # A task whose run failed at once is given another runner within seconds: the last one counts, as it does
    # where that was noted before. One statement cannot write a row twice.
    rows = {(one.task, kind): one for one in given for kind in one.types}
    found: int = await connection.fetchval(
        *_QUERIES["note"](
            tasks=[task for task, _ in rows],
            types=[kind for _, kind in rows],
            priorities=[one.priority for one in rows.values()],
            dates=[one.date_added for one in rows.values()],
            ages=[one.age for one in rows.values()],
        )
    )
    return found


async def tidy(connection: Connection) -> None:
    """Note which of those have no runner any more, and forget whom nobody stands before."""
    await connection.execute(*_QUERIES["end"]())
    await connection.execute(*_QUERIES["forget"]())


async def purge(connection: Connection, *, batch: int) -> bool:
    """Forget ``batch`` rows that count no more, as when it was switched off; whether there may be more."""
    return await connection.execute(*_QUERIES["purge"](batch=batch)) == f"DELETE {batch}"


async def overtakings(connection: Connection, lengths: RunLengths) -> list[Overtaking]:
    """Who overtook whom, and for how long."""
    return [
        Overtaking(
            row["priority"],
            row["task_type"],
            (row["date_added"], TaskPk(row["task_pk"])),
            row["seconds"],
            row["reckoned"],
        )
        for row in await connection.fetch(*_QUERIES["overtakings"](**_reckoned_by(lengths)))
    ]


async def due(connection: Connection, lengths: RunLengths, *, longest: float) -> dict[Kind, Place]:
    """Up to which places tasks go by Pod's order, by class and type: ``domain.fair_share.due_places``.

    Args:
        connection: any one.
        lengths: of runs.
        longest: seconds for which a task may be put back.
    """
    rows = await connection.fetch(*_DUE(**_reckoned_by(lengths), most=longest - lengths.longest))
    return {(row["priority"], row["task_type"]): (row["date_added"], TaskPk(row["task_pk"])) for row in rows}


def _reckoned_by(lengths: RunLengths) -> dict[str, object]:
    return {
        "types": list(lengths.nine_of_ten),
        "runs": list(lengths.nine_of_ten.values()),
        "unknown_run": UNKNOWN_RUN,
    }
