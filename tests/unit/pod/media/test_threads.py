"""A file system that hangs holds up nothing but the work on it, and leaks neither threads nor turns."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest

from poddispatchd.errors import MediaSlowError
from poddispatchd.pod.media import thread_pool
from poddispatchd.pod.media.threads import FileCalls, Look, MediaThreads


class Hanging:
    """Calls that hang until they are let go."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self.begun = 0

    def __call__(self) -> str:
        self.begun += 1
        assert self._go.wait(60)
        return "done"

    def let_go(self) -> None:
        self._go.set()


@pytest.fixture
async def hanging() -> AsyncIterator[Hanging]:
    made = Hanging()
    yield made
    made.let_go()


def media_threads() -> int:
    return sum(thread.name.startswith("media") for thread in threading.enumerate())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the state of a thread
            await asyncio.sleep(0.001)


async def test_at_most_one_look_of_each_kind_hangs_and_the_others_are_told_at_once(hanging: Hanging) -> None:
    threads, before = MediaThreads(), media_threads()
    for _ in range(20):
        with pytest.raises(MediaSlowError, match="MEDIA_ROOT"):
            await threads.look(Look.SPACE, hanging, limit=0.01)
    assert media_threads() - before <= 1
    await until(lambda: hanging.begun == 1)
    assert await threads.look(Look.TREE, lambda: "another kind", limit=10) == "another kind"


async def test_names_of_hosts_are_found_while_every_thread_of_the_media_tree_hangs(hanging: Hanging) -> None:
    """They are looked up in the event loop's own pool, which nothing here uses."""
    threads = MediaThreads()
    for kind in Look:
        with pytest.raises(MediaSlowError):
            await threads.look(kind, hanging, limit=0.01)
    for _ in range(50):
        with pytest.raises(MediaSlowError):
            await threads.run(FileCalls(), hanging, limit=0.001)
    async with asyncio.timeout(10):
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        assert await asyncio.to_thread(lambda: "free") == "free"


async def test_a_look_that_ends_after_all_gives_its_turn_back(hanging: Hanging) -> None:
    threads = MediaThreads()
    with pytest.raises(MediaSlowError):
        await threads.look(Look.SOURCE, hanging, limit=0.01)
    hanging.let_go()

    async def again() -> bool:
        try:
            return await threads.look(Look.SOURCE, lambda: True, limit=10)
        except MediaSlowError:
            return False

    async with asyncio.timeout(30):
        while not await again():  # noqa: ASYNC110 - the state of a thread
            await asyncio.sleep(0.001)


async def test_a_look_that_hangs_at_one_place_holds_up_no_other_place(hanging: Hanging) -> None:
    threads = MediaThreads()
    with pytest.raises(MediaSlowError):
        await threads.look(Look.SOURCE, hanging, limit=0.01, place="recordings")
    assert await threads.look(Look.SOURCE, lambda: "there", limit=10, place="videos") == "there"
    for number in range(20):
        with pytest.raises(MediaSlowError):
            await threads.look(Look.SOURCE, hanging, limit=0.01, place=f"place {number}")
    await until(lambda: hanging.begun == 4)
    assert await threads.look(Look.TREE, lambda: "there", limit=10) == "there"


