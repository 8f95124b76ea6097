"""The Debian package: installed, upgraded and purged as an administrator does it."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from poddispatchd import __version__
from poddispatchd.sandbox.ports import free_ports
from tests.systemd.machine import SOCKET, UNIT, Machine, base_tree, booted, build_package

pytestmark = pytest.mark.timeout(600)

_INSTANCE = "poddispatchd@medicine.service"
_MEDIA = "/etc/systemd/system/poddispatchd.service.d/media.conf"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, as ``make deb`` builds it."""
    return build_package(tmp_path_factory.mktemp("deb"))


@pytest.fixture
def machine(package: Path, tmp_path: Path) -> Iterator[Machine]:
    tree = tmp_path / "rootfs"
    subprocess.run(["cp", "--archive", str(base_tree()), str(tree)], check=True)
    shutil.copy(package, tree / "root/poddispatchd.deb")
    try:
        with booted(tree, {}) as machine:
            yield machine
    finally:
        shutil.rmtree(tree, ignore_errors=True)


async def test_the_package_lives_and_goes_as_an_administrator_expects(machine: Machine) -> None:
    run = machine.run
    told = await asyncio.to_thread(run, "dpkg", "--install", "/root/poddispatchd.deb")

    assert "poddispatchd db setup" in told
    told = run("dpkg-query", "--show", "--showformat", "${Maintainer}", "poddispatchd")
    assert told == "Operations <operations@example.org>"
    assert run("/usr/bin/poddispatchd", "--version").partition("+")[0].endswith(__version__)
    # With the same one apt took the next build of a release for the installed one, and left that in place.
    told = run("dpkg-query", "--show", "--showformat", "${Version}", "poddispatchd")
    assert re.fullmatch(r"[0-9.]+(~[a-z0-9]+)?-[0-9]{14}", told)
    units = [machine.property("LoadState", unit) for unit in (UNIT, SOCKET)]
    assert (units, machine.property("ActiveState")) == (["loaded", "loaded"], "inactive")
    assert run("stat", "--format", "%U:%G:%a", "/etc/poddispatchd") == "root:root:755"
    # The daemon's user may not write what Python compiles: each of its starts took twice as long.
    assert run("sh", "-c", "ls /opt/poddispatchd/lib/*/site-packages/poddispatchd/imports/__pycache__")
    assert run("cat", "/var/lib/dpkg/info/poddispatchd.conffiles") == _MEDIA
    for file in ("man/man8/poddispatchd.8.gz", "man/man5/poddispatchd.yaml.5.gz",
                 "bash-completion/completions/poddispatchd", "doc/poddispatchd/examples/config.yaml.example",
                 "doc/poddispatchd/changelog.gz", "doc/poddispatchd/changelog.Debian.gz",
                 "doc/poddispatchd/examples/nginx/poddispatchd.conf",
                 "doc/poddispatchd/docs/troubleshooting.md",
                 "doc/poddispatchd/docs/reference/settings.md"):  # fmt: skip
        assert run("dpkg", "--search", f"/usr/share/{file}").startswith("poddispatchd:")
    # Nothing in it knows where it was built, nor on whose index its parts were found.
    assert run("grep", "-rlIE", "/tmp/tmp[.]|/dev/shm", "/opt/poddispatchd/bin", check=False) == ""

    run("sed", "-i", "s|/usr/local/django_projects/podv4/pod/media|/srv/media|", _MEDIA)
    run("sh", "-c", "echo 'pod: {media_root: /srv/media}' > /etc/poddispatchd/config.yaml")
    _start_instance(machine)
    # A log rotation that meets a daemon before it handles signals: it was down for good.
    run("systemctl", "kill", "--signal=HUP", _INSTANCE)
    machine.until(lambda: machine.property("NRestarts", _INSTANCE) == "1")
    machine.until(lambda: machine.property("ActiveState", _INSTANCE) == "active")
    before = machine.property("MainPID", _INSTANCE)
    again = await asyncio.to_thread(run, "dpkg", "--install", "/root/poddispatchd.deb")
    # It ran on with the code of the release before, and imported what is of this one.
    # The package waits for no start: one that waits for the database would keep the whole upgrade.
    machine.until(lambda: machine.property("MainPID", _INSTANCE) not in (before, "0"))
    machine.until(lambda: machine.property("ActiveState", _INSTANCE) == "active")
    assert "next, set MEDIA_ROOT" not in again
    assert "ReadWritePaths=/srv/media" in run("cat", _MEDIA)
    assert run("stat", "--format", "%U:%G:%a", "/etc/poddispatchd/config.yaml") == "pod:www-data:600"

    start = "systemctl enable --now poddispatchd.service poddispatchd-webhook.socket"
    assert f"the daemon does not run. To start it:\n  {start}" in again
    # As an upgrade of Debian does, whose new Python the package does not fit: systemctl may fail then.
    run("systemctl", "enable", UNIT, SOCKET)
    # Without a database it waits for one, and runs.
    [closed] = free_ports(1)
    database = f"database: {{dsn: 'postgresql://pod@127.0.0.1:{closed}/pod'}}"
    run("sh", "-c", f'echo "{database}" >> /etc/poddispatchd/config.yaml')
    run("mkdir", "-p", "/srv/media")
    run("systemctl", "start", "--no-block", UNIT)
    machine.until(lambda: machine.lines("database.down"))
    broken = "echo gone >&2; exit 127"
    removed = await asyncio.to_thread(_remove_while_systemctl_says, machine, broken)
    assert "systemctl failed; the daemon was ended without it" in removed
    assert machine.lines("daemon.stopped")
    assert machine.property("MainPID", _INSTANCE) == "0"
    run("systemctl", "stop", UNIT, check=False)
    assert "ReadWritePaths=/srv/media" in run("cat", _MEDIA)
    back = await asyncio.to_thread(run, "dpkg", "--install", "/root/poddispatchd.deb")
    assert f"the daemon does not run. To start it:\n  {start}" in back
    assert run("stat", "--format", "%U:%G:%a", "/etc/poddispatchd/config.yaml") == "pod:www-data:600"

    run(
        "rm", "-r", "/etc/systemd/system/poddispatchd@.service", "/etc/systemd/system/poddispatchd@.service.d"
    )
    etc, own = "/etc/poddispatchd", "/etc/systemd/system/poddispatchd.service.d/override.conf"
    for name in ("database.dsn", "database.dsn~", "medicine.yaml", "config.yaml.dpkg-old", "ca.pem"):
        run("sh", "-c", f"echo a-password > {etc}/{name}")
    run("sh", "-c", f"echo '[Service]' > {own}")
    told = await asyncio.to_thread(run, "dpkg", "--purge", "poddispatchd")
    assert "GRANT role TO CURRENT_USER" in told
    assert "DROP SCHEMA poddispatchd CASCADE" in told
    # The password of the database stayed for ever, and nothing said so.
    assert sorted(run("find", etc, "-type", "f").split()) == [f"{etc}/ca.pem", f"{etc}/medicine.yaml"]
    assert f"may be passwords in them:\n  {etc}/ca.pem\n  {etc}/medicine.yaml\n  {own}\n" in told
    run("rm", f"{etc}/ca.pem", f"{etc}/medicine.yaml", own)
    run("rmdir", etc)
    for path in ("/opt/poddispatchd", "/usr/bin/poddispatchd", _MEDIA):
        left = run("sh", "-c", f"test -e {path} && echo left || echo gone")
        assert (path, left) == (path, "gone")
    assert run("find", "/etc/systemd/system", "-name", "*poddispatchd*", "-not", "-type", "d") == ""


