"""When a runner manager that fails is left alone, and for how long.

A breaker is a value: ``after`` gives the one that follows from the outcome of a request. A manager that is
full, or limits our rate, answers: it is not broken (invariant I9).
"""

from collections.abc import Callable
from enum import StrEnum
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.domain.backoff import full_jitter
from poddispatchd.errors import (
    PoddispatchdError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    UnusableAnswerError,
)


class BreakerState(StrEnum):
    """What a breaker does with requests."""

    CLOSED = "closed"
    """Lets all of them through."""

    OPEN = "open"
    """Lets none through until a time."""

    HALF_OPEN = "half_open"
    """Its health is fine; one task is to find out the rest."""

    MISCONFIGURED = "misconfigured"
    """As open, for long: only a person can mend it."""


class RequestOutcome(StrEnum):
    """What a request told about the health of its runner manager."""

    ANSWERED = "answered"
    UNAVAILABLE = "unavailable"
    MISCONFIGURED = "misconfigured"

    @classmethod
    def of(cls, error: PoddispatchdError | None) -> "RequestOutcome":
        """The outcome that an error of the client means; None is a success.

        Everything sensible that a manager answers shows that it works: full, busy, a payload it refuses, a
        task it does not know, a runner it cannot reach. Nonsense counts as a failure, so that it is not
        asked for more at full speed.
        """
        if isinstance(error, (RunnerManagerUnavailableError, UnusableAnswerError)):
            return cls.UNAVAILABLE
        if isinstance(error, RunnerManagerMisconfiguredError):
            return cls.MISCONFIGURED
        return cls.ANSWERED


class BreakerPolicy(Struct, frozen=True):
    """How patient a breaker is. Times are in seconds.

    Args:
        threshold: consecutive failures that open it.
        base: the limit of the first random wait; it doubles each time the manager fails again.
        cap: the limit of the longest random wait.
        floor: added to every wait, so that no draw of the lot means at once; below the threshold it is the
            whole wait, in which others get the tasks.
        misconfigured: the wait when a person must change something.
    """

    threshold: int = 1
    base: float = 2.0
    cap: float = 300.0
    floor: float = 1.0
    misconfigured: float = 600.0


class Breaker(Struct, frozen=True):
    """The breaker of one runner manager. ``until`` is a time of the same clock as ``now`` everywhere here.

    ``failures`` are those in a row; ``openings`` count how often it has opened since the last answer.
    ``until`` is when the manager is asked again: about its health while the breaker is open, to take a task
    after a failure that did not open it.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    openings: int = 0
    until: float = 0.0


def after(
    breaker: Breaker,
    outcome: RequestOutcome,
    *,
    now: float,
    random: Callable[[], float],
    policy: BreakerPolicy,
) -> Breaker:
    """The breaker that follows from the outcome of a request, whether it was the probe or not."""
    match outcome:
        case RequestOutcome.ANSWERED:
            return Breaker()
        case RequestOutcome.MISCONFIGURED:
            return replace(breaker, state=BreakerState.MISCONFIGURED, until=now + policy.misconfigured)
        case RequestOutcome.UNAVAILABLE:
            return _failed(breaker, now=now, random=random, policy=policy)
        case _:
            assert_never(outcome)


def _failed(breaker: Breaker, *, now: float, random: Callable[[], float], policy: BreakerPolicy) -> Breaker:
    failures = breaker.failures + 1
    # Requests that were already under way when it opened must not make the wait grow once each.
    if breaker.state in (BreakerState.OPEN, BreakerState.MISCONFIGURED) and now < breaker.until:
        return replace(breaker, failures=failures)
    if breaker.state is BreakerState.CLOSED and failures < policy.threshold:
        return replace(breaker, failures=failures, until=now + policy.floor)
    wait = policy.floor + full_jitter(breaker.openings, base=policy.base, cap=policy.cap, random=random)
    return Breaker(BreakerState.OPEN, failures, breaker.openings + 1, now + wait)
