"""Telling about requests that are refused: at once, and then only how many there were."""

from collections.abc import Callable

import structlog
from msgspec import Struct, field

from poddispatchd.observability.events import Event

log = structlog.get_logger(__name__)

_WINDOW = 60.0
"""Seconds between two lines about the same thing."""


class _Kind(Struct):
    told_at: float
    event: Event
    keys: dict[str, object]
    is_alarming: bool
    count: int = 0


class RefusalLog(Struct):
    """One line for the first refusal of a kind, then one a minute with the number of those that followed.

    Nothing that a peer has sent is ever in a line: whoever can make us write lines could write into them.
    """

    listener: str
    monotonic: Callable[[], float]
    _kinds: dict[tuple[object, ...], _Kind] = field(default_factory=dict)

    def tell(
        self, event: Event, *, is_alarming: bool = True, remote: str | None = None, **keys: object
    ) -> None:
        """A request was refused.

        Args:
            event: the name of the line.
            is_alarming: whether it is a warning.
            remote: the address it came from, named for the first one only.
            keys: what tells kinds apart: few values, none of them a peer's.
        """
        now = self.monotonic()
        kind = self._kinds.get((event, *keys.values()))
        if kind is not None and now - kind.told_at < _WINDOW:
            kind.count += 1
            return
        if kind is not None and kind.count:
            self._sum_up(kind)
        self._kinds[(event, *keys.values())] = _Kind(now, event, dict(keys), is_alarming)
        _write(event, is_alarming, listener=self.listener, remote=remote, **keys)

    def flush(self) -> None:
        """Tell how many there were, of kinds whose minute is over."""
        now = self.monotonic()
        for key, kind in list(self._kinds.items()):
            if now - kind.told_at < _WINDOW:
                continue
            if not kind.count:
                del self._kinds[key]
                continue
            self._sum_up(kind)
            kind.told_at, kind.count = now, 0

    def _sum_up(self, kind: _Kind) -> None:
        _write(kind.event, kind.is_alarming, listener=self.listener, **kind.keys, more=kind.count)


def _write(event: Event, is_alarming: bool, **keys: object) -> None:
    (log.warning if is_alarming else log.info)(event, **keys)
