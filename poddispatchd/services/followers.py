"""Tasks that waited for one run end together: one by one, thousands of them would hold up all others."""

from collections import defaultdict
from dataclasses import replace
from datetime import datetime

from poddispatchd.database import Connection
from poddispatchd.domain.task import Task, TaskPk
from poddispatchd.domain.twins import EndedTwin, followed
from poddispatchd.journal import submissions
from poddispatchd.pod import twins
from poddispatchd.services.parts import Parts

_TOGETHER = 1000
"""Tasks that are ended in one statement."""


async def end_followers(connection: Connection, parts: Parts, task: Task) -> None:
    """End those that waited with a task which has followed a run, each as the run that was for it.

    What was asked for since is left in the queue, as is what Pod may be submitting itself.
    """
    waiting = list((await twins.waiting_twins(connection, task)).items())
    ended = await twins.ended_twins(connection, task)
    for start in range(0, len(waiting), _TOGETHER):
        followers: dict[EndedTwin, dict[TaskPk, datetime]] = defaultdict(dict)
        for pk, date_added in waiting[start : start + _TOGETHER]:
            follower = replace(task, pk=pk, date_added=date_added)
            twin = followed(follower, ended, await submissions.taken_for(connection, follower))
            if twin is not None:
                followers[twin][pk] = date_added
        for twin, of_it in followers.items():
            words = f"Task {twin.pk} did the same source meanwhile and ended as {twin.status}."
            await twins.follow_together(connection, of_it, twin, words, grace=parts.settings.dispatch.grace)
