"""Which runners are online at a runner manager: asked rarely, remembered."""

from dataclasses import dataclass, replace

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import RunnerManagerError, RunnerManagerUnavailableError
from poddispatchd.parts import Parts


@dataclass(frozen=True, slots=True)
class _Listing:
    """The runners that were online at a manager; None when it did not tell."""

    at: float
    online: frozenset[str] | None


class OnlineRunners:
    """Asks managers for their runners."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._online_runners: dict[ManagerId, _Listing] = {}

    async def online(self, manager: RunnerManager, *, not_before: float) -> frozenset[str] | None:
        """The runners online at a manager; None when it does not tell.

        Args:
            manager: whom to ask.
            not_before: a moment of the monotonic clock; what was told later is not asked again.
        """
        parts, listing = self._parts, self._online_runners.get(manager.id)
        if listing is None or listing.at <= not_before:
            listing = _Listing(parts.clock.monotonic(), None)
            try:
                listed = await parts.client.runners(manager)
            except RunnerManagerError as error:
                if isinstance(error, RunnerManagerUnavailableError):
                    parts.registry.learn(manager.id, error)
            else:
                listing = replace(listing, online=frozenset(item.id for item in listed if item.online))
            self._online_runners[manager.id] = listing
        return listing.online
