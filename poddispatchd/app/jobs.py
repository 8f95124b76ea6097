"""The jobs of a daemon and of a single pass: built from the parts, begun and stopped together."""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from poddispatchd.app import features
from poddispatchd.app.parts import Parts
from poddispatchd.callbacks.worker import CallbackWorker
from poddispatchd.campaigns.job import CampaignJob
from poddispatchd.dispatch.dispatcher import Dispatcher
from poddispatchd.imports.importer import Importer
from poddispatchd.maintenance.job import Maintenance
from poddispatchd.managers.prober import Prober
from poddispatchd.notify.event_sender import EventSender
from poddispatchd.notify.event_watch import EventWatch
from poddispatchd.notify.hooks import Hooks
from poddispatchd.notify.notifier import Notifier
from poddispatchd.notify.scheduler_watch import SchedulerWatch
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.reconcile.reconciler import Reconciler
from poddispatchd.reconcile.stops import Stops
from poddispatchd.runtime import queue_tables
from poddispatchd.runtime.jobs import DaemonJobs, Loop, Progress
from poddispatchd.runtime.wakeups import Wakeup
from poddispatchd.tasks.restored import done_before, restored_words

log = structlog.get_logger(__name__)

_STOP_SUBMISSIONS = 5.0
"""Seconds that submissions in progress get at a stop; later ones are settled at the next start."""

_STOP_IMPORTS = 60.0
"""Seconds that imports past their commit point get at a stop."""


@dataclass(frozen=True, slots=True)
class Jobs(DaemonJobs):
    """The daemon's jobs."""

    parts: Parts
    dispatcher: Dispatcher
    inbox: CallbackWorker
    importer: Importer
    reconciler: Reconciler
    stops: Stops
    maintenance: Maintenance
    prober: Prober
    notifier: Notifier
    hooks: Hooks
    events: EventSender
    event_watch: EventWatch
    scheduler_watch: SchedulerWatch
    campaigns: CampaignJob

    @classmethod
    def of(cls, parts: Parts, *, budget: int | None = None, single_pass: bool = False) -> "Jobs":
        """The jobs that work with these parts.

        ``budget`` limits how many tasks are submitted; ``single_pass``: they make one pass.
        """
        watch = features.scheduler_watch(parts)
        return cls(
            parts=parts,
            dispatcher=features.dispatcher(parts, budget=budget, single_pass=single_pass),
            inbox=features.callback_worker(parts),
            importer=features.importer(parts),
            reconciler=features.reconciler(parts),
            stops=features.stops(parts),
            maintenance=features.maintenance(parts),
            prober=features.prober(parts),
            notifier=features.notifier(parts),
            hooks=features.hooks(parts),
            events=features.event_sender(parts),
            event_watch=features.event_watch(parts, watch),
            scheduler_watch=watch,
            campaigns=features.campaigns(parts),
        )

    @property
    def loops(self) -> Iterable[Loop]:
        """The jobs, each with what wakes it."""
        wakeups = self.parts.wakeups
        return (
            Loop("inbox", self.inbox.step, wakeups.inbox),
            Loop("reconciler", self.reconciler.step, wakeups.reconciler),
            Loop("stops", self.stops.step, wakeups.stops),
            Loop("importer", self.importer.step, wakeups.importer),
            Loop("dispatcher", self.dispatcher.step, wakeups.dispatcher),
            Loop("maintenance", self.maintenance.step, wakeups.maintenance),
            Loop("notifier", self.notifier.step, wakeups.notifier),
            Loop("mail", self.notifier.mail.step, wakeups.mail),
            Loop("push", self.notifier.push.step, wakeups.push),
            Loop("hooks", self.hooks.step, wakeups.hooks),
            Loop("events", self.events.step, wakeups.events),
            Loop("event watch", self.event_watch.step, wakeups.event_watch),
            Loop(
                "scheduler watch",
                self.scheduler_watch.step,
                wakeups.scheduler_watch,
                needs_database=False,
            ),
            Loop("campaigns", self.campaigns.step, self.campaigns.wakeup),
            Loop("prober", self.prober.step, Wakeup()),
            Loop("locked rows", self.parts.locked_rows.step, self.parts.locked_rows.wake),
        )

    @property
    def progress(self) -> Progress:
        """What the jobs tell now."""
        return Progress(
            queue_stats=self.maintenance.counter.stats,
            submissions=self.dispatcher.in_hand,
            imports=self.importer.running,
            stale=self.reconciler.stale,
            stalled_types=self.maintenance.stalled.types,
            set_aside=self.maintenance.unsettled.set_aside,
            late=self.maintenance.unsettled.late,
        )

    async def look(self) -> QueueStats:
        """Count the tasks now."""
        return await self.maintenance.counter.look()

    async def begin(self) -> None:
        """Give back what a crashed daemon held: nothing else is at work yet."""
        async with self.parts.database.connection() as connection:
            # Before any job claims: what they held is due at once, and not when the leases run out.
            await queue_tables.release_dead(connection)
        if done := await done_before(self.parts.database, self.parts.media):
            log.warning(Event.DATABASE_RESTORED, reason=restored_words(done))

    async def stop(self) -> None:
        """Finish what is past its commit point, hand back the rest."""
        await self.dispatcher.stop(_STOP_SUBMISSIONS)
        # Imports may take a minute more: another daemon schedules meanwhile.
        await self.parts.session.resign()
        await self.importer.stop(_STOP_IMPORTS)
        await self.reconciler.stop()
        await self.prober.stop()
        await self.inbox.stop()


def showing_progress(loop: Loop, metrics: Metrics) -> Loop:
    """A job that shows when it last made progress."""
    progress = metrics.job_progress.labels(loop.name)
    progress.set_to_current_time()

    async def step() -> float:
        delay = await loop.step()
        progress.set_to_current_time()
        return delay

    return loop._replace(step=step)
