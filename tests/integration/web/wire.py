"""Talking to a listener byte by byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from poddispatchd.config.units import Address


async def connect(
    address: Address, source: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection, from this address of ours."""
    local = None if source is None else (source, 0)
    return await asyncio.open_connection(address.host, address.port, local_addr=local)


async def said(address: Address, data: bytes, source: str | None = None) -> bytes:
    """All that is answered to these bytes, until the other side closes."""
    reader, writer = await connect(address, source)
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


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
