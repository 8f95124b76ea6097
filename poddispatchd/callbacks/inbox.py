"""The inbox: callbacks committed before they are answered (invariant I3), handled afterwards."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import ManagerId, Run, RunnerStatus, RunnerTaskId
from poddispatchd.journal.ages import with_ages
from poddispatchd.runtime.lease_queue import Lease, Leased

_NEWEST = 1000
"""Tasks of Pod's among which an id is looked for at once: those that it submitted itself a moment ago."""

_SHORTEST_DELAY = 2.0
_LONGEST_DELAY = 60.0

_QUERIES = {
    name: query.fill(newest=str(_NEWEST)) for name, query in load_queries(__package__, "inbox.sql").items()
}
_UNANSWERED_FOR = with_ages(_QUERIES["unanswered_for"], unanswered_for="unanswered_since")


class CallbackState(StrEnum):
    """What became of a callback."""

    OPEN = "open"
    APPLIED = "applied"
    IGNORED = "ignored"
    """It changed nothing: a repetition, or late."""
    ORPHANED = "orphaned"
    """No task of Pod's belongs to it."""


class Turn(StrEnum):
    """Whether a callback can be applied."""

    NOW = "now"
    LATER = "later"
    """An earlier one about the same task is due, or another instance is at it."""
    OVER = "over"
    """Another instance has applied it, or is at it now."""


class RecordedCallback(Struct, frozen=True):
    """A callback in the inbox, leased; ``age`` as of ``Leased``.

    ``managers`` are all those whose token signed it.
    """

    lease: Lease
    managers: tuple[ManagerId, ...]
    callback: Callback
    age: float

    @classmethod
    def of(cls, leased: Leased) -> "RecordedCallback":
        """What a row of the queue holds.

        Raises:
            ValueError: a status that no manager has.
        """
        row = leased.row
        return cls(
            lease=leased.lease,
            managers=tuple(ManagerId(manager) for manager in row["runner_manager_ids"]),
            callback=Callback(
                task_id=RunnerTaskId(row["task_id"]),
                status=RunnerStatus(row["status"]),
                error_message=row["error_message"],
                script_output=row["script_output"],
            ),
            age=leased.age,
        )

    def delay(self, random: float) -> float:
        """Seconds until a silent manager is asked about it again: longer for an older one. Not counted.

        ``random``: from 0 to 1.
        """
        return min(_LONGEST_DELAY, max(_SHORTEST_DELAY, self.age / 4)) * (0.75 + random / 2)


def text_bytes(leased: Leased) -> int:
    """How many bytes the texts of a row of the queue have, as its claim counts them."""
    texts = (leased.row["script_output"], leased.row["error_message"])
    return sum(len(text.encode()) for text in texts if text is not None)


class Entry(Struct, frozen=True):
    """A callback to record; ``is_known``: a task of these managers has this id, it need not be looked for."""

    managers: tuple[ManagerId, ...]
    callback: Callback
    is_known: bool = False


async def record_all(connection: Connection, entries: Sequence[Entry]) -> list[bool]:
    """Commit callbacks by one statement, in this order; for each, whether it is in the inbox now.

    It is not when it concerns no task that can be told without a search through all of Pod's. One that
    repeats a callback not handled yet is recorded once.
    """
    callbacks = [entry.callback for entry in entries]
    rows = await connection.fetch(
        *_QUERIES["record_all"](
            # As text: arrays inside an array must all be of one length in PostgreSQL.
            managers=["{" + ",".join(map(str, entry.managers)) + "}" for entry in entries],
            task_ids=[callback.task_id for callback in callbacks],
            statuses=[callback.status.value for callback in callbacks],
            error_messages=[callback.error_message for callback in callbacks],
            script_outputs=[callback.script_output for callback in callbacks],
            digests=[_digest(entry.managers, entry.callback) for entry in entries],
            known=[entry.is_known for entry in entries],
        ),
    )
    return [row["is_expected"] for row in rows]


async def record(connection: Connection, managers: tuple[ManagerId, ...], callback: Callback) -> None:
    """Commit a callback about a known task; one that repeats another, not handled yet, is recorded once."""
    await record_all(connection, [Entry(managers, callback, is_known=True)])


async def is_expected(connection: Connection, managers: tuple[ManagerId, ...], task_id: RunnerTaskId) -> bool:
    """Whether a task id under these managers' token is, or can be, that of a submission of ours.

    Costs two looks into an index, where Pod's table has none of its ids.
    """
    return bool(await connection.fetchval(*_QUERIES["expected"](managers=list(managers), task_id=task_id)))


async def lock(connection: Connection, callback: RecordedCallback) -> Turn:
    """Keep others from applying a callback until the end of the transaction."""
    is_next = await connection.fetchval(
        *_QUERIES["lock"](callback=callback.lease.key, owner=callback.lease.owner)
    )
    if is_next is None:
        return Turn.OVER
    return Turn.NOW if is_next else Turn.LATER


async def lock_next(connection: Connection, callbacks: Sequence[RecordedCallback]) -> set[object]:
    """The keys of those of these callbacks, all leased by one owner, that can be applied one after the other.

    Nobody else applies them until the end of the transaction.
    """
    rows = await connection.fetch(
        *_QUERIES["lock_next"](
            callbacks=[callback.lease.key for callback in callbacks], owner=callbacks[0].lease.owner
        )
    )
    return {row["id"] for row in rows}


async def unanswered_for(connection: Connection, callback: RecordedCallback, *, ours: datetime) -> float:
    """Its manager has not told now what a callback is about: for how many seconds it has not.

    Time in which nobody asked does not count, nor what one clock was put forward by; ``ours``: now, by ours.
    """
    query = _UNANSWERED_FOR(callback=callback.lease.key, owner=callback.lease.owner, ours=ours)
    seconds: float | None = await connection.fetchval(*query)
    return seconds or 0.0


class ReceivedCallback(Struct, frozen=True):
    """A callback as people see it.

    ``outcome`` is what it did, once it is handled; ``last_error`` says why it could not be applied, if it was
    tried; ``next_attempt_at`` is when it is tried again.
    """

    status: str
    state: str
    outcome: str | None
    attempts: int
    last_error: str | None
    received_at: datetime
    handled_at: datetime | None
    next_attempt_at: datetime | None
    task_id: str


async def of_runs(connection: Connection, runs: Collection[Run]) -> list[ReceivedCallback]:
    """The callbacks about these runs, oldest first."""
    query = _QUERIES["of_runs"](
        managers=[run.runner_manager_id for run in runs], task_ids=[run.task_id for run in runs]
    )
    return [ReceivedCallback(**row) for row in await connection.fetch(*query)]


class CallbackEnd(Struct, frozen=True):
    """How a callback ends; ``outcome`` is what people read about it."""

    callback: RecordedCallback
    state: CallbackState
    outcome: str


async def close_callbacks(connection: Connection, ends: Sequence[CallbackEnd]) -> None:
    """Close callbacks; those that are closed already stay as they are."""
    await connection.execute(
        *_QUERIES["settle"](
            callbacks=[end.callback.lease.key for end in ends],
            states=[end.state.value for end in ends],
            outcomes=[end.outcome for end in ends],
        )
    )


def _digest(managers: tuple[ManagerId, ...], callback: Callback) -> bytes:
    digest = hashlib.sha256(repr((managers, callback.status.value)).encode())
    for text in (callback.error_message, callback.script_output):
        # Of no text and an empty one only the latter has a length.
        encoded = b"" if text is None else text.encode()
        digest.update(b"-" if text is None else b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.digest()
