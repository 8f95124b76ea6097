"""What becomes of tasks whose source is, or was, worked on for another task (``domain/twins.py``)."""

from poddispatchd.database import Connection
from poddispatchd.domain.task import Task
from poddispatchd.domain.twins import followed
from poddispatchd.journal import submissions
from poddispatchd.pod import twins
from poddispatchd.services.parts import Parts


async def follow(connection: Connection, task: Task) -> bool:
    """End a task that waited while its source was worked on, as that run ended; whether there was one."""
    ended = await twins.ended_twins(connection, task)
    if not ended:
        return False
    twin = followed(task, ended, await submissions.taken_for(connection, task))
    if twin is None:
        return False
    words = f"Task {twin.pk} did the same source meanwhile and ended as {twin.status}."
    return await twins.follow(connection, task, twin, words)


async def fail_alike(connection: Connection, parts: Parts, task: Task, reason: str) -> None:
    """Fail those that wait for the source of a task that can never be submitted.

    Nobody is told of them: what can be told was told of the first.
    """
    words = f"Task {task.pk} for the same source failed: {reason}"
    await twins.fail_waiting(connection, task, words, grace=parts.settings.dispatch.grace)
