"""Tasks as somebody saw them who decided something by that: what has changed since is left alone."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from poddispatchd.domain.task import Task, TaskPk


class Seen(Struct, frozen=True):
    """How a task was; one that was restarted since has another ``date_added``."""

    status: str
    date_added: datetime


class ChangedError(Exception):
    """Tasks are not as they were seen any more; ``words`` say to each what it is."""

    def __init__(self, words: Mapping[TaskPk, str]) -> None:
        super().__init__()
        self.words = dict(words)


def check_unchanged(now: Mapping[TaskPk, Task | None], seen: Mapping[TaskPk, Seen | None]) -> None:
    """Compare tasks, whose rows are locked, with how they were seen.

    Args:
        now: as they are; None for one that is gone.
        seen: as they were; None, or nothing, for those that may have changed.

    Raises:
        ChangedError: some are not as they were.
    """
    words = {
        pk: f"It is {task.status} by now, and stays as it is."
        for pk, task in now.items()
        if task is not None
        and (before := seen.get(pk)) is not None
        and Seen(task.status, task.date_added) != before
    }
    if words:
        raise ChangedError(words)
