"""Memory that was needed once goes back to the system."""

import asyncio
import socket
import subprocess
import sys
from asyncio import selector_events
from typing import ClassVar

import pytest

from poddispatchd.runtime.memory import give_back, give_back_regularly, keep_heap_small

_PROGRAM = """
import sys
from pathlib import Path
from poddispatchd.runtime.memory import give_back, keep_heap_small

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024

if sys.argv[1] == "kept small":
    assert keep_heap_small()
before = resident()
# As results leave a heap: many blocks of 100 KiB go, and a small one among them stays here and there.
blocks = [bytes(100_000) for _ in range(500)]
small = [bytes(2_000) for _ in range(500)]
mixed = [block for pair in zip(blocks, small) for block in pair]
kept = small[::50]
del blocks, small, mixed
if sys.argv[1] == "kept small":
    give_back()
print(resident() - before)
"""


def _left(how: str) -> float:
    """MiB that a process keeps of 50 that it does not need any more."""
    said = subprocess.run([sys.executable, "-c", _PROGRAM, how], check=True, capture_output=True, text=True)
    return float(said.stdout)


def test_blocks_that_are_free_go_back_although_others_among_them_are_not() -> None:
    assert _left("kept small") < 5


def test_this_c_library_can_be_told_so_and_a_second_time_as_well() -> None:
    assert keep_heap_small()
    assert keep_heap_small()
    assert give_back() in (True, False)


class _Seen(socket.socket):
    """Notes how much it is asked for."""

    asked: ClassVar[list[int]] = []

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.asked.append(size)
        return super().recv(size, flags)


async def test_a_read_from_a_socket_makes_room_for_less_than_what_is_mapped_by_itself() -> None:
    """Fails when asyncio knows the size by another name."""
    assert keep_heap_small()
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=_Seen(fileno=ours.detach()))
    theirs.send(b"x")
    assert await reader.readexactly(1) == b"x"
    writer.close()
    theirs.close()
    assert _Seen.asked
    assert max(_Seen.asked) < 128 * 1024


def test_a_python_whose_asyncio_knows_no_such_size_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon would not start under it."""
    monkeypatch.delattr(selector_events, "_SelectorTransport")
    assert keep_heap_small()


class _OverError(Exception):
    """Ends the test."""


async def test_it_is_given_back_every_minute() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise _OverError

    with pytest.raises(_OverError):
        await give_back_regularly(sleep)

    assert slept == [60.0, 60.0, 60.0]


_IMPORTS = """
import gc
from poddispatchd.runtime.memory import uncollected

looks = []
gc.callbacks.append(lambda phase, _: looks.append(phase))
with uncollected():
    import asyncio, email.message, json, unittest.mock
print(len(looks), gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def test_what_is_imported_for_good_is_never_searched_for_garbage() -> None:
    said = subprocess.run([sys.executable, "-c", _IMPORTS], check=True, capture_output=True, text=True)

    assert said.stdout.split() == ["0", "True", "True"]