def _start_instance(machine: Machine) -> None:
    """An instance of the sample drop-in, with another program in the place of the daemon."""
    drop_ins, units = "/etc/systemd/system/poddispatchd@.service.d", "/usr/lib/systemd/system"
    samples = "/usr/share/doc/poddispatchd/examples/systemd"
    program = "[Service]\\nType=exec\\nExecStart=\\nExecStart=/bin/sleep infinity\\n"
    machine.run("mkdir", drop_ins)
    machine.run("cp", f"{units}/{UNIT}", "/etc/systemd/system/poddispatchd@.service")
    machine.run("cp", f"{samples}/instance.conf", drop_ins)
    machine.run("sh", "-c", f"printf '{program}' > {drop_ins}/program.conf")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", _INSTANCE)


def _remove_while_systemctl_says(machine: Machine, script: str) -> str:
    """``dpkg --remove`` with another systemctl before the real one."""
    systemctl = "/usr/local/sbin/systemctl"
    machine.run("sh", "-c", f"printf '#!/bin/sh\n%s\n' '{script}' > {systemctl}; chmod 755 {systemctl}")
    first = f"PATH={Path(systemctl).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    told = machine.run("env", first, "dpkg", "--remove", "poddispatchd")
    machine.run("rm", systemctl)
    return told
