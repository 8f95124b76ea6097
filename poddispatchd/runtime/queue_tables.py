"""The queues of the journal: five tables with one pattern of columns, and how each of them gives up."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from poddispatchd.database.pool import Connection
from poddispatchd.domain.backoff import Backoff
from poddispatchd.domain.import_failures import LONGEST_DELAY
from poddispatchd.domain.situation import duration_words
from poddispatchd.runtime.instances import is_dead
from poddispatchd.runtime.lease_queue import LateItems, LeaseQueue, QueueFigures, SetAsideItem
from poddispatchd.runtime.lease_table import QueueTable


def _while_tried(since: str) -> str:
    """SQL that keeps the time out of ``since`` in which nobody tried what was due.

    All was switched off then, or the server's clock was put forward: what keeps an item waiting did not last.
    """
    return f"{since} = item.{since} + greatest(now() - item.next_attempt_at, interval '0'), "


CALLBACKS = LeaseQueue(
    QueueTable(
        name="callback",
        payload=(
            "runner_manager_ids",
            "task_id",
            "status",
            "error_message",
            "script_output",
        ),
        partition="runner_manager_ids",
        task="task_id",
        lease_seconds=60.0,
        # About half an hour: what passes by itself has passed, and the manager is asked anyway.
        max_attempts=12,
        backoff=Backoff(shortest=1.0, base=2.0, cap=900.0),
        order=("id",),
        size="coalesce(octet_length(item.script_output), 0) + coalesce(octet_length(item.error_message), 0)",
        created_at="received_at",
        settled_at="handled_at",
        on_claim=_while_tried("unanswered_since"),
        dismissed="ignored",
        content=("error_message", "script_output"),
    )
)

IMPORTS = LeaseQueue(
    QueueTable(
        name="import",
        payload=(
            "task_pk",
            "runner_manager_id",
            "task_id",
            "video_id",
            "created_at",
            "of_campaign",
        ),
        partition="runner_manager_id",
        task="task_pk",
        # What a crash on another machine delays an import by.
        lease_seconds=20.0,
        # Of attempts that end in an error nobody foresaw; others end the import earlier.
        max_attempts=10,
        backoff=Backoff(shortest=1.0, base=10.0, cap=900.0),
        # What keeps an import waiting may last: ``domain.import_failures``.
        longest_uncounted=LONGEST_DELAY,
        on_claim=f"is_placing = false, {_while_tried('obstructed_since')}",
        settled_at="finished_at",
        dismissed="dropped",
        # No report of its manager has it tried again: a person has seen to it.
        on_dismiss="next_attempt_at = 'infinity', ",
    )
)

NOTICES = LeaseQueue(
    QueueTable(
        name="notice",
        payload=(
            "event",
            "task_pk",
            "task_type",
            "task_id",
            "video_id",
            "recording_id",
            "is_reported",
            "words",
            "of_campaign",
        ),
        partition="event",
        task="task_pk",
        lease_seconds=60.0,
        max_attempts=12,
        backoff=Backoff(shortest=5.0, base=15.0, cap=3600.0),
        order=("id",),
    )
)

DELIVERIES = LeaseQueue(
    QueueTable(
        name="delivery",
        payload=("channel", "task_pk", "content", "created_at"),
        partition="channel",
        task="task_pk",
        # Renewed while a server is spoken to. Long: who is frozen for a while must not have mail sent twice.
        lease_seconds=300.0,
        # About eight hours: a server that is down over night is waited for.
        max_attempts=12,
        backoff=Backoff(shortest=15.0, base=60.0, cap=4 * 3600.0),
        # So long a daemon of a release before 0012 keeps one for itself.
        longest_uncounted=900.0,
        dismissed="dropped",
        content=("content",),
    )
)

FILES = LeaseQueue(
    QueueTable(
        name="obsolete_file",
        payload=("task_pk",),
        partition="task_pk",
        task="task_pk",
        # What a crash on another machine delays an import by that brings the very file back.
        lease_seconds=120.0,
        max_attempts=12,
        backoff=Backoff(shortest=60.0, base=600.0, cap=86400.0),
        key="path",
        # What was put off comes after all others: a directory that is in trouble holds up no other one.
        order=("next_attempt_at", "path"),
        created_at="added_at",
        lease_owner="claimed_by",
        lease_expires_at="claimed_until",
        # Not what an open import is about to put in place again.
        condition=(
            "NOT EXISTS (SELECT FROM poddispatchd.import_file AS brought "
            "JOIN poddispatchd.import ON import.id = brought.import_id "
            "WHERE brought.path = item.path AND import.state = 'open')"
        ),
    )
)

QUEUES: Mapping[str, LeaseQueue] = {
    "callbacks": CALLBACKS,
    "imports": IMPORTS,
    "notices": NOTICES,
    "deliveries": DELIVERIES,
    "files": FILES,
}
"""By the name that people know them by."""

_SET_ASIDE_COUNTS = " UNION ALL ".join(
    f"SELECT '{name}' AS queue, count(*) FROM poddispatchd.{queue.table.name} WHERE state = 'set_aside'"  # noqa: S608 - constants
    for name, queue in QUEUES.items()
)

_WITH_WORDS = 20

_LATE_AFTER = 900.0
"""Seconds after which a delivery is told of: most mail servers that ask to come again are content by then."""

_LATE_NAMES = {
    "mail": ("1 mail waits to be delivered", "{} mails wait to be delivered"),
    "event": ("1 outgoing event waits to be delivered", "{} outgoing events wait to be delivered"),
    "hook": ("1 run of imports.after waits to be repeated", "{} runs of imports.after wait to be repeated"),
}
"""One delivery, and several; not pushes: the servers of people's browsers are no matter of ours."""


