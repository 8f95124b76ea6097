"""What is computed beside the event loop is computed in it where the system gives no thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from poddispatchd.computing import computed


async def test_it_is_computed_in_a_thread_and_without_one_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A large answer of a manager, read in a system that gave no thread, failed the import of a result."""
    loop_thread = threading.get_ident()
    assert await computed(threading.get_ident) != loop_thread

    def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", no_thread)
    assert await computed(threading.get_ident) == loop_thread


async def test_what_it_raises_is_raised() -> None:
    def broken() -> None:
        raise RuntimeError("another one")

    with pytest.raises(RuntimeError, match="another one"):
        await computed(broken)
