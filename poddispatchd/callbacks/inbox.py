"""The inbox: callbacks committed before they are answered (invariant I3), handled afterwards."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import ManagerId, RunnerStatus, RunnerTaskId

_QUERIES = load_queries(__package__, "inbox.sql")

CallbackId = NewType("CallbackId", int)


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
    """An earlier one about the same task is open: another instance is at it."""
    OVER = "over"
    """Another instance has applied it."""


@dataclass(frozen=True, slots=True)
class RecordedCallback:
    """A callback in the inbox; ``managers`` are all those whose token signed it."""

    id: CallbackId
    managers: tuple[ManagerId, ...]
    callback: Callback
    attempts: int
    received_at: datetime


async def record(connection: Connection, managers: tuple[ManagerId, ...], callback: Callback) -> None:
    """Commit a callback; one that repeats a callback not handled yet is recorded once."""
    await connection.execute(
        _QUERIES["record"],
        list(managers),
        callback.task_id,
        callback.status.value,
        callback.error_message,
        callback.script_output,
        _digest(managers, callback),
    )


async def is_expected(connection: Connection, managers: tuple[ManagerId, ...], task_id: RunnerTaskId) -> bool:
    """Whether a task id under these managers' token is, or can be, that of a submission of ours.

    Costs two looks into an index, where Pod's table has none of its ids.
    """
    return bool(await connection.fetchval(_QUERIES["expected"], list(managers), task_id))


async def claim_due(connection: Connection, limit: int) -> list[RecordedCallback]:
    """Take the next callbacks to handle, in the order they came."""
    rows = await connection.fetch(_QUERIES["claim_due"], limit)
    return [
        RecordedCallback(
            id=CallbackId(row["id"]),
            managers=tuple(ManagerId(manager) for manager in row["runner_manager_ids"]),
            callback=Callback(
                task_id=RunnerTaskId(row["task_id"]),
                status=RunnerStatus(row["status"]),
                error_message=row["error_message"],
                script_output=row["script_output"],
            ),
            attempts=row["attempts"],
            received_at=row["received_at"],
        )
        for row in sorted(rows, key=lambda row: int(row["id"]))
    ]


async def lock(connection: Connection, callback: RecordedCallback) -> Turn:
    """Keep others from applying a callback until the end of the transaction."""
    is_next = await connection.fetchval(_QUERIES["lock"], callback.id)
    if is_next is None:
        return Turn.OVER
    return Turn.NOW if is_next else Turn.LATER


async def next_due(connection: Connection) -> float | None:
    """Seconds until the next open callback is due, 0 or less when it is; None when there is none."""
    seconds: float | None = await connection.fetchval(_QUERIES["next_due"])
    return seconds


async def postpone(connection: Connection, callback: RecordedCallback, seconds: float) -> None:
    """Look at a callback again later."""
    await connection.execute(_QUERIES["postpone"], callback.id, seconds)


async def release_all(connection: Connection) -> None:
    """Make every open callback due at once: for a start, lest those of a killed instance wait."""
    await connection.execute(_QUERIES["release_all"])


async def settle(
    connection: Connection, callback: RecordedCallback, state: CallbackState, outcome: str
) -> bool:
    """Close a callback; False when it is closed already."""
    return await connection.execute(_QUERIES["settle"], callback.id, state.value, outcome) == "UPDATE 1"


def _digest(managers: tuple[ManagerId, ...], callback: Callback) -> bytes:
    digest = hashlib.sha256(repr((managers, callback.status.value)).encode())
    for text in (callback.error_message, callback.script_output):
        # Of no text and an empty one only the latter has a length.
        encoded = b"" if text is None else text.encode()
        digest.update(b"-" if text is None else b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.digest()
