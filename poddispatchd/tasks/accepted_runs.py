"""What follows when a runner manager has accepted a task: its id in the row, and all that goes with it.

The same for an answer that has just come and for one that was lost and is found by a callback. The id is
stored by compare-and-set (invariant I4), with all that Pod shows, in one statement for any number of tasks.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import assert_never

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.script_output import storable
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId, Task, TaskPk, TaskType, source_of
from poddispatchd.journal import submissions, unwanted_runs
from poddispatchd.journal.submissions import Submission
from poddispatchd.pod.duplicates import SAME_SOURCE

_NEWEST = 1000
"""Tasks that are searched for an id: what Pod submitted lately is among them."""

_TEXTS = load_queries(__package__, "accepted_runs.sql")

SHOW_ACCEPTED = _TEXTS["show_accepted"]
"""Parts of a statement that show people what the rows of ``shown`` say: see ``shown_when_accepted``."""

_QUERIES = {
    name: query.fill(
        same_source=SAME_SOURCE,
        show_accepted=SHOW_ACCEPTED,
        newest=str(_NEWEST),
        first_wait=str(unwanted_runs.FIRST_WAIT),
    )
    for name, query in _TEXTS.items()
}

_SHOWN = ("shown_videos", "steps", "words", "heads", "tails", "shown_recordings", "comments")
"""The columns of ``shown_when_accepted``."""

REMOTE_ENCODING_STEP = (3, "process manager remote encode")
TRANSCRIPTION_STEP = (5, "transcripting audio")

KNOWN_ID = "took the task but gave the id of another one"


class AcceptedRun(Struct, frozen=True):
    """A task that a manager calls ``task_id``.

    ``output_directory`` is where the results of an encoding will be. ``is_adopted``: the answer itself was
    lost; ``reason`` then says how the id is known. ``status`` is what an answer called it.
    """

    task: Task
    manager: RunnerManager
    intent: Submission
    task_id: RunnerTaskId
    output_directory: str = ""
    is_adopted: bool = False
    reason: str | None = None
    status: str = RunnerStatus.RUNNING


class Verdict(StrEnum):
    """What became of an accepted run."""

    RUNNING = "running"
    """The row carries its id."""
    ORPHANED = "orphaned"
    """The row is not what was submitted any more, its manager is gone from Pod, or its source runs already:
    the run belongs to nobody."""
    KNOWN = "known"
    """The id belongs to another run: the row cannot have it, or it would get the other one's callbacks."""
    LOCKED = "locked"
    """Someone else's transaction holds the row: nothing was done, and it is to be tried again."""
    SETTLED = "settled"
    """An adopted intent got its id meanwhile: nothing was done."""


class StoredRun(Struct, frozen=True):
    """What became of a run.

    ``is_new``: the row got the id just now; else Pod, which posted the same bytes, had stored it already.
    ``running_duplicate`` is what orphaned the run, if that is another task; ``is_managerless``: its manager
    is gone from Pod.
    """

    verdict: Verdict
    is_new: bool = False
    running_duplicate: TaskPk | None = None
    is_managerless: bool = False


async def store_accepted(
    connection: Connection, runs: Sequence[AcceptedRun], *, now: datetime
) -> list[StoredRun]:
    """Store the ids of accepted tasks, settle their intents, and show people that they run.

    Args:
        connection: any; in a transaction when one of the runs is adopted.
        runs: of different tasks.
        now: the time, in Pod's time zone.

    Returns:
        One for each run, in their order.
    """
    # The answer and the callback of one submission may come at the same moment: one of them stores the id.
    settled = await _settled_meanwhile(connection, [run for run in runs if run.is_adopted])
    stored = await _store(connection, [run for run in runs if run.task.pk not in settled], now)
    for run in runs:
        outcome = stored.get(run.task.pk)
        if outcome is not None and outcome.verdict is Verdict.KNOWN and run.intent.attempt > 1:
            await submissions.discard(connection, run.intent, f"{run.manager.name!r} {KNOWN_ID}.")
    return [stored.get(run.task.pk, StoredRun(Verdict.SETTLED)) for run in runs]


async def _settled_meanwhile(connection: Connection, adopted: Sequence[AcceptedRun]) -> set[TaskPk]:
    if not adopted:
        return set()
    rows = await connection.fetch(*_QUERIES["lock_intents"](intents=[run.intent.id for run in adopted]))
    open_ones = {row["id"] for row in rows}
    return {run.task.pk for run in adopted if run.intent.id not in open_ones}


async def _store(
    connection: Connection, runs: Sequence[AcceptedRun], now: datetime
) -> dict[TaskPk, StoredRun]:
    if not runs:
        return {}
    start = start_line(now)
    sources = [source_of(run.task) for run in runs]
    shown = [
        shown_when_accepted(
            run.task,
            body=json.loads(run.intent.body),
            url=run.manager.endpoint("task/execute"),
            output_directory=run.output_directory,
            start=start,
        )
        for run in runs
    ]
    rows = await connection.fetch(
        *_QUERIES["store"](
            tasks=[run.task.pk for run in runs],
            types=[run.task.type.value for run in runs],
            # A run is for the row as it was submitted: a restart since is another request.
            dates_added=[run.intent.date_added for run in runs],
            videos=[source["video"] for source in sources],
            recordings=[source["recording"] for source in sources],
            runner_managers=[run.manager.id for run in runs],
            task_ids=[run.task_id for run in runs],
            submissions=[run.intent.id for run in runs],
            reasons=[run.reason for run in runs],
            adopted=[run.is_adopted for run in runs],
            **{name: list(column) for name, column in zip(_SHOWN, zip(*shown, strict=True), strict=True)},
        )
    )
    return {TaskPk(row["id"]): _stored(row) for row in rows}


def _stored(row: asyncpg.Record) -> StoredRun:
    duplicate = row["running_duplicate"]
    return StoredRun(
        Verdict(row["verdict"]),
        row["is_new"],
        None if duplicate is None else TaskPk(duplicate),
        row["is_managerless"],
    )


def start_line(now: datetime) -> str:
    """How the log of a task begins; ``now`` is in Pod's time zone."""
    return f"Start at : {now.ctime()}"


def shown_when_accepted(
    task: Task, *, body: Mapping[str, object], url: str, output_directory: str, start: str
) -> tuple[object, ...]:
    """What people see of a task from the moment that a runner manager accepts it, as a row of ``shown``.

    Mirrors what Pod writes then, with one difference: encodings that a viewer can watch stay until their
    replacement is there (invariant I5), and the log says so. The request is quoted with its content and
    address; tokens are in neither.

    Args:
        task: whose request was accepted.
        body: what was sent.
        url: where it was sent; it holds no user information (``RunnerManager.check_url`` sees to it).
        output_directory: where the results of an encoding will be.
        start: a ``start_line``.
    """
    line = f"process manager remote encode : {url} with data {dict(body)}"
    match task.type:
        case TaskType.ENCODING:
            head = f"{start}\n\nremove old data : "
            tail = f"\n\noutput_dir : {output_directory}\n\n{line}"
            return task.video_id, *REMOTE_ENCODING_STEP, head, tail, None, None
        case TaskType.TRANSCRIPTION:
            return task.video_id, *TRANSCRIPTION_STEP, None, None, None, None
        case TaskType.STUDIO:
            return None, None, None, None, None, task.recording_id, storable(f"{start}\n{line}")
        case TaskType.OTHER:
            return (None,) * 7  # none is ever submitted
        case _:
            assert_never(task.type)
