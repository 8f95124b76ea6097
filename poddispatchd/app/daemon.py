"""The daemon: listeners, jobs, signals, watchdog, and the order in which all of it starts and stops."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from poddispatchd import __version__
from poddispatchd.app.composition import Jobs, Resources, assembled, create_resources, open_patiently
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.config.keys import changed_keys
from poddispatchd.config.loading import load_settings
from poddispatchd.config.model import Settings
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError
from poddispatchd.observability.events import Event
from poddispatchd.observability.logs import configure_logging, register_secrets
from poddispatchd.parts import Parts
from poddispatchd.runtime.jobs import Loop, Work
from poddispatchd.runtime.supervision import Pulse, cancel_surely, run_job, unless
from poddispatchd.runtime.systemd import ServiceNotifier
from poddispatchd.shadow.jobs import ShadowJobs
from poddispatchd.web.listener import listening
from poddispatchd.web.ops import ops_application
from poddispatchd.web.state import DaemonState, state_of
from poddispatchd.web.webhook import webhook_application

log = structlog.get_logger(__name__)

_LONGEST_BEAT = 10.0

_SECOND_TRY = 1.0
"""Seconds after the database was lost in the middle of the start."""

_NEEDS_RESTART = ("database", "pod", "runners", "webhook", "ops")
"""Sections that are built into connections and listeners."""


class Daemon:
    """One poddispatchd process; as a shadow it takes no callbacks and changes nothing."""

    def __init__(
        self, settings: Settings, *, config_path: Path | None = None, is_shadow: bool = False
    ) -> None:
        self._resources: Resources = create_resources(settings, is_shadow=is_shadow)
        self._config_path = config_path
        self._notifier = ServiceNotifier()
        self._pulse = Pulse(self._resources.clock)
        self._stop = asyncio.Event()
        self._settings = settings
        self._waiting = "The daemon is starting."
        self._parts: Parts | None = None
        self._work: Work | None = None

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            ConfigurationError: something that only a person can change; nothing has been touched.
        """
        ground, settings = self._resources, self._resources.settings
        mode = {"mode": "shadow"} if ground.is_shadow else {}
        log.info(Event.DAEMON_STARTED, version=__version__, instance=ground.instance, **mode)
        ground.metrics.config_reload_success.set_to_current_time()
        self._handle_signals()
        ops = ops_application(ground.metrics, self._state, self._pulse.stuck, waiting=lambda: self._waiting)
        async with AsyncExitStack() as stack:
            stack.callback(self._notifier.close)
            addresses = {} if ground.is_shadow else {"webhook": await self._listen_for_callbacks(stack)}
            private = await stack.enter_async_context(listening(ops, settings.ops.listen, "ops.listen"))
            addresses["ops"] = str(private)
            beat = asyncio.create_task(self._beat(), name="watchdog")
            stack.callback(beat.cancel)
            prepared = await unless(self._stop, self._prepare(stack))
            if prepared is not None:
                await self._serve(*prepared, addresses)
            self._notifier.stopping()
        log.info(Event.DAEMON_STOPPED)

    async def _listen_for_callbacks(self, stack: AsyncExitStack) -> str:
        """Open the webhook until the stack unwinds; where it listens."""
        ground = self._resources
        reception = CallbackReceiver(ground.database, ground.registry, ground.wakeups, ground.clock)
        settings = ground.settings.webhook
        webhook = webhook_application(reception, settings, metrics=ground.metrics, clock=ground.clock)
        return str(await stack.enter_async_context(listening(webhook, settings.listen, "webhook.listen")))

    async def _prepare(self, stack: AsyncExitStack) -> tuple[Parts, Work]:
        """The parts and the jobs on a database that answers and fits, however long that takes."""
        ground = self._resources
        while True:
            await open_patiently(ground, self._wait_for)
            try:
                async with AsyncExitStack() as attempt:
                    parts = await attempt.enter_async_context(assembled(ground))
                    work: Work = ShadowJobs.of(parts) if ground.is_shadow else Jobs.of(parts)
                    await work.begin()
                    stack.push_async_callback(attempt.pop_all().aclose)
                    parts.settings = self._settings
                    return parts, work
            except DatabaseUnavailableError as error:
                log.warning(Event.DATABASE_DOWN, error=str(error))
                self._wait_for(f"Waiting for the database: {error}")
            await ground.clock.sleep(_SECOND_TRY)

    def _wait_for(self, words: str) -> None:
        self._waiting = words
        self._notifier.status(words)

    async def _serve(self, parts: Parts, work: Work, addresses: Mapping[str, str]) -> None:
        session = asyncio.create_task(parts.session.run(), name="database session")
        try:
            await unless(self._stop, parts.session.available())
            if self._stop.is_set():
                return
            self._parts, self._work = parts, work
            running = [
                asyncio.create_task(self._run_loop(parts, loop), name=loop.name) for loop in work.loops
            ]
            self._notifier.ready()
            self._show_state()
            log.info(Event.DAEMON_READY, **addresses)
            await self._stop.wait()
            await self._shut_down(work, running)
        finally:
            await cancel_surely(session)

    async def _run_loop(self, parts: Parts, loop: Loop) -> None:
        await run_job(
            loop.name,
            loop.step,
            wake=loop.wake,
            session=parts.session,
            clock=parts.clock,
            pulse=self._pulse,
        )

    async def _shut_down(self, work: Work, running: list[asyncio.Task[None]]) -> None:
        """Take no new work, finish what is past its commit point, hand back the rest."""
        log.info(Event.DAEMON_STOPPING, submissions=work.submissions, imports=work.imports)
        self._notifier.stopping()
        self._notifier.status("Stopping: finishing what is past its commit point")
        # Side by side: one after the other they may take longer than systemd waits.
        await asyncio.gather(cancel_surely(*running), work.stop())

    # --- signals and signs of life -----------------------------------------------------------------------

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        """Take over what can change while running; a bad file leaves everything as it is."""
        if self._parts is not None:
            self._notifier.reloading()
        try:
            fresh = load_settings(self._config_path, environ=os.environ)
        except ConfigurationError as error:
            for problem in error.problems:
                log.error(Event.CONFIG_INVALID, problem=problem)  # noqa: TRY400 - words say it all
        else:
            self._take_over(fresh)
        if self._parts is not None:
            self._notifier.ready()

    def _take_over(self, fresh: Settings) -> None:
        register_secrets(fresh)
        waits = changed_keys(self._settings, fresh, within=_NEEDS_RESTART)
        kept = {name: getattr(self._settings, name) for name in _NEEDS_RESTART}
        changed = changed_keys(self._settings, fresh)
        self._settings = fresh.model_copy(update=kept)
        if self._parts is not None:
            self._parts.settings = self._settings
            self._parts.wakeups.ring_all()
        configure_logging(fresh.log, environ=os.environ)
        self._resources.metrics.config_reload_success.set_to_current_time()
        log.info(
            Event.CONFIG_RELOADED,
            changed=", ".join(key for key in changed if key not in waits) or None,
            needs_restart=", ".join(waits) or None,
        )

    async def _beat(self) -> None:
        """Feed the watchdog while the jobs make progress, and keep STATUS and the loop's lag up to date."""
        ground = self._resources
        interval = min(self._notifier.watchdog_interval or _LONGEST_BEAT, _LONGEST_BEAT)
        while True:
            expected = ground.clock.monotonic() + interval
            await ground.clock.sleep(interval)
            ground.metrics.loop_lag.set(max(0.0, ground.clock.monotonic() - expected))
            stuck = self._pulse.stuck()
            if stuck:
                log.error(Event.SERVICE_STUCK, jobs=", ".join(stuck))
            else:
                self._notifier.watchdog()
            self._show_state()

    def _show_state(self) -> None:
        state = self._state()
        if state is not None and not self._stop.is_set():
            self._notifier.status(state.line())

    def _state(self) -> DaemonState | None:
        work = self._work
        if self._parts is None or work is None:
            return None
        return state_of(
            self._parts,
            queue_stats=work.queue_stats,
            submissions=work.submissions,
            imports=work.imports,
            stale=work.stale,
            stalled_types=work.stalled_types,
            shadow=work.shadow,
            blind=work.blind,
        )
