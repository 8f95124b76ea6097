"""The body of an answer piece by piece, as long as the manager sends it quickly enough."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from poddispatchd.domain.transfer_rate import TransferRate
from poddispatchd.errors import DownloadError


class BrokenOffError(DownloadError):
    """A try at a file failed in a way that another one may mend."""


class TooSlowError(BrokenOffError):
    """The manager sends so slowly that it would keep an import for ever."""


async def pieces_in_time(
    content: aiohttp.StreamReader, rate: TransferRate, *, name: str
) -> AsyncIterator[bytes]:
    """The pieces of a body as they come, as long as they come at this rate.

    Args:
        content: of an answer whose head has come.
        rate: judges them; only waiting counts.
        name: of the file, for people.

    Raises:
        TooSlowError: they come too slowly, or not at all.
        aiohttp.ClientError, TimeoutError, OSError: the connection is lost.
    """
    time = asyncio.get_running_loop().time
    came = 0
    while True:
        piece, is_end, waited = b"", False, 0.0
        if content.total_bytes > came:
            piece, _ = await content.readchunk()  # it has come already
        else:
            begun = time()
            patience = asyncio.timeout(rate.left if rate.minimum else None)
            try:
                async with patience:
                    piece, ends_chunk = await content.readchunk()
                    is_end = not piece and not ends_chunk
            except TimeoutError:
                if not patience.expired():
                    raise
            waited = time() - begun
        came += len(piece)
        if rate.is_too_low(len(piece), waited):
            raise TooSlowError(f"{name} comes too slowly: at least {rate} are expected.")
        if is_end:
            return
        if piece:
            yield piece
