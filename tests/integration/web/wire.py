"""Talking to a listener byte by byte."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from poddispatchd.config.units import Address


async def connect(
    address: Address, source: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, from this address of ours."""
    local = None if source is None else (source, 0)
    return await asyncio.open_connection(address.host, address.port, local_addr=local)


async def said(address: Address, data: bytes, source: str | None = None) -> bytes:
    """All that is answered to these bytes, until the other side closes."""
    return await heard(address, data, source=source)


async def heard(address: Address, *pieces: bytes, source: str | None = None) -> bytes:
    """All that is answered to these pieces, each of which is sent alone, until the other side closes.

    It may close while we still send: the kernel keeps what it answered before, but asyncio's streams throw
    that away when a piece cannot be sent.
    """
    loop, answer = asyncio.get_running_loop(), b""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            connection.bind((source, 0))
        await loop.sock_connect(connection, (address.host, address.port))
        async with asyncio.timeout(20):
            with suppress(ConnectionResetError, BrokenPipeError):
                for piece in pieces:
                    await loop.sock_sendall(connection, piece)
                    await asyncio.sleep(0.01)
            with suppress(ConnectionResetError):
                while received := await loop.sock_recv(connection, 65536):
                    answer += received
    return answer


@asynccontextmanager
async def many(address: Address, number: int, data: bytes = b"") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections that say this much and no more."""
    opened = [await connect(address) for _ in range(number)]
    for _, writer in opened:
        writer.write(data)
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def ended(readers: list[asyncio.StreamReader], within: float = 15) -> int:
    """How many of these connections the other side ends in so many seconds."""

    async def one(reader: asyncio.StreamReader) -> bool:
        try:
            await reader.read()
        except ConnectionResetError:
            return True
        return True

    tasks = [asyncio.create_task(one(reader)) for reader in readers]
    done, waiting = await asyncio.wait(tasks, timeout=within)
    for task in waiting:
        task.cancel()
    return len(done)
