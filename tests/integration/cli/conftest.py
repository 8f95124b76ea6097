import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from poddispatchd.cli.main import main
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager, Runner
from poddispatchd.sandbox.pod.seed import ManagerSpec
from poddispatchd.sandbox.pod.world import World
from tests.plugins.logs import logging_as_before
from tests.plugins.postgres import PodDatabase

TOKEN = "token-of-the-cli"


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    def json(self) -> object:
        """What it printed for programs."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def logging_of_the_tests() -> Iterator[None]:
    """A command sets logging up for its process, which is the tests' here."""
    with logging_as_before():
        yield


def invoke(*arguments: str) -> Said:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ending:
            status = ending.code if isinstance(ending.code, int) else 1
    return Said(status, out.getvalue(), err.getvalue())


def written_in(encoding: str, *arguments: str) -> bytes:
    """What a command writes to a file where the locale has another encoding."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with redirect_stdout(out):
        main(arguments)
    out.flush()
    return out.buffer.getvalue()


@dataclass(slots=True)
class Pod:
    """A Pod with two runner managers, of which the first one really is there, and a configuration for it."""

    database: PodDatabase
    world: World
    manager: FakeRunnerManager
    config: Path
    tree: dict[str, dict[str, object]]

    def set(self, section: str, **values: object) -> None:
        """Change the configuration."""
        self.tree.setdefault(section, {}).update(values)
        self.config.write_text(yaml.safe_dump(self.tree), encoding="utf-8")
        self.config.chmod(0o600)

    async def run(self, *arguments: str) -> Said:
        """Run a command on this configuration."""
        return await asyncio.to_thread(invoke, "-c", str(self.config), *arguments)

    async def fetch(self, query: str, *values: object) -> list[Mapping[str, object]]:
        """Rows of the database."""
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, *values)]

    async def execute(self, statement: str, *values: object) -> None:
        """Change the database."""
        async with self.database.connection() as connection:
            await connection.execute(statement, *values)


@pytest.fixture
async def manager() -> AsyncIterator[FakeRunnerManager]:
    """A runner manager whose tasks run until they are ended."""
    async with FakeRunnerManager(token=TOKEN, runners=[Runner()], task_seconds=None) as manager:
        yield manager


@pytest.fixture
def manager_specs(manager: FakeRunnerManager) -> tuple[ManagerSpec, ...]:
    return (
        ManagerSpec("first", manager.url, SecretStr(TOKEN)),
        ManagerSpec("second", "http://127.0.0.1:9", SecretStr(TOKEN), priority=2),
    )


@pytest.fixture
def pod(pod_database: PodDatabase, world: World, manager: FakeRunnerManager, tmp_path: Path) -> Pod:
    """The world of ``tests.plugins.world``; no daemon runs on it."""
    pod = Pod(pod_database, world, manager, tmp_path / "config.yaml", {})
    pod.set("database", dsn=pod_database.dsn.get_secret_value())
    pod.set("pod", media_root=str(world.media_root), use_podfile=True, https=False)
    pod.set("imports", keep_free="1MiB")
    pod.set("ops", listen="127.0.0.1:9")
    return pod
