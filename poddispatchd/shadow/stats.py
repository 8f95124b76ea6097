"""What a shadow tells: each expectation and each comparison once, and totals now and then."""

from collections import Counter

import structlog

from poddispatchd.domain.shadow import Agreement, Difference, Intention, ShadowState, counted
from poddispatchd.domain.task import Task
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics

log = structlog.get_logger(__name__)


class ShadowStats:
    """Logs and counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._decisions = Counter[Intention]()
        self._agreements = Counter[Agreement]()
        self._differences = Counter[Difference]()
        self._waits = 0
        self._waited = self._longest_wait = 0.0

    def expects(self, intention: Intention, task: Task, **facts: object) -> None:
        """This would have been done now."""
        self._decisions[intention] += 1
        self._metrics.shadow_decisions.labels(intention).inc()
        log.info(Event.SHADOW_EXPECTED, decision=intention.value, **_of(task), **facts)

    def waited(self, seconds: float) -> None:
        """Pod submitted a task so much later than poddispatchd would have."""
        self._waits += 1
        self._waited += seconds
        self._longest_wait = max(self._longest_wait, seconds)
        self._metrics.shadow_wait.observe(seconds)

    def agrees(self, agreement: Agreement, **facts: object) -> None:
        """Pod did the same, or nothing that could be compared."""
        self._agreements[agreement] += 1
        self._metrics.shadow_agreements.labels(agreement).inc()
        log.info(Event.SHADOW_AGREED, agreement=agreement.value, **facts)

    def differs(self, difference: Difference, words: str, **facts: object) -> None:
        """Pod did something else, or nothing."""
        self._differences[difference] += 1
        self._metrics.shadow_differences.labels(difference).inc()
        log.warning(Event.SHADOW_DIFFERED, difference=difference.value, reason=words, **facts)

    def state(self) -> ShadowState:
        """The totals by now."""
        return ShadowState(
            decisions={intention.value: self._decisions[intention] for intention in Intention},
            agreements={agreement.value: self._agreements[agreement] for agreement in Agreement},
            differences={difference.value: self._differences[difference] for difference in Difference},
            waits=self._waits,
            waited=self._waited,
            longest_wait=self._longest_wait,
        )

    def sum_up(self) -> None:
        """Log the totals."""
        state = self.state()
        log.info(
            Event.SHADOW_SUMMED_UP,
            decisions=counted(state.decisions),
            agreements=counted(state.agreements),
            differences=counted(state.differences),
            average_wait=round(state.average_wait, 1),
            longest_wait=round(state.longest_wait, 1),
        )


def _of(task: Task) -> dict[str, object]:
    return {"task": task.pk, "type": task.type_name, "source": task.source}
