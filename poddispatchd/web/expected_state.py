"""What is expected of the queue, as the state of a daemon tells it."""

from datetime import datetime, timedelta

from msgspec import Struct, field

from poddispatchd.domain.forecast import Forecast, Interval
from poddispatchd.domain.task import TaskPk

_STALE_AFTER = timedelta(minutes=5)


class ExpectedState(Struct, frozen=True):
    """What happens in eight of ten cases; tasks and types of which nothing is known are absent.

    ``begins`` and ``ends`` are those of the tasks that the daemon lists, ``drained`` says by type when
    nothing waits or runs any more.
    """

    as_of: datetime
    begins: dict[TaskPk, Interval] = field(default_factory=dict)
    ends: dict[TaskPk, Interval] = field(default_factory=dict)
    drained: dict[str, Interval] = field(default_factory=dict)


def expected_state(forecast: Forecast | None, shown: set[TaskPk], now: datetime) -> ExpectedState | None:
    """What is told of a forecast; None without one, or when it is too old to be true.

    Args:
        forecast: the last one.
        shown: the tasks that are listed.
        now: the moment.
    """
    if forecast is None or now - forecast.as_of > _STALE_AFTER:
        return None
    return ExpectedState(
        forecast.as_of,
        {pk: interval for pk, interval in forecast.begins.items() if pk in shown},
        {pk: interval for pk, interval in forecast.ends.items() if pk in shown},
        dict(forecast.drained),
    )