async def release_dead(connection: Connection) -> None:
    """Give back what daemons of this host held that ended without a word; others' leases run out."""
    for queue in QUEUES.values():
        await queue.release_dead(connection, is_dead)


async def figures(connection: Connection) -> dict[str, QueueFigures]:
    """How every queue stands."""
    return {name: await queue.figures(connection) for name, queue in QUEUES.items()}


async def set_aside_counts(connection: Connection) -> dict[str, int]:
    """How many items of each queue are set aside: one statement, however many queues there are."""
    rows = await connection.fetch(_SET_ASIDE_COUNTS)
    return {row["queue"]: row["count"] for row in rows}


async def set_aside(connection: Connection, *, limit: int = _WITH_WORDS) -> dict[str, list[SetAsideItem]]:
    """What was given up in each queue, with its words; queues without any are left out."""
    found = {name: await queue.set_aside_items(connection, limit) for name, queue in QUEUES.items()}
    return {name: items for name, items in found.items() if items}


async def late_deliveries(connection: Connection) -> list[LateItems]:
    """What has been tried in vain for long, and is tried again."""
    return await DELIVERIES.late(connection, after=_LATE_AFTER)


def late_words(late: Iterable[LateItems]) -> Iterator[str]:
    """A sentence about each kind of deliveries that wait for long."""
    for found in late:
        if (names := _LATE_NAMES.get(found.partition)) is None:
            continue
        some = names[found.items > 1].format(found.items)
        waited = duration_words(timedelta(seconds=found.age))
        yield f"{some}, the oldest for {waited}: {found.words.rstrip('.')}. See 'poddispatchd check'."


def set_aside_words(counts: Mapping[str, int]) -> str | None:
    """A sentence about what was set aside, by queue; None when nothing was."""
    names = [name for name, count in counts.items() if count]
    if not names:
        return None
    some = [f"{counts[name]} of {name}" for name in names]
    return (
        f"Set aside after too many attempts: {', '.join(some)}. "
        f"See 'poddispatchd queues list'; to try them again: 'poddispatchd queues retry {names[0]} --all'."
    )
