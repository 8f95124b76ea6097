"""Lookups of names in an event loop of ours; the system's own are replaced."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from threading import Event
from typing import Any

import pytest

from poddispatchd.runner import name_lookup
from poddispatchd.runner.name_lookup import NamesLoop, looks_up

_FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class Resolver:
    """Answers at once, but for names that begin with ``hanging``; these wait for ``answers``."""

    def __init__(self) -> None:
        self.answers = Event()
        self.asked: list[str] = []

    def __call__(self, host: str, *_: object) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if host.startswith("hanging"):
            self.answers.wait()
        if host == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return list(_FOUND)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.answers.set()


def in_loop(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Not in the loop of the tests, which is another one."""
    with asyncio.Runner(loop_factory=NamesLoop) as runner:
        runner.run(work())


async def _ask(host: str) -> object:
    return await asyncio.get_running_loop().getaddrinfo(host, 80)


def test_names_that_hang_keep_no_other_waiting_and_not_the_end(resolver: Resolver) -> None:
    async def work() -> None:
        hanging = [asyncio.create_task(_ask(f"hanging{number}")) for number in range(50)]
        await asyncio.sleep(0)
        assert await _ask("quick") == _FOUND
        assert looks_up("hanging7")
        assert not looks_up("quick")
        assert not any(task.done() for task in hanging)

    in_loop(work)
    assert len(resolver.asked) == 51


def test_a_name_that_was_answered_never_waits_for_any_number_of_names_that_hang(resolver: Resolver) -> None:
    async def work() -> None:
        assert await _ask("quick") == _FOUND
        hanging = [asyncio.create_task(_ask(f"hanging{number}")) for number in range(300)]
        await asyncio.sleep(0)
        assert await _ask("quick") == _FOUND
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()

    in_loop(work)
    assert resolver.asked.count("quick") == 2
    assert len(resolver.asked) < 128


def test_a_new_name_does_not_wait_for_those_that_hung_before(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_lookup, "_HANGS_AFTER", 0.0)

    async def work() -> None:
        resolver.answers.set()
        await asyncio.gather(*(_ask(f"hanging{number}") for number in range(90)))
        resolver.answers.clear()
        monkeypatch.setattr(name_lookup, "_HANGS_AFTER", 60.0)
        hanging = [asyncio.create_task(_ask(f"hanging{number}")) for number in range(90)]
        await asyncio.sleep(0)
        found = await asyncio.gather(*(_ask(f"new{number}") for number in range(90)))
        assert found == [_FOUND] * 90
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()

    in_loop(work)


def test_a_new_name_does_not_wait_for_half_a_minute_behind_new_ones_that_hang(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner manager that Pod had just got waited for half a minute behind a hundred new ones."""
    monkeypatch.setattr(name_lookup, "_HANGS_AFTER", 0.0)

    async def work() -> None:
        hanging = [asyncio.create_task(_ask(f"hanging{number}")) for number in range(150)]
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            assert await _ask("new") == _FOUND
        assert not any(task.done() for task in hanging)
        resolver.answers.set()
        await asyncio.gather(*hanging)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, NamesLoop)
        assert (loop._late, loop._threads.total()) == (0, 0)

    in_loop(work)


def test_what_is_remembered_of_names_is_bounded(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_lookup, "_MOST_KNOWN", 3)

    async def work() -> None:
        for number in range(9):
            await _ask(f"name{number}")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, NamesLoop)
        assert list(loop._known) == ["name6", "name7", "name8"]

    in_loop(work)
    assert len(resolver.asked) == 9


def test_who_asks_for_the_same_waits_for_the_same_answer(resolver: Resolver) -> None:
    async def work() -> None:
        first, second = asyncio.create_task(_ask("hanging")), asyncio.create_task(_ask("hanging"))
        await asyncio.sleep(0)
        first.cancel()
        resolver.answers.set()
        assert await second == _FOUND
        assert await _ask("hanging") == _FOUND

    in_loop(work)
    assert resolver.asked == ["hanging", "hanging"]


def test_more_names_than_threads_are_looked_up_one_after_the_other(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_lookup, "_MOST", dict.fromkeys(name_lookup._Kind, 2))
    resolver.answers.set()

    async def work() -> None:
        found = await asyncio.gather(*(_ask(f"hanging{number}") for number in range(9)))
        assert found == [_FOUND] * 9

    in_loop(work)


class NoThread:
    """The system gives none."""

    def __init__(self, **_: object) -> None:
        pass

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


def test_what_is_not_known_or_cannot_be_asked_is_an_error_of_whoever_asks(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        with pytest.raises(socket.gaierror, match="unknown"):
            await _ask("unknown")
        monkeypatch.setattr(name_lookup, "Thread", NoThread)
        with pytest.raises(socket.gaierror, match="no thread"):
            await _ask("quick")

    in_loop(work)
    assert resolver.asked == ["unknown"]


def test_where_the_system_gives_no_thread_many_that_wait_are_told_and_none_waits_for_ever(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ended within the beginning of the next, until Python refused; the others waited for ever."""
    monkeypatch.setattr(name_lookup, "_MOST", dict.fromkeys(name_lookup._Kind, 1))

    async def work() -> None:
        first = asyncio.create_task(_ask("hanging"))
        await asyncio.sleep(0)
        asked = [asyncio.create_task(_ask(f"name{number}")) for number in range(500)]
        await asyncio.sleep(0)
        monkeypatch.setattr(name_lookup, "Thread", NoThread)
        resolver.answers.set()
        async with asyncio.timeout(30):
            assert await first == _FOUND
            told = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(error) for error in told} == {socket.gaierror}

    in_loop(work)
