"""The daemon: listeners, jobs, signals, watchdog, and the order in which all of it starts and stops."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import structlog

from poddispatchd.app import features
from poddispatchd.app.composition import (
    WAITED_FOR,
    Resources,
    assembled,
    create_resources,
    open_when_it_answers,
    waited_for,
)
from poddispatchd.app.jobs import Jobs, showing_progress
from poddispatchd.app.listeners import drain, listen_for_callbacks
from poddispatchd.app.live_settings import LiveSettings
from poddispatchd.app.parts import Parts
from poddispatchd.app.reload import ConfigurationFile, ConfigurationReload
from poddispatchd.app.signals import handle_signals
from poddispatchd.build import FULL_VERSION
from poddispatchd.config.model import Settings
from poddispatchd.errors import TaskEndedError
from poddispatchd.observability.events import Event
from poddispatchd.runtime.activation import ReceivedSockets, receive_sockets
from poddispatchd.runtime.commit_watch import waits_told
from poddispatchd.runtime.jobs import DaemonJobs
from poddispatchd.runtime.memory import give_back_regularly
from poddispatchd.runtime.supervisor import JobContext, Pulse, Supervisor, cancel_surely, run_job, unless
from poddispatchd.runtime.systemd import ServiceNotifier
from poddispatchd.web.figures import Figures
from poddispatchd.web.listener import ListenerOptions, Serving, serving
from poddispatchd.web.ops import OPS_HEADERS, OPS_LIMITS, ops_application
from poddispatchd.web.overviews import Overview
from poddispatchd.web.state import DaemonState
from poddispatchd.web.status import DaemonStatus

log = structlog.get_logger(__name__)

_LONGEST_BEAT = 10.0

_STARTING = "The daemon is starting."

_SESSION, _STATUS = "database session", "status for systemd"

_SECOND_TRY = 2.0
"""Seconds after the database was lost in the middle of the start."""

_NEXT_TRY_WITHIN = 300.0
"""Seconds within which a start that waits says so again: several silent servers are tried in that time."""


class Daemon:
    """One poddispatchd process; as a shadow it takes no callbacks and changes nothing."""

    def __init__(
        self, settings: Settings, *, config_path: Path | None = None, is_shadow: bool = False
    ) -> None:
        self._resources: Resources = create_resources(settings, is_shadow=is_shadow)
        self._notifier = ServiceNotifier()
        self._pulse = Pulse(self._resources.clock)
        self._stop = asyncio.Event()
        self._hung_up = asyncio.Event()
        file = ConfigurationFile(config_path, environ=os.environ)
        reload = ConfigurationReload(file.settings, self._resources.metrics)
        self._settings = LiveSettings(settings, reload, self._resources.registry)
        self._waiting = _STARTING
        self._supervisor = Supervisor(self._resources.clock)
        self._listeners: dict[str, Serving] = {}
        self._work: DaemonJobs | None = None
        self._figures: Figures | None = None
        self._status: DaemonStatus | None = None

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: something that only a person can change; nothing has been touched.
            SchemaNewerError: a newer release has upgraded our schema: everything is handed back.
            TaskEndedError: a part of the daemon cannot be kept running: systemd starts it anew.
        """
        resources = self._resources
        mode = {"mode": "shadow"} if resources.is_shadow else {}
        log.info(Event.DAEMON_STARTED, version=FULL_VERSION, instance=resources.instance, **mode)
        resources.metrics.config_reloaded_at.set_to_current_time()
        # Before anything is opened: a stop during the start ends it in order.
        handle_signals(stop=self._stop.set, hung_up=self._hung_up.set)
        async with AsyncExitStack() as stack:
            stack.callback(self._notifier.close)
            # Before the listeners: what systemd hands over takes the place of an address.
            received = receive_sockets(os.environ, () if resources.is_shadow else ("webhook",))
            stack.callback(received.close)
            if await unless(self._stop, self._listen(stack, received)):
                self._supervisor.start("watchdog", self._beat)
                self._supervisor.start("reload", self._reload_when_asked)
                self._supervisor.start("memory", partial(give_back_regularly, resources.clock.sleep))
                stack.push_async_callback(self._supervisor.stop)
                await self._work_until_stopped(stack)
            self._notifier.stopping()
        log.info(Event.DAEMON_STOPPED)

    async def _listen(self, stack: AsyncExitStack, received: ReceivedSockets) -> bool:
        """Open the listeners; their addresses may not be there yet."""
        resources, listen = self._resources, self._resources.settings.ops.listen
        if not resources.is_shadow:
            self._listeners["webhook"] = await listen_for_callbacks(
                stack, resources, received, self._wait_for
            )
        ops = ops_application(
            resources.metrics,
            self._state,
            self._pulse.stuck,
            waiting=lambda: self._waiting,
            refresh=self._refresh,
            allowed_hosts=(listen.host, *resources.settings.ops.allowed_hosts),
        )
        options = ListenerOptions(
            limits=OPS_LIMITS, headers=OPS_HEADERS, metrics=resources.metrics, waits=self._wait_for
        )
        opened = serving(ops, listen, "ops.listen", options)
        self._listeners["ops"] = await stack.enter_async_context(opened)
        self._waiting = _STARTING
        return True

    async def _work_until_stopped(self, stack: AsyncExitStack) -> None:
        """Work until a signal, or until a part of the daemon says that it cannot go on."""
        work = asyncio.create_task(self._prepare_and_serve(stack), name="daemon")
        watching = asyncio.create_task(self._supervisor.watch(), name="supervisor")
        try:
            await asyncio.wait({work, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                if (error := watching.exception()) is not None:
                    log.error(Event.SERVICE_ENDED, reason=str(error))
                # Everything is handed back in order all the same.
                self._stop.set()
            await work
            if watching.done():
                watching.result()
        finally:
            await cancel_surely(work)
            await cancel_surely(watching)

    async def _prepare_and_serve(self, stack: AsyncExitStack) -> None:
        prepared = await unless(self._stop, self._prepare(stack))
        if prepared is not None:
            await self._serve(*prepared)

    async def _prepare(self, stack: AsyncExitStack) -> tuple[Parts, DaemonJobs]:
        """The parts and the jobs on a database that answers and fits, however long that takes."""
        resources, told = self._resources, ""
        while True:
            await open_when_it_answers(resources, self._wait_for)
            try:
                async with waits_told(resources.database, self._commits_wait), AsyncExitStack() as attempt:
                    parts = await attempt.enter_async_context(assembled(resources, self._wait_for))
                    work: DaemonJobs = features.shadow_jobs(parts) if resources.is_shadow else Jobs.of(parts)
                    await work.begin()
                    await self._settings.attach(parts)
                    stack.push_async_callback(attempt.pop_all().aclose)
                    return parts, work
            except WAITED_FOR as error:
                # Pod is being migrated, perhaps, or one of its tables altered: that passes, and nobody would
                # start the daemon again at night.
                event, what = waited_for(error)
                if told != (told := str(error)):
                    log.warning(event, reason=told)
                self._wait_for(f"Waiting for {what}: {error}")
            await resources.clock.sleep(_SECOND_TRY)

    def _commits_wait(self, words: str) -> None:
        log.warning(Event.DATABASE_COMMITS_NOTHING, reason=words)
        self._wait_for(f"Waiting for the database: {words}")

    def _wait_for(self, words: str, within: float = _NEXT_TRY_WITHIN) -> None:
        self._waiting = " ".join((words, *self._settings.words()))
        self._notifier.status(self._waiting)
        if not self._notifier.is_up:
            self._notifier.extend_start(within)

    async def _serve(self, parts: Parts, work: DaemonJobs) -> None:
        self._supervisor.start(_SESSION, parts.session.run)
        try:
            while not (parts.session.is_up or self._stop.is_set()):
                await unless(self._stop, parts.session.available(), within=_SECOND_TRY)
                if (problem := parts.session.problem) is not None:
                    # A standby server can be read, so that everything before has found what it looked for.
                    self._wait_for(f"Waiting for the database: {problem}")
            if self._stop.is_set():
                return
            self._figures = features.figures(parts, work.look)
            self._status = features.status(parts, self._figures)
            self._work = work
            around = JobContext(
                parts.session, parts.clock, self._pulse, parts.incidents, parts.catalogue.refresh
            )
            for loop in work.loops:
                self._supervisor.start(
                    loop.name, partial(run_job, showing_progress(loop, parts.metrics), around)
                )
            for listener in self._listeners.values():
                # Only now: whoever is let in finds a database that answers, and jobs that apply what he says.
                listener.accept()
            self._notifier.ready()
            self._show_state()
            log.info(
                Event.DAEMON_READY,
                **{name: str(listener.address) for name, listener in self._listeners.items()},
            )
            await self._stop.wait()
            await self._shut_down(work)
            await drain(self._listeners.values())
        finally:
            await self._supervisor.stop(_SESSION)

    async def _shut_down(self, work: DaemonJobs) -> None:
        """Take no new work, finish what is past its commit point, hand back the rest."""
        progress = work.progress
        log.info(Event.DAEMON_STOPPING, submissions=progress.submissions, imports=progress.imports)
        self._notifier.stopping()
        self._notifier.status("Stopping: finishing what is past its commit point")
        # Side by side: one after the other they may take longer than systemd waits.
        await asyncio.gather(self._supervisor.stop(*(loop.name for loop in work.loops)), work.stop())

    # --- reload and signs of life ------------------------------------------------------------------------

    async def _reload_when_asked(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            try:
                await self._reload_once()
            except Exception:  # a bug in a reload must not keep the daemon from the next one
                log.exception(Event.SERVICE_CRASHED, job="reload")

    async def _reload_once(self) -> None:
        """Take over what can change while running; a bad file leaves everything as it is, and is shown."""
        # Before, systemd waits for the end of the start, and for no reload's.
        is_up = self._notifier.is_up
        if is_up:
            self._notifier.reloading()
        try:
            await self._settings.read_again()
        finally:
            # Whatever came of it, systemd waits for its end.
            if is_up:
                self._notifier.ready()
        self._show_state()

    async def _beat(self) -> None:
        """Feed the watchdog while the jobs make progress, and keep STATUS and the loop's lag up to date."""
        resources = self._resources
        interval = min(self._notifier.watchdog_interval or _LONGEST_BEAT, _LONGEST_BEAT)
        while True:
            expected = resources.clock.monotonic() + interval
            await resources.clock.sleep(interval)
            resources.metrics.loop_lag.set(max(0.0, resources.clock.monotonic() - expected))
            for name, listener in self._listeners.items():
                if not listener.is_serving():
                    raise TaskEndedError(f"The listener {name!r} takes no connections any more.")
            stuck = self._pulse.stuck()
            if stuck:
                log.error(Event.SERVICE_STUCK, jobs=", ".join(stuck))
            else:
                self._notifier.watchdog()
            self._show_state()

    def _show_state(self) -> None:
        """Show the state in one line; what cannot be told ends neither the start nor the signs of life."""
        if self._stop.is_set():
            return
        incidents = self._resources.incidents
        try:
            state = self._state()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told by the incidents
            incidents.failed(_STATUS, error, is_aside=True)
            return
        incidents.recovered(_STATUS)
        if state is not None:
            self._notifier.status(state.line())

    async def _refresh(self, with_tasks: bool) -> Overview | None:
        if self._figures is None:
            return None
        await self._figures.refresh(with_tasks=with_tasks)
        return self._figures.overview

    def _state(self) -> DaemonState | None:
        work = self._work
        if self._status is None or work is None:
            return None
        return self._status.state(work.progress, told=self._settings.words())
