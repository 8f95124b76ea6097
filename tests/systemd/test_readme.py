"""The README's commands, word for word, on a Debian with PostgreSQL and a Pod in it."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import asyncpg
import pytest
import yaml

from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import FakeRunnerManager
from poddispatchd.sandbox.pod.schema import SchemaVariant, create_schema
from poddispatchd.sandbox.pod.seed import ManagerSpec, seed_world
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from poddispatchd.sandbox.ports import free_ports
from tests.acceptance.callback_load import CallbackLoad
from tests.systemd.machine import (
    REPOSITORY,
    Machine,
    alone,
    base_tree,
    booted,
    build_package,
    python_of,
    wheels,
)

pytestmark = pytest.mark.timeout(1800)

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


_LONGEST_COMMAND = 600.0

_OLD = "8b5ca35"
"""The release from which an upgrade is tried."""


class Way(StrEnum):
    """What the README begins with, in its order."""

    PACKAGE = "package"
    CHECKOUT = "checkout"


def readme_commands(way: Way) -> list[str]:
    """The commands that lead to an active daemon."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = text.partition("## On a real Pod")[2]
    block = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[list(Way).index(way)]
    return str(block).strip().splitlines()


def old_package(work: Path) -> Path:
    """The package of the release before."""
    source = work / "old"
    source.mkdir()
    archive = ["git", "-C", str(REPOSITORY), "archive", _OLD]
    packed = subprocess.run(archive, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(source)], input=packed.stdout, check=True)
    return build_package(work / "old-package", source)


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
            # A container that is shut down stops nsenter with what it waits for: only killing it ends that.
            timeout=_LONGEST_COMMAND,
        )

    async def follow(self, commands: Iterable[str]) -> None:
        """Type commands, each of which must succeed and show no password."""
        for command in commands:
            done = await asyncio.to_thread(self.type, command)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            print(f"# {command}\n{done.stdout}{done.stderr}")  # noqa: T201 - shown when the next one fails
            assert _PASSWORD not in done.stdout + done.stderr

    async def completes_a_task(self, title: str) -> None:
        """A new task is done to its end."""
        connection = await asyncpg.connect(self.dsn)
        try:
            video = await add_video(connection, self.world, title=title)
            for path in self.world.media_root.rglob("*"):
                os.chown(path, self.owner, -1)
            task = await add_task(connection, TaskType.ENCODING, video=video)
            async with asyncio.timeout(120):
                query = "SELECT status <> 'completed' FROM runner_manager_task WHERE id = $1"
                while await connection.fetchval(query, task):  # noqa: ASYNC110 - another process changes the row
                    await asyncio.sleep(0.2)
        finally:
            await connection.close()


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
def ports_of_the_readme() -> Iterator[None]:
    """The container has this machine's network, and the README's daemon listens at its own ports."""
    with alone("ports-of-the-readme"):
        yield


@pytest.fixture
async def manager() -> AsyncIterator[FakeRunnerManager]:
    async with FakeRunnerManager(token=_TOKEN, task_seconds=0.1, connect_to={}) as manager:
        manager.connect_to["pod.example.org:80"] = _WEBHOOK  # type: ignore[index]  # a dict
        yield manager


@pytest.fixture
async def site(manager: FakeRunnerManager, tmp_path: Path, ports_of_the_readme: None) -> AsyncIterator[Site]:
    [port] = free_ports(1)
    media = tmp_path / "media"
    media.mkdir()
    tree = await asyncio.to_thread(_tree, tmp_path, port)
    downloaded = await asyncio.to_thread(wheels, tmp_path, python_of(tree))
    ids = (tree / "etc/passwd").read_text().split("\npod:")[1].split(":")
    try:
        with booted(tree, {media: f"{_POD}/media", downloaded: "/root/wheels"}) as machine:
            psql = ("runuser", "-u", "postgres", "--", "psql", "-p", str(port), "-c")
            machine.until(lambda: "1" in machine.run(*psql, "SELECT 1", check=False))
            machine.run(*psql, f"CREATE ROLE pod LOGIN PASSWORD '{_PASSWORD}'")
            machine.run(*psql, "CREATE DATABASE pod OWNER pod")
            dsn = f"postgresql://pod:{_PASSWORD}@127.0.0.1:{port}/pod"
            connection = await asyncpg.connect(dsn)
            await create_schema(connection, SchemaVariant.PODFILE)
            specs = [ManagerSpec("encoders", manager.url, SecretStr(_TOKEN))]
            world = await seed_world(connection, media, managers=specs, videos=False)
            (media / "videos").mkdir(exist_ok=True)
            await connection.close()
            chown = ["chown", "--recursive", f"{ids[1]}:{ids[2]}", str(media)]
            await asyncio.to_thread(subprocess.run, chown, check=True)
            yield Site(machine, dsn, world, int(ids[1]))
    finally:
        shutil.rmtree(tree, ignore_errors=True)


@pytest.mark.parametrize("way", list(Way))
def test_fewer_than_ten_commands_lead_to_an_active_daemon(way: Way) -> None:
    assert len(readme_commands(way)) < 10


async def test_the_readme_leads_from_a_checkout_to_a_completed_task(site: Site) -> None:
    await site.follow(readme_commands(Way.CHECKOUT))

    machine = site.machine
    assert machine.property("ActiveState") == "active"
    [received] = machine.lines("socket.received")
    assert f"address={_WEBHOOK}" in received["MESSAGE"]
    await site.completes_a_task("As the README says")


