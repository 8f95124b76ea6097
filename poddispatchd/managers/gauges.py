"""The gauges of runner managers in /metrics: by their names, which several may have."""

from collections.abc import Iterable
from datetime import datetime

from poddispatchd.domain.availability import pause_at
from poddispatchd.domain.back_pressure import Fullness
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.task import SUBMITTABLE
from poddispatchd.managers.state import ManagerState
from poddispatchd.observability.metrics import Metrics


def set_gauges(metrics: Metrics, states: Iterable[ManagerState], now: float, wall_clock: datetime) -> None:
    """Set the gauges of runner managers.

    Pod lets several have one name: the worst of them is shown. One that is inactive in Pod's administration
    is no reason for alarm beside another one that is active.

    Args:
        metrics: of the daemon.
        states: of all of them.
        now: the moment, by the monotonic clock.
        wall_clock: the same moment.
    """
    by_name: dict[str, list[ManagerState]] = {}
    for state in states:
        by_name.setdefault(state.manager.name, []).append(state)
    for name, namesakes in by_name.items():
        active = [state for state in namesakes if state.manager.is_active]
        metrics.runner_manager_active.labels(name).set(bool(active))
        _show_one(metrics, name, active or namesakes, now, wall_clock)


def _show_one(
    metrics: Metrics, name: str, states: Iterable[ManagerState], now: float, wall_clock: datetime
) -> None:
    breakers = {state.breaker.state for state in states}
    metrics.runner_manager_up.labels(name).set(breakers == {BreakerState.CLOSED})
    metrics.runner_manager_paused.labels(name).set(
        any(pause_at(state.memory.pauses, wall_clock) is not None for state in states)
    )
    for each in BreakerState:
        metrics.runner_manager_breaker.labels(name, each).set(each in breakers)
    for kind in SUBMITTABLE:
        wait = max(state.fullness.get(kind, Fullness()).until for state in states) - now
        until = wall_clock.timestamp() + wait if wait > 0 else 0
        metrics.runner_manager_full_until.labels(name, kind).set(until)
