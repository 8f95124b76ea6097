"""One full pass and the end: a drop-in for the CRON line of ``manage.py process_tasks``."""

import asyncio

import structlog
from msgspec import Struct

from poddispatchd.app.composition import assembled, create_resources
from poddispatchd.app.jobs import Jobs
from poddispatchd.app.parts import Parts
from poddispatchd.app.pass_summary import SiteSummary, end_of_pass
from poddispatchd.config.model import Settings
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.observability.events import Event
from poddispatchd.pod import open_tasks
from poddispatchd.reconcile.reconciler import ASK_AGAIN_AFTER
from poddispatchd.runtime.commit_watch import waits_told
from poddispatchd.runtime.supervisor import cancel_surely, unless

log = structlog.get_logger(__name__)

_LONGEST_ROUND = 3600.0
_STOP_SUBMISSIONS = 5.0
_STOP_IMPORTS = 60.0
_MOST_LOOKS = 3
_LONGEST_TELLING = 600.0
_PAUSE = 0.05


class PassResult(Struct, frozen=True):
    """What one pass found at its end.

    ``scheduled`` is False when another daemon schedules, ``stopped`` True when it was cut short;
    ``sites`` say what was done for each.
    """

    scheduled: bool
    pending: int = 0
    running: int = 0
    stopped: bool = False
    sites: tuple[SiteSummary, ...] = ()


async def run_once(
    settings: Settings, *, max_tasks: int | None = None, stop: asyncio.Event | None = None
) -> PassResult:
    """Reconcile, apply callbacks, import what is ready, submit what can be submitted, rank, purge.

    Args:
        settings: the configuration.
        max_tasks: submissions at most; None is no limit.
        stop: once it is set the pass is cut short: what is past its commit point is finished, the rest is
            handed back.

    Raises:
        ConfigurationError: something that only a person can change.
        DatabaseUnavailableError: the database does not answer.
    """
    resources, stop = create_resources(settings), stop or asyncio.Event()
    async with waits_told(resources.database, _commits_wait), assembled(resources) as parts:
        session = asyncio.create_task(parts.session.run(), name="database session")
        try:
            await unless(stop, _until_available(parts, session))
            if parts.session.term is None:
                return PassResult(scheduled=False, stopped=stop.is_set())
            return await _pass(parts, Jobs.of(parts, budget=max_tasks, single_pass=True), stop)
        finally:
            await cancel_surely(session)


def _commits_wait(words: str) -> None:
    log.warning(Event.DATABASE_COMMITS_NOTHING, reason=words)


async def _until_available(parts: Parts, session: "asyncio.Task[None]") -> None:
    """Wait until the database answers.

    Raises:
        SchemaNewerError: a newer release has upgraded our schema.
    """
    available = asyncio.create_task(parts.session.available())
    try:
        await asyncio.wait({available, session}, return_when=asyncio.FIRST_COMPLETED)
        if session.done():
            session.result()
    finally:
        await cancel_surely(available)


async def _pass(parts: Parts, jobs: Jobs, stop: asyncio.Event) -> PassResult:
    before = await open_tasks.open_tasks_on_sites(parts.database)
    await jobs.begin()
    try:
        if await unless(stop, _round(parts, jobs), within=_LONGEST_ROUND) is None:
            log.warning(
                Event.DAEMON_STOPPING, submissions=jobs.dispatcher.in_hand, imports=jobs.importer.running
            )
    finally:
        # Whatever ends the pass: nothing stays leased, and what is past its commit point is finished.
        await jobs.dispatcher.stop(_STOP_SUBMISSIONS)
        await jobs.importer.stop(_STOP_IMPORTS)
        await jobs.reconciler.stop()
        await jobs.inbox.stop()
    if not stop.is_set():
        await _tell(jobs, stop)
    if not stop.is_set():
        await jobs.maintenance.ranks.write()
        await jobs.maintenance.purge()
    queue_stats = await jobs.maintenance.counter.look()
    pending, running = (
        sum(queue_stats.count(kind, status) for kind in TaskType)
        for status in (TaskStatus.PENDING, TaskStatus.RUNNING)
    )
    return PassResult(
        scheduled=True,
        pending=pending,
        running=running,
        stopped=stop.is_set(),
        sites=await end_of_pass(parts, before),
    )


async def _round(parts: Parts, jobs: Jobs) -> bool:
    """What a pass is for; True, since it is not cut off."""
    await _reconcile(parts, jobs)
    await _apply_callbacks(jobs)
    await _settle(parts, jobs)
    await _import(parts, jobs)
    await _settle(parts, jobs)
    # When nothing else waits: the CRON line that this stands in for comes again, and then adds the next ones.
    await jobs.campaigns.step()
    await _settle(parts, jobs)
    for _ in range(_MOST_LOOKS):
        if (moment := jobs.dispatcher.unanswered.next_post) is None:
            break
        # An answer was lost, or a pass was killed, within the last half minute: this one goes on with that.
        await parts.clock.sleep(max(_PAUSE, moment - parts.clock.monotonic()))
        await _settle(parts, jobs)
    return True


async def _reconcile(parts: Parts, jobs: Jobs) -> None:
    """Stop what nobody wants; ask about every running task, and again about those that nobody knew."""
    await jobs.stops.step()
    await jobs.reconciler.step()
    await jobs.reconciler.until_idle()
    for _ in range(_MOST_LOOKS):
        if not jobs.reconciler.in_doubt:
            return
        await parts.clock.sleep(ASK_AGAIN_AFTER)
        await jobs.reconciler.step()
        await jobs.reconciler.until_idle()


async def _apply_callbacks(jobs: Jobs) -> None:
    """Apply what has come, and what is found out about callbacks of runs whose answer was lost."""
    await jobs.inbox.drain()


async def _tell(jobs: Jobs, stop: asyncio.Event) -> None:
    """Send the mail that is due, and run the command for what was imported; the rest waits."""
    if await unless(stop, _drain(jobs), within=_LONGEST_TELLING) is None and not stop.is_set():
        log.warning(Event.NOTICE_RETRIED, reason="There is more to tell than one pass has time for.")


async def _drain(jobs: Jobs) -> bool:
    notifier = jobs.notifier
    await notifier.drain()
    await jobs.event_watch.look_once()
    # Side by side: a mail server that says nothing, or a command that hangs, holds up nobody else.
    senders = (notifier.mail.drain(), notifier.push.drain(), jobs.hooks.drain(), jobs.events.drain())
    ends = await asyncio.gather(*senders, return_exceptions=True)
    for end in ends:
        if end is not None:
            raise end
    return True


async def _settle(parts: Parts, jobs: Jobs) -> None:
    """Submit until no manager can take another task right now."""
    while True:
        delay = await jobs.dispatcher.step()
        if jobs.dispatcher.in_hand:
            await jobs.dispatcher.drain()
        elif delay > _PAUSE or jobs.dispatcher.budget == 0:
            return
        else:
            await parts.clock.sleep(_PAUSE)


async def _import(parts: Parts, jobs: Jobs) -> None:
    """Import what is ready; what must be tried again later is left to the next pass."""
    while True:
        await jobs.importer.step()
        if not jobs.importer.running:
            return
        await parts.wakeups.importer.wait(1.0)