async def test_the_readme_leads_from_a_package_to_a_completed_task(site: Site, tmp_path: Path) -> None:
    built = await asyncio.to_thread(build_package, tmp_path / "package")
    shutil.copy(built, site.machine.tree / "root/poddispatchd")
    await site.follow(readme_commands(Way.PACKAGE))

    assert site.machine.property("ActiveState") == "active"
    await site.completes_a_task("From the package")
    await _root_looks_with_the_eyes_of_the_daemon(site)
    await _root_finds_the_database_by_the_credential_of_the_unit(site)


async def _root_looks_with_the_eyes_of_the_daemon(site: Site) -> None:
    checked = await asyncio.to_thread(site.type, "poddispatchd check")
    assert "All this was asked as pod, the user of poddispatchd.service." in checked.stdout
    assert checked.returncode == 0, checked.stdout

    videos = site.world.media_root / "videos"
    os.chown(videos, 0, 0)
    drop_in = "/etc/systemd/system/poddispatchd.service.d/media.conf"
    await asyncio.to_thread(site.type, f"sed -i 's|^ReadWritePaths=.*|ReadWritePaths=/srv|' {drop_in}")
    checked = await asyncio.to_thread(site.type, "poddispatchd check")
    os.chown(videos, site.owner, -1)
    await asyncio.to_thread(
        site.type, f"sed -i 's|^ReadWritePaths=.*|ReadWritePaths={_POD}/media|' {drop_in}"
    )

    assert checked.returncode == 3, checked.stdout
    assert "PROBLEM media tree: " in checked.stdout
    assert f"PROBLEM unit: poddispatchd.service may not write to {_POD}/media" in checked.stdout


async def _root_finds_the_database_by_the_credential_of_the_unit(site: Site) -> None:
    """The address is taken out of the configuration and given to the unit, as the manual says."""
    config = site.machine.tree / "etc/poddispatchd/config.yaml"
    tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    dsn = tree["database"].pop("dsn")
    (config.parent / "database.dsn").write_text(dsn)
    (config.parent / "database.dsn").chmod(0o600)
    config.write_text(yaml.safe_dump({key: value for key, value in tree.items() if value}), encoding="utf-8")
    unit = site.machine.tree / "etc/systemd/system/poddispatchd.service.d/credentials.conf"
    unit.write_text("[Service]\nLoadCredential=database.dsn:/etc/poddispatchd/database.dsn\n")

    await site.follow(
        [
            "systemctl daemon-reload && systemctl restart poddispatchd",
            "poddispatchd tasks list",
            "poddispatchd db status",
            "poddispatchd check",
        ]
    )
    assert site.machine.property("ActiveState") == "active"


async def test_an_upgrade_refuses_no_callback_and_a_roll_back_leaves_pod_as_it_was(
    site: Site, tmp_path: Path, manager: FakeRunnerManager
) -> None:
    checkout = site.machine.tree / "root/poddispatchd"
    shutil.copy(await asyncio.to_thread(old_package, tmp_path), checkout)
    commands = readme_commands(Way.PACKAGE)
    await site.follow(command.replace(" check", " --version") for command in commands)
    await site.completes_a_task("Before the upgrade")
    for old in checkout.glob("poddispatchd_*.deb"):
        old.unlink()
    shutil.copy(await asyncio.to_thread(build_package, tmp_path / "package"), checkout)
    load = CallbackLoad(f"http://{_WEBHOOK}/runner/notify_task_end/", next(iter(manager.tasks)), _TOKEN)
    load.start()
    await load.go_on_for(20)
    # The version may be the same: a newer file is what counts here.
    await site.follow(["apt-get install --yes --reinstall --allow-downgrades ./poddispatchd_*.deb"])
    await load.go_on_for(20)
    assert await load.refused() == []
    await site.completes_a_task("After the upgrade")
    await site.follow(["poddispatchd db status", "poddispatchd check"])

    await _goes_back(site)


async def _goes_back(site: Site) -> None:
    """As docs/cutover.md says, from the trigger to the role."""
    connection = await asyncpg.connect(site.dsn)
    try:
        rows = await connection.fetch("SELECT id, status, task_id FROM runner_manager_task ORDER BY id")
        await site.follow(
            [
                "poddispatchd db install-trigger",
                "poddispatchd db remove-trigger",
                "systemctl disable --now poddispatchd.service poddispatchd-webhook.socket",
            ]
        )
        await connection.execute("DROP SCHEMA poddispatchd CASCADE")
        left = (
            "SELECT count(*) FROM pg_trigger"
            " WHERE tgrelid = 'runner_manager_task'::regclass AND NOT tgisinternal"
        )
        assert await connection.fetchval(left) == 0
        assert (
            await connection.fetch("SELECT id, status, task_id FROM runner_manager_task ORDER BY id") == rows
        )
        video = await add_video(connection, site.world, title="With the CRON again")
        task = await add_task(connection, TaskType.ENCODING, video=video)
        status = "SELECT status FROM runner_manager_task WHERE id = $1"
        assert await connection.fetchval(status, task) == "pending"
    finally:
        await connection.close()
