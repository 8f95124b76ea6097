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


class Side:
    """What a daemon has of the database: a pool and a session, through a proxy of its own."""

    def __init__(self, proxy: Proxy, database: Database, session: DatabaseSession, wakeups: Wakeups) -> None:
        self.proxy, self.database, self.session, self.wakeups = proxy, database, session, wakeups

    async def until(
        self, *, up: bool | None = None, leads: bool | None = None, within: float = 20.0
    ) -> float:
        """Seconds until the session is as wanted."""
        begun = time.monotonic()
        async with asyncio.timeout(within):
            while (up is not None and self.session.is_up != up) or (  # noqa: ASYNC110 - it tells nobody
                leads is not None and (self.session.term is not None) != leads
            ):
                await asyncio.sleep(0.01)
        return time.monotonic() - begun


@asynccontextmanager
async def side(dsn: SecretStr, name: str) -> AsyncIterator[Side]:
    """A daemon's pool and session at this address, until the end of a block."""
    async with Proxy(int(urlsplit(dsn.get_secret_value()).port or 0)) as proxy:
        database, wakeups = Database(through(dsn, proxy.port), pool_size=3), Wakeups()
        await database.open()
        await migration.upgrade(database)
        session = DatabaseSession(database, instance=name, wakeups=wakeups, clock=Clock(), metrics=Metrics())
        running = asyncio.create_task(session.run())
        try:
            made = Side(proxy, database, session, wakeups)
            await made.until(up=True)
            yield made
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await database.close()