async def test_a_look_that_began_late_hangs_as_soon_as_nobody_waits_for_it_any_more(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine it did not count yet when the next one began: there was a thread too many."""
    acquire = asyncio.Lock.acquire

    async def late(lock: asyncio.Lock) -> bool:
        time.sleep(0.002)  # noqa: ASYNC251 - the whole process has to wait
        return await acquire(lock)

    monkeypatch.setattr(asyncio.Lock, "acquire", late)
    threads = MediaThreads()
    for number in range(20):
        with pytest.raises(MediaSlowError):
            await threads.look(Look.SOURCE, hanging, limit=0.01, place=f"place {number}")
    await until(lambda: hanging.begun >= 4)
    assert await threads.look(Look.TREE, lambda: hanging.begun, limit=10) == 4


async def test_a_look_that_hangs_for_ever_is_left_behind_once_the_file_system_answers_others(
    hanging: Hanging,
) -> None:
    """A thread may wait for a mount that has been replaced, and never come back."""
    threads = MediaThreads()
    for _ in range(3):
        with pytest.raises(MediaSlowError):
            await threads.look(Look.SOURCE, hanging, limit=0.05)
    # A busy machine may not have begun it yet.
    await until(lambda: hanging.begun > 0)
    assert hanging.begun == 1
    assert await threads.look(Look.SPACE, lambda: 1, limit=10) == 1
    assert await threads.look(Look.SOURCE, lambda: "there", limit=10) == "there"

    # Not without end: each of them keeps a thread.
    for _ in range(20):
        with pytest.raises(MediaSlowError):
            await threads.look(Look.SOURCE, hanging, limit=0.05)
        assert await threads.look(Look.SPACE, lambda: 1, limit=10) == 1
    assert hanging.begun == 5
    hanging.let_go()

    async def again() -> bool:
        try:
            return await threads.look(Look.SOURCE, lambda: True, limit=10)
        except MediaSlowError:
            return False

    async with asyncio.timeout(30):
        while not await again():  # noqa: ASYNC110 - the state of a thread
            await asyncio.sleep(0.001)


async def test_a_cancelled_look_leaks_no_turn(hanging: Hanging) -> None:
    threads = MediaThreads()
    for _ in range(100):
        look = asyncio.create_task(threads.look(Look.SOURCE, hanging, limit=60))
        await asyncio.sleep(0)
        look.cancel()
        await asyncio.gather(look, return_exceptions=True)
    hanging.let_go()
    assert await threads.look(Look.SOURCE, lambda: "answered", limit=60) == "answered"
    assert hanging.begun <= 1


async def test_work_that_hangs_keeps_its_own_lane_and_no_other(hanging: Hanging) -> None:
    threads, one, other = MediaThreads(), FileCalls(), FileCalls()
    with pytest.raises(MediaSlowError, match=r"within 0\.01 seconds"):
        await threads.run(one, hanging, limit=0.01)
    with pytest.raises(MediaSlowError, match="still"):
        await threads.run(one, lambda: None, limit=10)
    assert await threads.run(other, lambda: "done", limit=10) == "done"
    ended: list[str] = []
    one.when_idle(lambda: ended.append("idle"))
    assert (one.hangs, ended) == (True, [])
    hanging.let_go()
    await until(lambda: ended == ["idle"])
    assert not one.hangs


async def test_what_a_function_raises_is_raised_to_whoever_waits() -> None:
    def refuse() -> None:
        raise PermissionError(13, "Permission denied")

    threads = MediaThreads()
    with pytest.raises(PermissionError):
        await threads.look(Look.TREE, refuse, limit=10)
    with pytest.raises(PermissionError):
        await threads.run(FileCalls(), refuse, limit=10)


async def test_threads_are_used_again(hanging: Hanging) -> None:
    threads, before = MediaThreads(), media_threads()
    for _ in range(200):
        await threads.run(FileCalls(), lambda: None, limit=10)
    assert media_threads() - before <= 2
    hanging.let_go()


class NoThread:
    """The system gives none."""

    def __init__(self, **_: object) -> None:
        pass

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


async def test_a_system_that_gives_no_thread_is_told_and_whatever_was_refused_is_never_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each refusal cost a thread for good: after some nothing under MEDIA_ROOT was answered any more.

    What was refused was done later, behind the back of whoever had given up: Pod's lock was kept for ever.
    """
    threads, called = MediaThreads(), []
    with monkeypatch.context() as system:
        system.setattr(thread_pool, "Thread", NoThread)
        for _ in range(100):
            with pytest.raises(MediaSlowError, match="no thread"):
                await threads.run(FileCalls(), lambda: called.append("refused"), limit=10)
            with pytest.raises(MediaSlowError, match="no thread"):
                await threads.look(Look.SOURCE, lambda: called.append("refused"), limit=10)
        threads.later(lambda: called.append("later"))
    assert await threads.run(FileCalls(), lambda: "done", limit=10) == "done"
    assert await threads.look(Look.SOURCE, lambda: "seen", limit=10) == "seen"
    assert called == ["later"]


async def test_where_the_system_gives_no_further_thread_those_there_do_the_work(
    monkeypatch: pytest.MonkeyPatch, hanging: Hanging
) -> None:
    threads = MediaThreads()
    first = asyncio.create_task(threads.run(FileCalls(), hanging, limit=60))
    await until(lambda: hanging.begun == 1)
    monkeypatch.setattr(thread_pool, "Thread", NoThread)
    second = asyncio.create_task(threads.run(FileCalls(), lambda: "second", limit=60))
    await asyncio.sleep(0)
    hanging.let_go()
    assert (await first, await second) == ("done", "second")
