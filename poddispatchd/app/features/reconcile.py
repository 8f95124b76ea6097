"""The jobs that ask runner managers."""

from poddispatchd.app.parts import Parts
from poddispatchd.managers.prober import Prober
from poddispatchd.reconcile.failure_recheck import FailureRecheck
from poddispatchd.reconcile.outcomes import AppliedOutcomes, Outcomes
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.reconcile.stops import Stops


def prober(parts: Parts) -> Prober:
    """The job that finds out whether runner managers that failed work again."""
    return Prober(parts.client, parts.registry, parts.incidents, parts.clock)


def applied_outcomes(parts: Parts) -> AppliedOutcomes:
    """What carries out what runner managers say about running tasks."""
    return AppliedOutcomes(
        database=parts.database,
        registry=parts.registry,
        settings=lambda: parts.settings.reconcile,
        retries=lambda: parts.retries,
        language=lambda: parts.output_language,
        locked_rows=parts.locked_rows,
        wakeups=parts.wakeups,
        metrics=parts.metrics,
        clock=parts.clock,
    )


def stops(parts: Parts) -> Stops:
    """The job that stops runs that nobody wants any more."""
    return Stops(
        database=parts.database,
        client=parts.client,
        managers=parts.managers,
        schedules=lambda: parts.session.term is not None,
        clock=parts.clock,
    )


def reconciler(parts: Parts, outcomes: Outcomes | None = None) -> Reconciler:
    """The job that asks runner managers about running tasks, and about failures that they may have mended.

    With ``outcomes`` it tells these what it finds out, and asks about no failures: nothing is carried out.
    """
    recheck = FailureRecheck(
        database=parts.database,
        client=parts.client,
        settings=lambda: parts.settings.reconcile,
        retries=lambda: parts.retries,
        language=lambda: parts.output_language,
        wakeups=parts.wakeups,
        metrics=parts.metrics,
        clock=parts.clock,
    )
    return Reconciler(
        database=parts.database,
        session=parts.session,
        client=parts.client,
        registry=parts.registry,
        incidents=parts.incidents,
        settings=lambda: parts.settings.reconcile,
        outcomes=outcomes or applied_outcomes(parts),
        recheck=recheck if outcomes is None else None,
        metrics=parts.metrics,
        clock=parts.clock,
    )
