"""The README's commands, word for word, on a Debian with PostgreSQL and a Pod in it."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from poddispatchd.sandbox.pod.schema import Variant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from poddispatchd.sandbox.ports import free_ports
from tests.systemd.machine import REPOSITORY, Machine, base_tree, booted

pytestmark = pytest.mark.timeout(600)

_TOKEN = "token-of-the-readme"
_PASSWORD = "pods-own-password"
_POD = "/usr/local/django_projects/podv4/pod"
_WEBHOOK = "127.0.0.1:8765"
_SETTINGS = """\
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql_psycopg2", "NAME": "pod", "USER": "pod",
    "PASSWORD": "{password}", "HOST": "localhost", "PORT": "{port}"}}}}
MEDIA_ROOT = "/usr/local/django_projects/podv4/pod/media"
USE_RUNNER_MANAGER = True
USE_PODFILE = True
SECURE_SSL_REDIRECT = False
VERSION = "4.3.0"
"""


def readme_commands() -> list[str]:
    """The commands that lead from a checkout to an active daemon."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = text.partition("## On a real Pod")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block[1].strip().splitlines()


@dataclass(frozen=True, slots=True)
class Site:
    """A machine with a Pod, and nothing of poddispatchd but a checkout in /root/poddispatchd."""

    machine: Machine
    dsn: str
    world: World
    owner: int

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command as root types it, in the checkout."""
        enter = ("nsenter", "--target", str(self.machine.leader), "--mount", "--uts", "--ipc", "--pid")
        environment = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
        pip = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/root/wheels", "DEBIAN_FRONTEND=noninteractive")
        return subprocess.run(
            [*enter, "env", "-i", *environment, *pip, "sh", "-c", f"cd /root/poddispatchd && {command}"],
            capture_output=True,
            text=True,
            check=False,
        )


def _wheels(directory: Path) -> None:
    """What pip would download, so that the container needs no index."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    constraints = ("--constraint", str(REPOSITORY / "constraints.txt"))
    subprocess.run(
        [*pip, "wheel", *constraints, "--wheel-dir", str(directory), str(REPOSITORY), "hatchling"], check=True
    )
    for wheel in directory.glob("poddispatchd-*.whl"):
        wheel.unlink()


def _tree(work: Path, port: int) -> Path:
    """A Debian with PostgreSQL, a checkout and Pod's settings."""
    tree = work / "rootfs"
    subprocess.run(["cp", "--archive", str(base_tree("postgresql")), str(tree)], check=True)
    checkout = tree / "root/poddispatchd"
    checkout.mkdir(parents=True)
    subprocess.run(
        f"git -C {REPOSITORY} ls-files -z --cached --others --exclude-standard"
        f" | xargs -0 cp --parents --target-directory {checkout}",
        shell=True,
        check=True,
        cwd=REPOSITORY,
    )
    [configuration] = tree.glob("etc/postgresql/*/main/postgresql.conf")
    with configuration.open("a") as file:
        file.write(f"port = {port}\nfsync = off\n")
    custom = tree / f"{_POD}/custom"[1:]
    custom.mkdir(parents=True)
    (custom / "settings_local.py").write_text(_SETTINGS.format(password=_PASSWORD, port=port))
    return tree


@pytest.fixture
async def manager() -> AsyncIterator[FakeRunnerManager]:
    async with FakeRunnerManager(token=_TOKEN, task_seconds=0.1, connect_to={}) as manager:
        manager.connect_to["pod.example.org:80"] = _WEBHOOK  # type: ignore[index]  # a dict
        yield manager


@pytest.fixture
async def site(manager: FakeRunnerManager, tmp_path: Path) -> AsyncIterator[Site]:
    [port] = free_ports(1)
    media, wheels = tmp_path / "media", tmp_path / "wheels"
    for directory in (media, wheels):
        directory.mkdir()
    await asyncio.to_thread(_wheels, wheels)
    tree = await asyncio.to_thread(_tree, tmp_path, port)
    ids = (tree / "etc/passwd").read_text().split("\npod:")[1].split(":")
    try:
        with booted(tree, {media: f"{_POD}/media", wheels: "/root/wheels"}) as machine:
            psql = ("runuser", "-u", "postgres", "--", "psql", "-p", str(port), "-c")
            machine.until(lambda: "1" in machine.run(*psql, "SELECT 1", check=False))
            machine.run(*psql, f"CREATE ROLE pod LOGIN PASSWORD '{_PASSWORD}'")
            machine.run(*psql, "CREATE DATABASE pod OWNER pod")
            dsn = f"postgresql://pod:{_PASSWORD}@127.0.0.1:{port}/pod"
            connection = await asyncpg.connect(dsn)
            await create_schema(connection, Variant.PODFILE)
            specs = [ManagerSpec("encoders", manager.url, SecretStr(_TOKEN))]
            world = await seed_world(connection, media, managers=specs, videos=False)
            (media / "videos").mkdir(exist_ok=True)
            await connection.close()
            chown = ["chown", "--recursive", f"{ids[1]}:{ids[2]}", str(media)]
            await asyncio.to_thread(subprocess.run, chown, check=True)
            yield Site(machine, dsn, world, int(ids[1]))
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def test_fewer_than_ten_commands_lead_to_an_active_daemon() -> None:
    assert len(readme_commands()) < 10


async def test_the_readme_leads_from_a_checkout_to_a_completed_task(site: Site) -> None:
    for command in readme_commands():
        done = await asyncio.to_thread(site.type, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        print(f"# {command}\n{done.stdout}{done.stderr}")  # noqa: T201 - shown when the next one fails
        assert _PASSWORD not in done.stdout + done.stderr

    machine = site.machine
    assert machine.property("ActiveState") == "active"
    [received] = machine.lines("socket.received")
    assert f"address={_WEBHOOK}" in received["MESSAGE"]
    connection = await asyncpg.connect(site.dsn)
    try:
        video = await add_video(connection, site.world, title="As the README says")
        for path in site.world.media_root.rglob("*"):
            os.chown(path, site.owner, -1)
        task = await add_task(connection, TaskType.ENCODING, video=video)
        async with asyncio.timeout(120):
            query = "SELECT status <> 'completed' FROM runner_manager_task WHERE id = $1"
            while await connection.fetchval(query, task):  # noqa: ASYNC110 - another process changes the row
                await asyncio.sleep(0.2)
    finally:
        await connection.close()
