"""The jobs of the features, each with what it uses."""

from collections.abc import Callable
from functools import partial

from poddispatchd.callbacks.adoption import Adoption
from poddispatchd.callbacks.worker import CallbackWorker
from poddispatchd.campaigns.free_runners import FreeRunners
from poddispatchd.campaigns.job import CampaignJob
from poddispatchd.dispatch.acceptance import Acceptance
from poddispatchd.dispatch.candidates import Candidates
from poddispatchd.dispatch.dispatcher import Dispatcher
from poddispatchd.dispatch.encoding_log import EncodingLogs
from poddispatchd.dispatch.failed_submissions import FailedSubmissions
from poddispatchd.dispatch.intent_log import IntentLog
from poddispatchd.dispatch.payloads import Payloads
from poddispatchd.dispatch.source_files import SourceFiles
from poddispatchd.dispatch.submitter import Submitter
from poddispatchd.domain.routing import Lane
from poddispatchd.imports.attempt import ImportAttempt
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.deletion import Deletion
from poddispatchd.imports.downloads import Downloads
from poddispatchd.imports.failure_handling import FailureHandling
from poddispatchd.imports.importer import Importer
from poddispatchd.imports.preparation import Preparation
from poddispatchd.imports.surroundings import Surroundings
from poddispatchd.imports.sweep import Sweep
from poddispatchd.maintenance.job import Maintenance
from poddispatchd.managers.prober import Prober
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.event_sender import EventSender
from poddispatchd.notify.event_watch import EventWatch
from poddispatchd.notify.hooks import Hooks
from poddispatchd.notify.mail import MailSender
from poddispatchd.notify.notifier import Notifier
from poddispatchd.notify.planner import Planner
from poddispatchd.notify.push import PushSender
from poddispatchd.notify.queue import Channel
from poddispatchd.notify.scheduler_watch import SchedulerWatch
from poddispatchd.observability.metrics import DeliveryOutcome
from poddispatchd.parts import Parts
from poddispatchd.reconcile.failure_recheck import FailureRecheck
from poddispatchd.reconcile.outcomes import AppliedOutcomes, Outcomes
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.reconcile.stops import Stops
from poddispatchd.shadow.capacity import Capacity
from poddispatchd.shadow.dispatch import ShadowDispatcher
from poddispatchd.shadow.jobs import ShadowJobs
from poddispatchd.shadow.maintenance import ShadowUpkeep
from poddispatchd.shadow.outcomes import ShadowOutcomes
from poddispatchd.shadow.stats import ShadowStats


def dispatcher(parts: Parts, *, budget: int | None = None) -> Dispatcher:
    """The job that submits pending tasks; ``budget``: how many of each type."""
    intents = _intents(parts)
    return Dispatcher(
        session=parts.session,
        managers=parts.managers,
        candidates=_candidates(parts, parts.registry.lanes, read_beside=True),
        submitter=submitter(parts, intents),
        intents=intents,
        failed=FailedSubmissions(
            incidents=parts.incidents,
            locked_rows=parts.locked_rows,
            session=parts.session,
            catalogue=parts.catalogue,
            clock=parts.clock,
        ),
        fair_shares=parts.fair_shares,
        settings=lambda: parts.settings.dispatch,
        wakeup=parts.wakeups.dispatcher,
        metrics=parts.metrics,
        clock=parts.clock,
        budget=budget,
    )


def submitter(parts: Parts, intents: IntentLog | None = None) -> Submitter:
    """What submits one task to one runner manager."""
    pod = parts.settings.pod
    return Submitter(
        session=parts.session,
        client=parts.client,
        registry=parts.registry,
        payloads=_payloads(parts),
        intents=intents or _intents(parts),
        acceptance=Acceptance(
            database=parts.database,
            client=parts.client,
            registry=parts.registry,
            logs=EncodingLogs(parts.media, pod, parts.clock),
            wakeups=parts.wakeups,
            pod=pod,
            clock=parts.clock,
        ),
        metrics=parts.metrics,
        clock=parts.clock,
    )


def _candidates(parts: Parts, lanes: Callable[[], list[Lane]], *, read_beside: bool = False) -> Candidates:
    return Candidates(
        database=parts.database,
        catalogue=parts.catalogue,
        sites=parts.sites,
        lanes=lanes,
        own_tasks=parts.own_tasks,
        order=parts.order,
        settings=lambda: parts.settings.dispatch,
        clock=parts.clock,
        read_beside=read_beside,
    )


def _intents(parts: Parts) -> IntentLog:
    return IntentLog(
        parts.database, lambda: parts.settings.dispatch, parts.wakeups, lambda: parts.output_language
    )


def _payloads(parts: Parts) -> Payloads:
    return Payloads(
        database=parts.database,
        catalogue=parts.catalogue,
        disk=SourceFiles(parts.media),
        evidence=parts.evidence,
        pod=parts.settings.pod,
    )


