"""The jobs of the features, each with what it uses."""

from functools import partial

from poddispatchd.callbacks.adoption import Adoption
from poddispatchd.callbacks.worker import CallbackWorker
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.hooks import Hooks
from poddispatchd.notify.mail import MailSender
from poddispatchd.notify.notifier import Notifier
from poddispatchd.notify.planner import Planner
from poddispatchd.notify.push import PushSender
from poddispatchd.notify.queue import Channel
from poddispatchd.observability.metrics import DeliveryOutcome
from poddispatchd.parts import Parts


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
        planner=Planner(parts.database, lambda: parts.settings, lambda: parts.sites[parts.current_site]),
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
