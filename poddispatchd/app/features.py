"""The jobs of the features, each with what it uses."""

from functools import partial

from poddispatchd.callbacks.adoption import Adoption
from poddispatchd.callbacks.worker import CallbackWorker
from poddispatchd.managers.prober import Prober
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.hooks import Hooks
from poddispatchd.notify.mail import MailSender
from poddispatchd.notify.notifier import Notifier
from poddispatchd.notify.planner import Planner
from poddispatchd.notify.push import PushSender
from poddispatchd.notify.queue import Channel
from poddispatchd.observability.metrics import DeliveryOutcome
from poddispatchd.parts import Parts
from poddispatchd.reconcile.failure_recheck import FailureRecheck
from poddispatchd.reconcile.outcomes import AppliedOutcomes, Outcomes
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.shadow.capacity import Capacity
from poddispatchd.shadow.dispatch import ShadowDispatcher
from poddispatchd.shadow.jobs import ShadowJobs
from poddispatchd.shadow.maintenance import ShadowUpkeep
from poddispatchd.shadow.outcomes import ShadowOutcomes
from poddispatchd.shadow.stats import ShadowStats


def callback_worker(parts: Parts) -> CallbackWorker:
    """The job that applies callbacks."""
    adoption = Adoption(
        database=parts.database,
        capabilities=parts.capabilities,
        client=parts.client,
        registry=parts.registry,
        refresh_managers=parts.refresh_managers,
        pod=parts.settings.pod,
        clock=parts.clock,
        task_adopted=parts.wakeups.maintenance,
    )
    return CallbackWorker(
        database=parts.database,
        owner=parts.instance,
        clock=parts.clock,
        wakeups=parts.wakeups,
        retries=lambda: parts.retries,
        adoption=adoption,
        locked=lambda: parts.locked_rows.tasks,
    )


def prober(parts: Parts) -> Prober:
    """The job that finds out whether runner managers that failed work again."""
    return Prober(parts.client, parts.registry, parts.clock)


def applied_outcomes(parts: Parts) -> AppliedOutcomes:
    """What carries out what runner managers say about running tasks."""
    return AppliedOutcomes(
        database=parts.database,
        registry=parts.registry,
        settings=lambda: parts.settings.reconcile,
        retries=lambda: parts.retries,
        locked_rows=parts.locked_rows,
        wakeups=parts.wakeups,
        metrics=parts.metrics,
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


def shadow_jobs(parts: Parts) -> ShadowJobs:
    """The jobs of a daemon that decides, tells and changes nothing."""
    stats, capacity = ShadowStats(parts.metrics), Capacity(parts)
    outcomes = ShadowOutcomes(parts, stats)
    return ShadowJobs(
        parts=parts,
        stats=stats,
        capacity=capacity,
        outcomes=outcomes,
        dispatcher=ShadowDispatcher(parts, stats, outcomes, capacity),
        reconciler=reconciler(parts, outcomes),
        upkeep=ShadowUpkeep(parts, stats),
        prober=prober(parts),
    )


def notifier(parts: Parts) -> Notifier:
    """The jobs that tell people."""
    metrics = parts.metrics

    def count_mail(outcome: DeliveryOutcome) -> None:
        metrics.mail.labels(outcome).inc()

    def count_push(outcome: DeliveryOutcome) -> None:
        metrics.push.labels(outcome).inc()

    of_channel = partial(Deliveries, database=parts.database, owner=parts.instance, clock=parts.clock)
    return Notifier(
        database=parts.database,
        owner=parts.instance,
        clock=parts.clock,
        wakeups=parts.wakeups,
        planner=Planner(
            parts.database,
            lambda: parts.capabilities,
            lambda: parts.settings,
            lambda: parts.sites[parts.current_site],
        ),
        mail=MailSender(of_channel(Channel.MAIL, count=count_mail), lambda: parts.settings.mail, parts.clock),
        push=PushSender(
            of_channel(Channel.PUSH, count=count_push),
            lambda: parts.settings.push,
            parts.database,
            parts.clock,
        ),
    )


def hooks(parts: Parts) -> Hooks:
    """The job that runs the command after an import."""
    return Hooks(
        database=parts.database,
        owner=parts.instance,
        clock=parts.clock,
        settings=lambda: parts.settings.imports,
        metrics=parts.metrics,
    )
