"""What other programs were told: a daemon that takes over, or starts again, tells nothing twice."""

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.outgoing_events import ToldCampaign
from poddispatchd.domain.task import TaskType
from poddispatchd.journal.campaigns import ITSELF

_QUERIES = load_queries(__package__, "told_events.sql")


class UntoldItem(Struct, frozen=True):
    """An item that was set aside; ``subject`` names it here, ``words`` are those of its queue."""

    subject: str
    queue: str
    item: str
    task: int | None
    words: str


async def states(connection: Connection) -> dict[str, str]:
    """What was told last, by its subject."""
    return {row["subject"]: row["state"] for row in await connection.fetch(*_QUERIES["states"]())}


async def note(connection: Connection, subject: str, state: str) -> bool:
    """Something is told, in the transaction that queues it; False when it was told already."""
    return bool(await connection.fetchval(*_QUERIES["note"](subject=subject, state=state)))


async def untold_items(connection: Connection, *, limit: int) -> list[UntoldItem]:
    """Callbacks and imports that were set aside within a day, and of which nobody was told."""
    return [
        UntoldItem(row["subject"], row["queue"], row["item"], row["task"], row["words"] or "")
        for row in await connection.fetch(*_QUERIES["set_aside"](limit=limit))
    ]


class UntoldCampaign(Struct, frozen=True):
    """A campaign that is done or was paused by itself; ``subject`` names it here."""

    subject: str
    campaign: ToldCampaign


async def untold_campaigns(connection: Connection) -> list[UntoldCampaign]:
    """Those of a day, of which nobody was told."""
    return [
        UntoldCampaign(
            row["subject"],
            ToldCampaign(
                name=row["name"],
                type=TaskType(row["task_type"]),
                reason=row["reason"],
                videos=row["videos"],
                completed=row["completed"],
                failed=row["failed"],
                skipped=row["skipped"],
            ),
        )
        for row in await connection.fetch(*_QUERIES["campaigns"](itself=ITSELF))
    ]


async def purge(connection: Connection) -> bool:
    """Forget what is over, all at once: there is little of it."""
    await connection.execute(*_QUERIES["purge"]())
    return False
