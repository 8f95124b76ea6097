"""Poolers between us and PostgreSQL, PgBouncer above all: whether there is one, and what it keeps.

No pooler says that it is one, so it is found out by what only PostgreSQL itself does:

- A server names its process when a connection begins, for cancellation. A pooler, whose clients change
  servers, puts a number of its own there. That both ends see other ports or addresses would prove nothing:
  NAT and plain TCP proxies do that too.
- In session mode a client keeps its server for as long as it is connected, and hears notifications while it
  rests. In transaction mode it has no server while it rests, and hears none.
"""

import asyncio
import secrets
from collections.abc import Mapping
from enum import StrEnum

import asyncpg

from poddispatchd.database.connections import GuardedConnection
from poddispatchd.database.session_parameters import DURABLE, OF_NEWER_SERVERS

_ECHO_TIMEOUT = 2.0


class Pooling(StrEnum):
    """What our connections lead to."""

    NONE = "none"
    """PostgreSQL itself: what is set, locked or listened to stays so until the connection ends."""
    SESSION = "session"
    """A pooler that keeps a server for each connection; when that ends, the server need not hear of it."""
    TRANSACTION = "transaction"
    """A pooler that gives each transaction another server: nothing outlasts it. Also, when in doubt."""

    @property
    def meaning(self) -> str:
        """What that is, and what follows from it."""
        return _MEANINGS[self]


_MEANINGS = {
    Pooling.NONE: "Connections lead to PostgreSQL itself.",
    Pooling.SESSION: (
        "A pooler in session mode: changes of the queue are announced, and the scheduler holds a lease."
    ),
    Pooling.TRANSACTION: (
        "A pooler in transaction mode: nothing announces changes of the queue, which is polled "
        "(dispatch.poll_interval), and the scheduler holds a lease."
    ),
}


async def prepare(
    connection: "asyncpg.Connection[asyncpg.Record]", parameters: Mapping[str, str], *, within: float
) -> bool:
    """Set server parameters for this connection if its server is its own; whether it is.

    Behind a pooler nothing is set: it would be set for whoever comes next.

    Args:
        connection: a new one.
        parameters: server parameters and their values.
        within: seconds.
    """
    setting = {name: f"set_config('{name}', '{value}', false)" for name, value in parameters.items()}
    for name, value in OF_NEWER_SERVERS.items():
        known = f"current_setting('{name}', true) <> ''"
        setting[name] = f"CASE WHEN {known} THEN set_config('{name}', '{value}', false) END"
    settings = ", ".join((*setting.values(), DURABLE.format(is_local="false")))
    # Without arguments it is one message, and nothing is prepared: poolers know that of old.
    status = await connection.execute(
        f"SELECT {settings} WHERE pg_backend_pid() = {connection.get_server_pid()}",
        timeout=within,
    )
    return status == "SELECT 1"


async def keeps_sessions(
    connection: GuardedConnection,
    other: GuardedConnection,
) -> bool:
    """Whether a pooler keeps a server for ``connection``: it hears a notification while it rests.

    Args:
        connection: a connection that nobody else uses.
        other: another one through the same pooler.
    """
    servers = [await each.fetchval("SELECT pg_backend_pid()") for each in (connection, other, connection)]
    if servers[0] != servers[2] or servers[1] == servers[0]:
        # Listening would be left behind on somebody's server; mostly this tells it before.
        return False
    channel, heard = f"poddispatchd_probe_{secrets.token_hex(8)}", asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    await connection.add_listener(channel, hear)
    # By another one: who is heard must be at rest, without a server of its own in transaction mode.
    await other.execute("SELECT pg_notify($1, '')", channel)
    try:
        async with asyncio.timeout(_ECHO_TIMEOUT):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        await connection.remove_listener(channel, hear)
    return True
