"""The jobs that tell people and other programs."""

from functools import partial

from poddispatchd.app.features.reconcile import prober
from poddispatchd.app.parts import Parts
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
    deliveries = Deliveries(
        Channel.HOOK,
        database=parts.database,
        owner=parts.instance,
        clock=parts.clock,
        # Each end is counted by the job, and how a command ended.
        count=lambda _: None,
    )
    return Hooks(deliveries, lambda: parts.settings.imports, parts.metrics)
