"""Whether results can be written under MEDIA_ROOT: told when it changes, and shown as long as it lasts."""

import structlog

from poddispatchd.domain.task import TaskPk
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)


class MediaHealth:
    """What keeps results from the media tree: a full disk degrades, it never kills (invariant I11)."""

    def __init__(self) -> None:
        self.obstacles: dict[TaskPk | None, str] = {}
        """Why results could not be written, by task; None: none could be."""

    @property
    def problem(self) -> str | None:
        """A sentence; None when nothing is known to be wrong."""
        return next(iter(self.obstacles.values()), None)

    @property
    def waiting(self) -> dict[TaskPk, str]:
        """The tasks whose results this daemon could not write, and why."""
        return {task: words for task, words in self.obstacles.items() if task is not None}

    def obstructed(self, words: str, task: TaskPk | None = None) -> None:
        """The result of a task could not be written; or, without a task, there is no room for any."""
        if not self.obstacles:
            log.error(Event.MEDIA_OBSTRUCTED, reason=words)
        self.obstacles[task] = words

    def usable(self, *tasks: TaskPk | None) -> None:
        """That obstacle is gone: these tasks' results are written, or nobody waits for them any more."""
        was_obstructed = bool(self.obstacles)
        for task in tasks or (None,):
            self.obstacles.pop(task, None)
        if was_obstructed and not self.obstacles:
            log.info(Event.MEDIA_USABLE)
