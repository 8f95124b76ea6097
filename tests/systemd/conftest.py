import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import yaml

from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World
from poddispatchd.sandbox.ports import free_ports
from poddispatchd.sandbox.postgresql import PostgresServer
from tests.systemd.machine import REPOSITORY, UNIT, Machine, base_tree, booted, install, missing_tools

# A container takes a minute: only make test-systemd wants it.
collect_ignore_glob = [] if os.environ.get("PODDISPATCHD_TEST_SYSTEMD") else ["test_*.py"]

TOKEN = "token-under-systemd"


@dataclass(slots=True)
class Host:
    """A machine on which poddispatchd is installed but not started, and its Pod."""

    machine: Machine
    etc: Path
    manager: FakeRunnerManager
    world: World
    dsn: SecretStr
    tree: dict[str, dict[str, object]]
    webhook: str

    def configure(self, section: str, **values: object) -> None:
        """Write the configuration with other values."""
        self.tree.setdefault(section, {}).update(values)
        (self.etc / "config.yaml").write_text(yaml.safe_dump(self.tree), encoding="utf-8")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh Debian tree with poddispatchd, its unit and the sample drop-in."""
    lacking = missing_tools()
    assert not lacking, (
        f"these tests need {', '.join(lacking)}: apt-get install debootstrap systemd-container"
    )
    work = tmp_path_factory.mktemp("systemd")
    tree = work / "rootfs"
    subprocess.run(["cp", "--archive", str(base_tree()), str(tree)], check=True)
    install(tree, work)
    # As a person does it, but that systemd does not run in there yet.
    subprocess.run(
        ["sh", str(REPOSITORY / "systemd/install.sh"), "/srv/media"],
        check=True,
        env={**os.environ, "DESTDIR": str(tree)},
    )
    credentials = tree / "etc/systemd/system" / f"{UNIT}.d" / "credentials.conf"
    credentials.write_text(
        "[Service]\nLoadCredential=database.dsn:/etc/poddispatchd/database.dsn\n", encoding="utf-8"
    )
    yield tree
    shutil.rmtree(tree, ignore_errors=True)


@pytest.fixture
async def host(installed: Path, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Host]:
    """A booted machine and a Pod whose media tree belongs to Pod's user."""
    media, etc = tmp_path / "media", tmp_path / "etc"
    etc.mkdir()
    name = f"systemd_{os.getpid()}_{tmp_path.name}"
    administration = await asyncpg.connect(postgres.dsn().get_secret_value())
    await administration.execute(f'CREATE DATABASE "{name}"')
    async with FakeRunnerManager(token=TOKEN, task_seconds=0.1, connect_to={}) as manager:
        connection = await asyncpg.connect(postgres.dsn(name).get_secret_value())
        await create_schema(connection, SchemaVariant.PODFILE)
        specs = [ManagerSpec("encoders", manager.url, SecretStr(TOKEN))]
        world = await seed_world(connection, media, managers=specs, videos=False)
        (media / "videos").mkdir(exist_ok=True)
        await connection.close()
        ids = (installed / "etc/passwd").read_text().split("\npod:")[1].split(":")
        chown = ["chown", "--recursive", f"{ids[1]}:{ids[2]}", str(media)]
        await asyncio.to_thread(subprocess.run, chown, check=True)
        (etc / "database.dsn").write_text(postgres.dsn(name).get_secret_value())
        (etc / "database.dsn").chmod(0o600)
        with booted(installed, {media: "/srv/media", etc: "/etc/poddispatchd"}) as machine:
            webhook, ops = free_ports(2)
            host = Host(machine, etc, manager, world, postgres.dsn(name), {}, f"127.0.0.1:{webhook}")
            manager.connect_to["pod.example.org:80"] = f"127.0.0.1:{webhook}"  # type: ignore[index]  # a dict
            host.configure("webhook", listen=f"127.0.0.1:{webhook}")
            host.configure("ops", listen=f"127.0.0.1:{ops}")
            host.configure("dispatch", grace=0, poll_interval="1s")
            host.configure("imports", keep_free="1MiB")
            host.configure("pod", media_root="/srv/media", use_podfile=True, https=False)
            yield host
            await asyncio.to_thread(machine.run, "systemctl", "stop", UNIT)
    await administration.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await administration.close()
