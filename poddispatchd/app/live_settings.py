"""The settings of a running daemon: a reload changes what needs no restart."""

import os

import structlog
from msgspec.structs import replace

from poddispatchd.app.parts import Parts
from poddispatchd.app.reload import ConfigurationReload
from poddispatchd.config.keys import changed_keys
from poddispatchd.config.model import Settings
from poddispatchd.config.windows import availability_of
from poddispatchd.errors import ConfigurationError
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.observability.events import Event
from poddispatchd.observability.logs import configure_logging, register_secrets

log = structlog.get_logger(__name__)

_NEEDS_RESTART = ("database", "pod", "runners", "webhook", "ops")
"""Sections that are built into connections and listeners."""


class LiveSettings:
    """The settings in effect, and how they change.

    Args:
        settings: those of the start.
        reload: reads the file again.
        registry: is told when tasks may be submitted.
    """

    def __init__(self, settings: Settings, reload: ConfigurationReload, registry: ManagerRegistry) -> None:
        self._first = settings
        self._current = settings
        self._reload = reload
        self._registry = registry
        self._parts: Parts | None = None
        self._waits: tuple[str, ...] = ()

    def words(self) -> tuple[str, ...]:
        """Sentences about a reload that was refused, or that read what a restart alone takes over."""
        if not self._waits:
            return self._reload.words()
        verb = "are" if len(self._waits) > 1 else "is"
        return (
            *self._reload.words(),
            f"The configuration has been changed, and {', '.join(self._waits)} {verb} as before until the "
            f"daemon is restarted: 'systemctl restart poddispatchd'.",
        )

    async def attach(self, parts: Parts) -> None:
        """From now on these parts work by them.

        What was reloaded before the database answered is held to the rules of the start only now.
        """
        if self._current is not self._first:
            try:
                await parts.verify(self._current)
            except ConfigurationError as error:
                self._reload.refuse(*error.problems)
                self._current = self._first
                self._registry.availability = availability_of(self._current)
        parts.settings = self._current
        self._parts = parts

    async def read_again(self) -> None:
        """Take over what can change while running; a bad file leaves everything as it is, and is shown."""
        parts = self._parts
        fresh = await self._reload.read(self._current, None if parts is None else parts.verify)
        if fresh is not None:
            self._take_over(fresh)

    def _take_over(self, fresh: Settings) -> None:
        # Before anything is logged: a line may hold the new ones.
        register_secrets(fresh)
        # A new password, say, counted as taken over until the next connection.
        self._waits = waits = changed_keys(self._current, fresh, within=_NEEDS_RESTART)
        kept = {name: getattr(self._current, name) for name in _NEEDS_RESTART}
        changed = changed_keys(self._current, fresh)
        self._current = replace(fresh, **kept)
        self._registry.availability = availability_of(self._current)
        if self._parts is not None:
            self._parts.settings = self._current
            # A person who has changed a link on the first level says so by a reload.
            self._parts.media.media_root.look_anew()
            self._parts.wakeups.ring_all()
        configure_logging(fresh.log, environ=os.environ)
        log.info(
            Event.CONFIG_RELOADED,
            changed=", ".join(key for key in changed if key not in waits) or None,
            needs_restart=", ".join(waits) or None,
        )
