"""Runner managers that nobody can connect to: a task finds out about one, and not about each in turn."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.runner import transport
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import Accepted
from poddispatchd.sandbox.pod.seed import ManagerSpec, add_manager
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.plugins.postgres import PodDatabase

_DEAD = 4


@contextmanager
def _black_hole() -> Iterator[int]:
    """A port whose queue is full: the kernel drops whoever wants to connect, as a firewall does."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = int(listener.getsockname()[1])
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Who was asked to take a task, in turn; to connect takes a moment at most."""
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT", 0.5)
    transport._limits.cache_clear()
    names: list[str] = []
    execute = RunnerClient.execute

    async def noted(self: RunnerClient, manager: RunnerManager, body: bytes) -> Accepted:
        names.append(manager.name)
        return await execute(self, manager, body)

    monkeypatch.setattr(RunnerClient, "execute", noted)
    yield names
    transport._limits.cache_clear()


@asynccontextmanager
async def _one_alive(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[tuple[Scene, Daemon]]:
    """One that is alive, and was given the last task: it is the turn of all others."""
    with ExitStack() as stack:
        async with scene(pod_database, media_root, Spec("alive", runners=9)) as pod:
            daemon = await pod.daemon()
            await pod.encodings(1)
            await daemon.settle()
            for number in range(_DEAD):
                url = f"http://127.0.0.1:{stack.enter_context(_black_hole())}"
                spec = ManagerSpec(f"dead {number}", url, SecretStr("token"), 1)
                await add_manager(pod.connection, spec, pod.world.site)
            daemon.parts.wakeups.administration.ring()
            yield pod, daemon


@pytest.mark.parametrize("seconds_since_it_answered", [0.0, 60.0])
async def test_a_task_that_met_one_goes_to_the_one_that_answers(
    pod_database: PodDatabase, media_root: Path, asked: list[str], seconds_since_it_answered: float
) -> None:
    async with _one_alive(pod_database, media_root) as (pod, daemon):
        asked.clear()
        daemon.clock.advance(seconds_since_it_answered)
        [pk] = await pod.encodings(1)
        await daemon.settle()
        assert asked == ["dead 0", "alive"]
        assert await pod.holders([pk]) == ["alive"]
        # The next ones do not meet the others either.
        await pod.encodings(3)
        await daemon.settle()
        assert asked[2:] == ["alive", "alive", "alive"]


async def test_managers_that_stay_silent_are_found_to_be_down_without_a_task(
    pod_database: PodDatabase, media_root: Path, asked: list[str]
) -> None:
    async with _one_alive(pod_database, media_root) as (pod, daemon):
        asked.clear()
        await pod.encodings(1)
        await daemon.settle()
        registry = daemon.parts.registry
        async with asyncio.timeout(20):
            while any(known.asked_since is not None for known in registry.states.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        down = [manager.name for manager in registry.all() if registry.is_down(manager.id)]
        assert down == [f"dead {number}" for number in range(_DEAD)]
        assert asked == ["dead 0", "alive"]
