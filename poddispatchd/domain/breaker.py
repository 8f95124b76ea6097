"""When a runner manager that fails is left alone, and for how long.

A breaker is a value: ``admit`` says whether a request may go out now, ``after`` gives the breaker that
follows from its outcome. A manager that is full, or limits our rate, answers: it is not broken
(invariant I9).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

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
    """One request is on its way to find out; the others wait for its outcome."""

    MISCONFIGURED = "misconfigured"
    """As open, for long: only a person can mend it."""


class Outcome(StrEnum):
    """What a request told about the health of its runner manager."""

    ANSWERED = "answered"
    UNAVAILABLE = "unavailable"
    MISCONFIGURED = "misconfigured"

    @classmethod
    def of(cls, error: PoddispatchdError | None) -> "Outcome":
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


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """How patient a breaker is. Times are in seconds.

    Args:
        threshold: consecutive failures that open it.
        base: the limit of the first random wait; it doubles each time the manager fails again.
        cap: the limit of the longest random wait.
        floor: added to every wait, so that no draw of the lot means at once.
        misconfigured: the wait when a person must change something.
        probe: a request that tries a broken manager is given up for lost after this long.
    """

    threshold: int = 1
    base: float = 2.0
    cap: float = 300.0
    floor: float = 1.0
    misconfigured: float = 600.0
    probe: float = 120.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one runner manager. ``until`` is a time of the same clock as ``now`` everywhere here.

    ``failures`` are those in a row; ``openings`` count how often it has opened since the last answer.
    ``until`` is when an open breaker lets a request through, or when a half-open one forgets its probe.
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    openings: int = 0
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may go out now, and the breaker from now on; ``wait`` is in seconds, 0 if it may."""

    allowed: bool
    breaker: Breaker
    wait: float = 0.0


def admit(breaker: Breaker, *, now: float, policy: BreakerPolicy) -> Admission:
    """Decide whether a request may go out now.

    The one that is let through a breaker whose time has come is its probe: whoever was admitted must report
    with ``after``; a probe that never reports is forgotten after ``policy.probe``.
    """
    match breaker.state:
        case BreakerState.CLOSED:
            return Admission(allowed=True, breaker=breaker)
        case BreakerState.OPEN | BreakerState.MISCONFIGURED | BreakerState.HALF_OPEN:
            if now < breaker.until:
                return Admission(allowed=False, breaker=breaker, wait=breaker.until - now)
            probing = replace(breaker, state=BreakerState.HALF_OPEN, until=now + policy.probe)
            return Admission(allowed=True, breaker=probing)
        case _:
            assert_never(breaker.state)


def after(
    breaker: Breaker,
    outcome: Outcome,
    *,
    now: float,
    random: Callable[[], float],
    policy: BreakerPolicy,
) -> Breaker:
    """The breaker that follows from the outcome of a request, whether it was the probe or not."""
    match outcome:
        case Outcome.ANSWERED:
            return Breaker()
        case Outcome.MISCONFIGURED:
            until = max(now + policy.misconfigured, _open_until(breaker))
            return replace(breaker, state=BreakerState.MISCONFIGURED, until=until)
        case Outcome.UNAVAILABLE:
            return _failed(breaker, now=now, random=random, policy=policy)
        case _:
            assert_never(outcome)


def _failed(breaker: Breaker, *, now: float, random: Callable[[], float], policy: BreakerPolicy) -> Breaker:
    failures = breaker.failures + 1
    # Requests that were already under way when it opened must not make the wait grow once each.
    if breaker.state in (BreakerState.OPEN, BreakerState.MISCONFIGURED) and now < breaker.until:
        return replace(breaker, failures=failures)
    if breaker.state is BreakerState.CLOSED and failures < policy.threshold:
        return replace(breaker, failures=failures)
    wait = policy.floor + full_jitter(breaker.openings, base=policy.base, cap=policy.cap, random=random)
    return Breaker(BreakerState.OPEN, failures, breaker.openings + 1, now + wait)


def _open_until(breaker: Breaker) -> float:
    return breaker.until if breaker.state is BreakerState.MISCONFIGURED else 0.0
