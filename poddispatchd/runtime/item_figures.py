"""How a queue stands, and what it has set aside, as people are told."""

from datetime import datetime

from msgspec import Struct


class QueueFigures(Struct, frozen=True):
    """How a queue stands; ``oldest``: since when the oldest open item waits."""

    open: int
    leased: int
    set_aside: int
    oldest: datetime | None


class LateItems(Struct, frozen=True):
    """Items of a partition that failed before; ``age``, in seconds, and ``words`` are those of the oldest."""

    partition: str
    items: int
    age: float
    words: str


class SetAsideItem(Struct, frozen=True):
    """An item that was given up, as it is told to people; ``task`` is Pod's task, or the runner's."""

    key: str
    task: str | None
    attempts: int
    words: str
    created_at: datetime
    set_aside_at: datetime
