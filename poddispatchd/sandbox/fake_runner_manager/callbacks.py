"""The manager's calls to the client: one attempt, its retries, and where they are really sent."""

import asyncio
import json
import socket
from collections.abc import Mapping

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from poddispatchd.sandbox.fake_runner_manager.clock import ManagerClock

READ_TIMEOUT = 15.0
"""Seconds of the manager after which an unanswered callback counts as delivered."""

REAL_READ_TIMEOUT = 2.0
"""Real seconds that a client gets in any case, however fast the manager's clock runs."""

RETRIES = 5
FIRST_RETRY = 60
FACTOR = 1.5


def retry_delays(retries: int = RETRIES, first: int = FIRST_RETRY, factor: float = FACTOR) -> list[int]:
    """The waits between the calls, in seconds of the manager: each 1.5 times the one before, truncated."""
    delays = [first]
    while len(delays) < retries:
        delays.append(int(delays[-1] * factor))
    return delays[:retries]


class ConnectTo(AbstractResolver):
    """Sends ``host:port`` elsewhere, like curl's ``--connect-to``.

    Args:
        mapping: ``"host:port"`` to ``"address:port"``, an IPv6 address in brackets; read at each
            connection, so it may change.
        resolve_others: ask DNS for hosts that are not in the mapping; without it they cannot be reached.
    """

    def __init__(self, mapping: Mapping[str, str], *, resolve_others: bool) -> None:
        self._mapping = mapping
        self._resolves_others = resolve_others

    def knows(self, host: str) -> bool:
        """Whether any port of this host is in the mapping."""
        return any(source.rpartition(":")[0] == host for source in self._mapping)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The address to connect to.

        Raises:
            OSError: the host is unknown.
        """
        target = self._mapping.get(f"{host}:{port}")
        if target is not None:
            address, _, target_port = target.rpartition(":")
            if address.startswith("["):
                address, family = address[1:-1], socket.AF_INET6
            return [
                ResolveResult(
                    hostname=host, host=address, port=int(target_port), family=family, proto=0, flags=0
                )
            ]
        if not self._resolves_others:
            raise OSError(f"No connect_to entry for {host}:{port}.")
        # Made here: it wants a running event loop, and this is made before there is one.
        return await ThreadedResolver().resolve(host, port, family)

    async def close(self) -> None:
        """Nothing is held open."""


def callback_body(
    task_id: str, status: str, *, error_message: str | None, script_output: str | None
) -> bytes:
    """The callback's body, compact and not ASCII-escaped."""
    value = {
        "task_id": task_id,
        "status": status,
        "error_message": error_message,
        "script_output": script_output,
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def deliver(
    session: aiohttp.ClientSession, clock: ManagerClock, *, url: str, token: str, body: bytes
) -> tuple[int | None, str | None]:
    """Call the client once.

    Returns:
        The client's status (None without an answer), and what went wrong in the manager's words. No
        answer within 15 s counts as delivered.
    """
    call = asyncio.ensure_future(_post(session, url, token, body))
    read_timeout = asyncio.ensure_future(clock.sleep(READ_TIMEOUT, floor=REAL_READ_TIMEOUT))
    try:
        await asyncio.wait({call, read_timeout}, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            return None, None
        return call.result()
    finally:
        for waiting in (call, read_timeout):
            waiting.cancel()
        await asyncio.gather(call, read_timeout, return_exceptions=True)


async def _post(
    session: aiohttp.ClientSession, url: str, token: str, body: bytes
) -> tuple[int | None, str | None]:
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "python-httpx/0.28.1",
        "Authorization": f"Bearer {token}",
    }
    prefix = f"Notify URL callback {url} failed:"
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            text = await answer.text(errors="replace")
            if 200 <= answer.status < 300:
                return answer.status, None
            return answer.status, f"{prefix} {answer.status} - {text}"
    except aiohttp.ClientConnectorError:
        return None, f"{prefix} server error - All connection attempts failed"
    except (aiohttp.ClientError, OSError):
        return None, f"{prefix} server error - Server disconnected without sending a response."
