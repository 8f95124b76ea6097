"""That a runner manager is down, set up wrongly or back: each told once."""

import structlog

from poddispatchd.domain.breaker import BreakerState, RequestOutcome
from poddispatchd.errors import PoddispatchdError
from poddispatchd.managers.state import ManagerState
from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)


def told(known: ManagerState, error: PoddispatchdError | None) -> bool:
    """Log a transition of a breaker; a probe that fails again is none.

    Args:
        known: the manager, its breaker as it is now.
        error: what was met; None: it answered.

    Returns:
        Whether the manager is back.
    """
    before, after = known.told, known.breaker.state
    name = known.manager.name
    if after is BreakerState.CLOSED:
        known.last_error = None
        known.told = after
        if before is BreakerState.CLOSED:
            return False
        log.info(Event.RUNNER_MANAGER_UP, runner_manager=name)
        return True
    if RequestOutcome.of(error) is not RequestOutcome.ANSWERED:
        known.last_error = str(error)
    if after is BreakerState.HALF_OPEN or after is before:
        return False
    known.told = after
    if after is BreakerState.MISCONFIGURED:
        log.error(Event.RUNNER_MANAGER_MISCONFIGURED, runner_manager=name, error=str(error))
    else:
        log.warning(Event.RUNNER_MANAGER_DOWN, runner_manager=name, error=str(error))
    return False