def importer(parts: Parts) -> Importer:
    """The job that brings results into Pod."""
    surroundings = Surroundings(parts.registry, parts.storage, parts.catalogue)
    preparation = Preparation(
        database=parts.database,
        catalogue=parts.catalogue,
        evidence=parts.evidence,
        locked_rows=parts.locked_rows,
        pod=parts.settings.pod,
        clock=parts.clock,
    )
    failures = FailureHandling(
        database=parts.database,
        client=parts.client,
        registry=parts.registry,
        surroundings=surroundings,
        deletion=deletion(parts),
        settings=lambda: parts.settings,
        retries=lambda: parts.retries,
        wakeups=parts.wakeups,
        metrics=parts.metrics,
        clock=parts.clock,
    )
    attempts = ImportAttempt(
        media=parts.media,
        managers=parts.managers,
        preparation=preparation,
        downloads=Downloads(parts.client, parts.registry, lambda: parts.settings, parts.metrics, parts.clock),
        commits=ImportCommit(parts.database, preparation, parts.incidents, parts.metrics, parts.clock),
        failures=failures,
        wakeups=parts.wakeups,
        metrics=parts.metrics,
        clock=parts.clock,
    )
    return Importer(
        database=parts.database,
        session=parts.session,
        owner=parts.instance,
        attempts=attempts,
        surroundings=surroundings,
        incidents=parts.incidents,
        settings=lambda: parts.settings.imports,
        wakeup=parts.wakeups.importer,
        clock=parts.clock,
    )


def deletion(parts: Parts) -> Deletion:
    """What deletes files that nobody needs any more."""
    return Deletion(
        database=parts.database,
        catalogue=parts.catalogue,
        media=parts.media,
        evidence=parts.evidence,
        owner=parts.instance,
        clock=parts.clock,
    )


def maintenance(parts: Parts) -> Maintenance:
    """The job that keeps ranks and figures, and deletes what has had its time."""
    of_imports = deletion(parts)
    sweep = Sweep(
        database=parts.database,
        deletion=of_imports,
        media=parts.media,
        evidence=parts.evidence,
        videos_dir=parts.settings.pod.videos_dir,
        clock=parts.clock,
    )
    purges = {
        "clean-up after imports": sweep.run,
        "deletion of replaced files": of_imports.delete_obsolete,
    }
    return Maintenance(parts, purges)


def callback_worker(parts: Parts) -> CallbackWorker:
    """The job that applies callbacks."""
    adoption = Adoption(
        database=parts.database,
        catalogue=parts.catalogue,
        client=parts.client,
        registry=parts.registry,
        refresh_managers=parts.managers.refresh,
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
        language=lambda: parts.output_language,
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
        language=lambda: parts.output_language,
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


def stops(parts: Parts) -> Stops:
    """The job that stops runs that nobody wants any more."""
    return Stops(
        database=parts.database,
        client=parts.client,
        registry=parts.registry,
        schedules=lambda: parts.session.term is not None,
    )


def shadow_jobs(parts: Parts) -> ShadowJobs:
    """The jobs of a daemon that decides, tells and changes nothing."""
    stats = ShadowStats(parts.metrics)
    capacity = Capacity(
        database=parts.database,
        client=parts.client,
        registry=parts.registry,
        settings=lambda: parts.settings.reconcile,
        dispatcher=parts.wakeups.dispatcher,
        clock=parts.clock,
    )
    outcomes = ShadowOutcomes(parts.database, stats, lambda: parts.settings, parts.clock)
    return ShadowJobs(
        wakeups=parts.wakeups,
        stats=stats,
        capacity=capacity,
        outcomes=outcomes,
        dispatcher=ShadowDispatcher(
            database=parts.database,
            catalogue=parts.catalogue,
            managers=parts.managers,
            sites=parts.sites,
            payloads=_payloads(parts),
            candidates=partial(_candidates, parts),
            capacity=capacity,
            outcomes=outcomes,
            stats=stats,
            settings=lambda: parts.settings,
            clock=parts.clock,
        ),
        reconciler=reconciler(parts, outcomes),
        upkeep=ShadowUpkeep(parts, stats, Maintenance(parts, {})),
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
            lambda: parts.catalogue.capabilities,
            lambda: parts.settings,
            lambda: parts.sites.current,
            parts.clock.now,
        ),
        mail=MailSender(of_channel(Channel.MAIL, count=count_mail), lambda: parts.settings.mail, parts.clock),
        push=PushSender(
            of_channel(Channel.PUSH, count=count_push),
            lambda: parts.settings.push,
            parts.database,
            parts.clock,
        ),
    )


def campaigns(parts: Parts) -> CampaignJob:
    """The job that adds the tasks of campaigns."""
    runners = FreeRunners(
        database=parts.database,
        catalogue=parts.catalogue,
        sites=parts.sites,
        lanes=parts.registry.lanes,
        own_tasks=parts.own_tasks,
        clock=parts.clock,
    )
    return CampaignJob(
        database=parts.database,
        session=parts.session,
        runners=runners,
        sites=parts.sites,
        fitness=_payloads(parts).of,
        pod=lambda: parts.settings.pod,
        wakeups=parts.wakeups,
        clock=parts.clock,
    )


def event_sender(parts: Parts) -> EventSender:
    """The job that tells other programs."""

    def count(outcome: DeliveryOutcome) -> None:
        parts.metrics.events.labels(outcome).inc()

    deliveries = Deliveries(
        Channel.EVENT, database=parts.database, owner=parts.instance, clock=parts.clock, count=count
    )
    return EventSender(deliveries, lambda: parts.settings.events, parts.clock)


def scheduler_watch(parts: Parts) -> SchedulerWatch:
    """The job that sees whether anybody schedules."""
    return SchedulerWatch(
        database=parts.database,
        session=parts.session,
        settings=lambda: parts.settings,
        queued=parts.wakeups.events,
        clock=parts.clock,
    )


def event_watch(parts: Parts, scheduler: SchedulerWatch) -> EventWatch:
    """The job that finds out what other programs are to be told of."""
    return EventWatch(
        database=parts.database,
        session=parts.session,
        registry=parts.registry,
        is_well=prober(parts).is_well,
        settings=lambda: parts.settings,
        scheduler=scheduler,
        queued=parts.wakeups.events,
        clock=parts.clock,
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
