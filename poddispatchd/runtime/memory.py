"""What a process does so that memory it needed once goes back to the system.

Callbacks, results and reconnections come as blocks of all sizes. By its own rules glibc keeps them on heaps
that only shrink from their ends, one for each thread, and takes ever larger blocks from there: over hours a
daemon grows, though it holds no more than before.
"""

import gc
from asyncio import selector_events
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from poddispatchd.computing import computed

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""Parameters of mallopt(3), as malloc.h has them."""

_LARGE = 128 * 1024
"""Bytes: glibc's own threshold before it begins to move. Larger blocks are mapped, and unmapped when free."""

_ARENAS = 2

_READ = 64 * 1024
"""Bytes that asyncio makes room for whenever it reads from a socket. Its own 256 KiB would be mapped and
unmapped each time, for an answer of some hundred bytes: ten times the cost of reading it."""

_EVERY = 60.0
"""Seconds between two times that free pages are given back."""


def keep_heap_small() -> bool:
    """Have large blocks mapped each by itself, and the others on two heaps at most.

    Returns:
        Whether the C library agreed; one that does not know it is used all the same.
    """
    # asyncio has no other place for it; a test fails when this one is gone, and a daemon goes without.
    with suppress(AttributeError):
        selector_events._SelectorTransport.max_size = _READ  # type: ignore[attr-defined] # noqa: SLF001 - see above
    try:
        import ctypes  # noqa: PLC0415 - some systems have none, or forbid it

        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_ARENA_MAX, _ARENAS))
    except (ImportError, OSError, MemoryError, AttributeError):
        return False


@contextmanager
def uncollected() -> Iterator[None]:
    """Import what stays for good without looking for garbage in it, now or later.

    Modules come as a hundred thousand objects: each look at them costs as much as importing many of them, and
    holds up the event loop.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_back() -> bool:
    """Give free pages of the heaps back to the system; whether there were any."""
    try:
        import ctypes  # noqa: PLC0415 - as above

        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (ImportError, OSError, MemoryError, AttributeError):
        return False


async def give_back_regularly(sleep: Callable[[float], Awaitable[None]]) -> None:
    """Give back what is free, for ever: beside the event loop, for it takes milliseconds."""
    while True:
        await sleep(_EVERY)
        # malloc_trim lets go of the interpreter lock, as every call through ctypes.CDLL does.
        await computed(give_back)
