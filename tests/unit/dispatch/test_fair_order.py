from typing import Any

from poddispatchd.clock import Clock
from poddispatchd.config.model import DispatchSettings
from poddispatchd.errors import RowLockedError
from poddispatchd.runtime.incidents import Incidents
from poddispatchd.tasks.fair_order import FairShares


class _HeldDatabase:
    def connection(self) -> Any:  # noqa: ANN401 - it is never had
        raise RowLockedError


async def test_fair_share_that_is_switched_off_since_its_order_fails_fails_no_more() -> None:
    """The page and ``status`` went on to tell of it for twenty minutes."""
    incidents = Incidents(Clock())
    settings = [DispatchSettings(fair_share="owner")]
    shares = FairShares(
        _HeldDatabase(),  # type: ignore[arg-type]
        lambda: settings[-1],
        Clock(),
        incidents,
        is_scheduling=lambda: True,
    )
    await shares.order()
    assert incidents.active
    settings.append(DispatchSettings())
    await shares.order()
    assert not incidents.active
