"""The servers of an address, in every way to write several."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from poddispatchd.database.hosts import Connect, Host, Hosts, several_hosts

_TWO = (Host("one", 5433), Host("other", 5434))


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://pod:p,w@one:5433,other:5434/pod", _TWO),
        ("postgresql:///pod?host=one,other&port=5433,5434", _TWO),
        ("postgresql:///pod?host=one:5433,other:5434", _TWO),
        ("postgresql:///pod?host=one,other&port=5433", (Host("one", 5433), Host("other", 5433))),
        ("postgresql://one,other/pod", (Host("one", None), Host("other", None))),
        ("postgresql://[::1]:5433,[fd00::2]/pod", (Host("::1", 5433), Host("fd00::2", None))),
        ("postgresql:///pod?host=/run/one,/run/other", (Host("/run/one", None), Host("/run/other", None))),
        ("postgresql://one/pod", ()),
        ("postgresql://one:5433/pod?host=a,b", ()),
        ("postgresql:///pod", ()),
        ("postgresql://one,/pod", ()),
        ("postgresql://one:x,other:y/pod", ()),
    ],
)
def test_the_servers_of_an_address_are_found_however_they_are_written(
    dsn: str, hosts: tuple[Host, ...]
) -> None:
    assert several_hosts(dsn) == hosts


def test_the_servers_of_a_service_and_of_the_environment_are_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them shared one time limit: a first one that was switched off left none for the second."""
    file = tmp_path / "services"
    file.write_text("[two]\nhost=one,other\nport=5433,5434\n[none]\nuser=x\npassword=50%off\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    assert several_hosts("postgresql:///pod?service=two") == _TWO
    assert several_hosts("postgresql://here/pod?service=two") == ()
    assert several_hosts("postgresql:///pod?service=none") == ()
    monkeypatch.setenv("PGHOST", "one,other")
    monkeypatch.setenv("PGPORT", "5433,5434")
    assert several_hosts("postgresql:///pod?service=none") == several_hosts("postgresql:///pod") == _TWO


def test_a_server_is_told_as_in_an_address() -> None:
    assert [str(host) for host in (Host("::1", 5432), Host("one", None))] == ["[::1]:5432", "one"]


class _Server:
    """A primary; how long each answer of one is waited for is noted."""

    def __init__(self, waits: list[float]) -> None:
        self._waits = waits

    async def execute(self, _question: str, *, timeout: float) -> str:  # noqa: ASYNC109 - the driver's name
        self._waits.append(timeout)
        return "SELECT 0"

    async def copy_from_query(
        self,
        _query: str,
        *,
        output: Callable[[bytes], Awaitable[None]],
        timeout: float,  # noqa: ASYNC109 - as above
    ) -> None:
        self._waits.append(timeout)
        await output(b"7714194693696739641\t1\n")

    def terminate(self) -> None:
        """Nothing is open."""


async def test_a_second_server_is_waited_for_as_shortly_when_it_lets_in_and_answers_nothing() -> None:
    """As a pooler does whose server is away: each look took five seconds, though the first one was there."""
    waits: list[float] = []

    async def connect(**_: object) -> _Server:
        return _Server(waits)

    await Hosts("postgresql://pod@one,other/pod").connect(cast("Connect", connect), within=10)

    assert waits == [5.0, 5.0, 1.0, 1.0]
