"""Whether results can be written under MEDIA_ROOT: told when it changes, and shown as long as it lasts."""

import structlog

from poddispatchd.domain.task import TaskPk
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)


class Storage:
    """What keeps results from the media tree: a full disk degrades, it never kills (invariant I11)."""

    def __init__(self) -> None:
        self._obstacles: dict[TaskPk | None, str] = {}

    @property
    def problem(self) -> str | None:
        """A sentence; None when nothing is known to be wrong."""
        return next(iter(self._obstacles.values()), None)

    @property
    def waiting(self) -> dict[TaskPk, str]:
        """The tasks whose results this daemon could not write, and why."""
        return {task: words for task, words in self._obstacles.items() if task is not None}

    def obstructed(self, words: str, task: TaskPk | None = None) -> None:
        """The result of a task could not be written; or, without a task, there is no room for any."""
        if not self._obstacles:
            log.error(Event.MEDIA_OBSTRUCTED, reason=words)
        self._obstacles[task] = words

    def usable(self, *tasks: TaskPk | None) -> None:
        """That obstacle is gone: these tasks' results are written, or nobody waits for them any more."""
        was_obstructed = bool(self._obstacles)
        for task in tasks or (None,):
            self._obstacles.pop(task, None)
        if was_obstructed and not self._obstacles:
            log.info(Event.MEDIA_USABLE)
