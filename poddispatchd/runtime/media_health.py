"""Whether results can be written under MEDIA_ROOT: told when it changes, and shown as long as it lasts."""

import structlog

from poddispatchd.domain.task import TaskPk
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

_SHOWN = 3
"""Reasons that are told one by one."""


class MediaHealth:
    """What keeps results from the media tree: a full disk degrades, it never kills (invariant I11)."""

    def __init__(self) -> None:
        self.obstacles: dict[TaskPk | None, str] = {}
        """Why results could not be written, by task; None: none could be."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Why results wait, one text for each reason, and how many more each keeps; none when all is well."""
        alike: dict[str, list[str]] = {}
        for words in self.obstacles.values():
            alike.setdefault(_reason(words), []).append(words)
        told = [_with_more(found) for found in list(alike.values())[:_SHOWN]]
        if others := sum(map(len, list(alike.values())[_SHOWN:])):
            told.append(f"{others} more, for other reasons: the log has them (import.retried).")
        return tuple(told)

    @property
    def waiting(self) -> dict[TaskPk, str]:
        """The tasks whose results this daemon could not write, and why."""
        return {task: words for task, words in self.obstacles.items() if task is not None}

    def obstructed(self, words: str, task: TaskPk | None = None) -> None:
        """The result of a task could not be written; or, without a task, there is no room for any."""
        met = {_reason(known) for known in self.obstacles.values()}
        if _reason(words) not in met and len(met) < _SHOWN:
            log.error(Event.MEDIA_OBSTRUCTED, reason=words)
        self.obstacles[task] = words

    def usable(self, *tasks: TaskPk | None) -> None:
        """That obstacle is gone: these tasks' results are written, or nobody waits for them any more."""
        was_obstructed = bool(self.obstacles)
        for task in tasks or (None,):
            self.obstacles.pop(task, None)
        if was_obstructed and not self.obstacles:
            log.info(Event.MEDIA_USABLE)


def _reason(words: str) -> str:
    """What is said of every file alike: the system's own words, or what is to be done."""
    return words.rpartition(": ")[2]


def _with_more(alike: list[str]) -> str:
    return f"{alike[0]} {len(alike) - 1} more wait for the same reason." if alike[1:] else alike[0]
