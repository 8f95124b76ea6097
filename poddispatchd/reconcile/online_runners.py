"""Which runners are online at a runner manager: asked rarely, remembered."""

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.clock import Clock
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId
from poddispatchd.errors import RunnerManagerError, RunnerManagerUnavailableError
from poddispatchd.managers.record_errors import narrowed
from poddispatchd.managers.registry import ManagerRegistry
from poddispatchd.runner.client import RunnerReader


class _Listing(Struct, frozen=True):
    """The runners that were online at a manager; None when it did not tell."""

    at: float
    online: frozenset[str] | None


class OnlineRunners:
    """Asks managers for their runners; one that does not answer is left alone by everybody."""

    def __init__(self, client: RunnerReader, registry: ManagerRegistry, clock: Clock) -> None:
        self._client = client
        self._registry = registry
        self._clock = clock
        self._online_runners: dict[ManagerId, _Listing] = {}

    async def online(self, manager: RunnerManager, *, not_before: float) -> frozenset[str] | None:
        """The runners online at a manager; None when it does not tell.

        Args:
            manager: whom to ask.
            not_before: a moment of the monotonic clock; what was told later is not asked again.
        """
        listing = self._online_runners.get(manager.id)
        if listing is None or listing.at <= not_before:
            # Dated before the question; one that cannot tell is remembered, too: it is not asked for each
            # task.
            listing = _Listing(self._clock.monotonic(), None)
            try:
                listed = await self._client.runners(manager)
            except RunnerManagerError as error:
                if isinstance(error, RunnerManagerUnavailableError):
                    self._registry.learn(manager, await narrowed(self._client, manager, error))
            else:
                listing = replace(listing, online=frozenset(item.id for item in listed if item.online))
            # Managers that are gone from Pod are forgotten.
            self._online_runners = {
                pk: known for pk, known in self._online_runners.items() if self._registry.get(pk) is not None
            }
            self._online_runners[manager.id] = listing
        return listing.online
