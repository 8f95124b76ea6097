"""What becomes of tasks whose source is, or was, worked on for another task (``domain/duplicates.py``)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from poddispatchd.database.pool import Connection, Database
from poddispatchd.domain.duplicates import EndedDuplicate, followed
from poddispatchd.domain.french import in_language
from poddispatchd.domain.task import Task, TaskPk, VideoId, source_of
from poddispatchd.journal import submissions
from poddispatchd.pod import duplicates

_TOGETHER = 1000
"""Tasks that are ended in one statement."""


async def follow(database: Database, task: Task, *, grace: float, language: str) -> bool:
    """End a task that waited while its source was worked on, as that run ended; whether there was one.

    Those that waited with it end too: one by one, thousands of them would hold up all others. What was asked
    for since is left in the queue, as is what Pod may be submitting itself within ``grace`` seconds.
    The words are in ``language``.
    """
    # No transaction around all: thousands may follow, and each statement compares the rows it ends.
    # The task itself is about to be submitted: its grace is over, ``grace`` is for those behind it.
    async with database.connection() as connection:
        ended = await duplicates.ended_duplicates(connection, task)
    video = source_of(task)["video"]
    if not ended or not await _follow(
        database, {task.pk: task.date_added}, ended, video=video, grace=0, language=language
    ):
        return False
    # Only when the task itself follows: else it is submitted now, and the others wait for that run.
    async with database.connection() as connection:
        others = iter((await duplicates.waiting_duplicates(connection, task)).items())
    while some := dict(islice(others, _TOGETHER)):
        await _follow(database, some, ended, video=video, grace=grace, language=language)
    return True


async def _follow(
    database: Database,
    waiting: Mapping[TaskPk, datetime],
    ended: Sequence[EndedDuplicate],
    *,
    video: VideoId | None,
    grace: float,
    language: str,
) -> int:
    """End waiting tasks, each as the run that was for it; how many there were."""
    async with database.connection() as connection:
        taken = await submissions.taken_for(connection, waiting)
        own = await submissions.runs_of(connection, waiting)
    followers: dict[EndedDuplicate, dict[TaskPk, datetime]] = defaultdict(dict)
    for pk, date_added in waiting.items():
        duplicate = followed(date_added, ended, taken[pk], own[pk])
        if duplicate is not None:
            followers[duplicate][pk] = date_added
    count = 0
    for duplicate, of_it in followers.items():
        words = f"Task {duplicate.pk} did the same source meanwhile and ended as {duplicate.status}."
        told = in_language(words, language)
        async with database.transaction() as connection:
            count += await duplicates.follow(connection, of_it, duplicate, told, video=video, grace=grace)
    return count


async def fail_alike(connection: Connection, task: Task, reason: str, *, grace: float, language: str) -> None:
    """Fail those that wait for the source of a task that can never be submitted.

    Nobody is told of them: what can be told was told of the first.
    """
    words = in_language(f"Task {task.pk} for the same source failed: {reason}", language)
    await duplicates.fail_waiting(connection, task, words, grace=grace)
