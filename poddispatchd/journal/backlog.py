"""How much waits in the journal's queues."""

from dataclasses import dataclass
from datetime import datetime

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries

_QUERIES = load_queries(__package__, "backlog.sql")

QUEUES = ("callbacks", "imports", "mail", "push", "hook")
"""The queues, as metrics name them: the last three are deliveries by their channel."""


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """One queue: what waits, since when the oldest has, and what was set aside for a person to look at."""

    waiting: int = 0
    oldest: datetime | None = None
    set_aside: int = 0


async def backlogs(connection: Connection) -> dict[str, QueueBacklog]:
    """Every queue, empty ones too."""
    found = {
        row["queue"]: QueueBacklog(row["waiting"], row["oldest"], row["set_aside"])
        for row in await connection.fetch(_QUERIES["backlog"])
    }
    return {name: found.get(name, QueueBacklog()) for name in QUEUES}
