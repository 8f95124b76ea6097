"""SIGHUP: a changed configuration is taken over, or refused in words that stay until a good one comes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

import structlog

from poddispatchd.config.keys import changed_keys
from poddispatchd.config.loading import DEFAULT_PATH, is_there, load_settings
from poddispatchd.config.model import Settings
from poddispatchd.errors import ConfigurationError, DatabaseError
from poddispatchd.observability.events import Event
from poddispatchd.observability.metrics import Metrics

log = structlog.get_logger(__name__)

_READ_WITHIN = 10.0
"""Seconds that reading the file may take, and the comparison with Pod's sites: systemd waits for the end of a
reload."""

_NO_THREAD = "The system gives the daemon no thread to read the configuration with. Reload again later."
_HANGS = (
    "The configuration cannot be read: the file system that it is on does not answer. Reload again later."
)

_SECTIONS_OF_POD = ("pod", "dispatch")
"""What is compared with Pod's database; the rest can be taken over without it."""


class ConfigurationFile:
    """The file of a running daemon: once it was there, that it is gone is an accident.

    Args: as of ``load_settings``; it was read a moment ago.
    """

    def __init__(
        self, path: Path | None, *, environ: Mapping[str, str], default_path: Path = DEFAULT_PATH
    ) -> None:
        self._path, self._environ, self._default_path = path, environ, default_path
        self._was_there = self._is_there()

    def settings(self) -> Settings:
        """What it says now.

        Raises:
            ConfigurationError: it cannot be used.
        """
        fresh = load_settings(
            self._path,
            environ=self._environ,
            default_path=self._default_path,
            was_there=self._was_there,
        )
        # A daemon that began without a file may have got one since.
        self._was_there = self._was_there or self._is_there()
        return fresh

    def _is_there(self) -> bool:
        return is_there(self._path, environ=self._environ, default_path=self._default_path)


class ConfigurationReload:
    """Reads the configuration again and holds it to the rules of the start.

    ``problems`` are those of the last reload, none when it was taken over: they are shown by systemd's
    STATUS, the status page, ``status`` and the metric ``config_reload_success``.
    """

    def __init__(self, load: Callable[[], Settings], metrics: Metrics) -> None:
        self._load = load
        self._metrics = metrics
        self._reading: Future[Settings] | None = None
        self.problems: tuple[str, ...] = ()

    async def read(
        self, current: Settings, verify: Callable[[Settings], Awaitable[None]] | None
    ) -> Settings | None:
        """The settings to take over; None when they are refused and the current ones stay in effect.

        Args:
            current: the settings in effect.
            verify: compares settings with Pod, as at the start; None before the database was reached, where
                the start will do so.
        """
        try:
            fresh = await self._loaded()
            if verify is not None:
                await self._compare(current, fresh, verify)
        except ConfigurationError as error:
            self.refuse(*(error.problems or (str(error),)))
            return None
        self.problems = ()
        self._metrics.config_reload_success.set(1)
        self._metrics.config_reloaded_at.set_to_current_time()
        return fresh

    async def _loaded(self) -> Settings:
        """The settings as they are written now, read by a thread: nothing else waits for the disk (I12).

        Raises:
            ConfigurationError: they cannot be used, or not be read in time.
        """
        if self._reading is not None and not self._reading.done():
            raise ConfigurationError(_HANGS)
        reading: Future[Settings] = Future()
        self._reading = reading
        reading.set_running_or_notify_cancel()

        def read() -> None:
            try:
                reading.set_result(self._load())
            except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
                reading.set_exception(error)

        # No pool's thread: the end of the process would wait for one that hangs.
        try:
            Thread(target=read, name="configuration", daemon=True).start()
        except RuntimeError:
            reading.set_exception(ConfigurationError(_NO_THREAD))
        try:
            async with asyncio.timeout(_READ_WITHIN):
                return await asyncio.wrap_future(reading)
        except TimeoutError:
            raise ConfigurationError(_HANGS) from None

    async def _compare(
        self, current: Settings, fresh: Settings, verify: Callable[[Settings], Awaitable[None]]
    ) -> None:
        try:
            async with asyncio.timeout(_READ_WITHIN):
                await verify(fresh)
        except (DatabaseError, TimeoutError):
            changed = changed_keys(current, fresh, within=_SECTIONS_OF_POD)
            if changed:
                raise ConfigurationError(
                    f"{', '.join(changed)}: it cannot be compared with Pod's sites, since the database does "
                    "not answer: reload again when it does."
                ) from None

    def refuse(self, *problems: str) -> None:
        """Take note that the configuration cannot be used: in the log once, in the state until a good one."""
        self.problems = problems
        self._metrics.config_reload_success.set(0)
        for problem in problems:
            log.error(Event.CONFIG_INVALID, problem=problem)

    def words(self) -> tuple[str, ...]:
        """Sentences for people, none when the last reload was taken over."""
        return tuple(
            f"The configuration was not reloaded, the one before stays in effect: {problem}"
            for problem in self.problems
        )
