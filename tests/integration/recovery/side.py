"""What a daemon has of the database, at the end of a link that can be broken."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from chaos.proxy import Proxy, through
from poddispatchd.clock import Clock
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.observability.metrics import Metrics
from poddispatchd.runtime.database_session import DatabaseSession
from poddispatchd.runtime.wakeups import Wakeups


class Connected:
    """What a daemon has of the database: a pool and a session."""

    def __init__(self, database: Database, session: DatabaseSession, wakeups: Wakeups) -> None:
        self.database, self.session, self.wakeups = database, session, wakeups

    async def until(
        self,
        *,
        up: bool | None = None,
        leads: bool | None = None,
        problem: str = "",
        within: float = 20.0,
    ) -> float:
        """Seconds until the session is as wanted, and its problem holds these words."""
        begun = time.monotonic()
        async with asyncio.timeout(within):
            while (  # noqa: ASYNC110 - it tells nobody
                (up is not None and self.session.is_up != up)
                or (leads is not None and (self.session.term is not None) != leads)
                or problem not in (self.session.problem or "")
            ):
                await asyncio.sleep(0.01)
        return time.monotonic() - begun


class Side(Connected):
    """The same through a proxy of its own."""

    def __init__(self, proxy: Proxy, connected: Connected) -> None:
        super().__init__(connected.database, connected.session, connected.wakeups)
        self.proxy = proxy


@asynccontextmanager
async def side(dsn: SecretStr, name: str) -> AsyncIterator[Side]:
    """A daemon's pool and session at this address, at the end of a link, until the end of a block."""
    async with (
        Proxy(int(urlsplit(dsn.get_secret_value()).port or 0)) as proxy,
        session_at(through(dsn, proxy.port), name) as connected,
    ):
        yield Side(proxy, connected)


@asynccontextmanager
async def session_at(dsn: SecretStr, name: str) -> AsyncIterator[Connected]:
    """A daemon's pool and session at this very address, until the end of a block."""
    database, wakeups = Database(dsn, pool_size=3), Wakeups()
    await database.open()
    await migration.upgrade(database)
    session = DatabaseSession(database, instance=name, wakeups=wakeups, clock=Clock(), metrics=Metrics())
    running = asyncio.create_task(session.run())
    try:
        made = Connected(database, session, wakeups)
        await made.until(up=True)
        yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()
