"""The inbox: callbacks committed before they are answered (invariant I3), handled afterwards."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from poddispatchd.database import Connection
from poddispatchd.domain.callback import Callback
from poddispatchd.domain.task import ManagerId, RunnerTaskId
from poddispatchd.sql import load_queries

_QUERIES = load_queries(__package__, "callbacks.sql")

CallbackId = NewType("CallbackId", int)


class CallbackState(StrEnum):
    """What became of a callback."""

    OPEN = "open"
    APPLIED = "applied"
    IGNORED = "ignored"
    """It changed nothing: a repetition, or late."""
    ORPHANED = "orphaned"
    """No task of Pod's belongs to it."""


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
    content = json.dumps(
        [*map(int, managers), callback.status, callback.error_message, callback.script_output]
    )
    await connection.execute(
        _QUERIES["record"],
        list(managers),
        callback.task_id,
        callback.status.value,
        callback.error_message,
        callback.script_output,
        hashlib.sha256(content.encode()).digest(),
    )


async def is_expected(connection: Connection, managers: tuple[ManagerId, ...]) -> bool:
    """Whether an unknown task id under these managers' token can be that of a submission of ours."""
    return bool(await connection.fetchval(_QUERIES["expected"], list(managers)))


async def claim_due(connection: Connection, limit: int) -> list[RecordedCallback]:
    """Take the next callbacks to handle, in the order they came."""
    rows = await connection.fetch(_QUERIES["claim_due"], limit)
    return [
        RecordedCallback(
            id=CallbackId(row["id"]),
            managers=tuple(ManagerId(manager) for manager in row["runner_manager_ids"]),
            callback=Callback(
                task_id=RunnerTaskId(row["task_id"]),
                status=Callback.known_status(row["status"]),
                error_message=row["error_message"],
                script_output=row["script_output"],
            ),
            attempts=row["attempts"],
            received_at=row["received_at"],
        )
        for row in sorted(rows, key=lambda row: int(row["id"]))
    ]


async def lock(connection: Connection, callback: RecordedCallback) -> bool:
    """Keep others from applying a callback until the end of the transaction; False when one has."""
    return await connection.fetchval(_QUERIES["lock"], callback.id) is not None


async def postpone(connection: Connection, callback: RecordedCallback, seconds: float) -> None:
    """Look at a callback again later."""
    await connection.execute(_QUERIES["postpone"], callback.id, seconds)


async def release_all(connection: Connection) -> None:
    """Make every open callback due at once: for a start, when nobody else is at them."""
    await connection.execute(_QUERIES["release_all"])


async def settle(
    connection: Connection, callback: RecordedCallback, state: CallbackState, outcome: str
) -> bool:
    """Close a callback; False when it is closed already."""
    return await connection.execute(_QUERIES["settle"], callback.id, state.value, outcome) == "UPDATE 1"
