import ast
import asyncio
import os
import signal
import subprocess
from pathlib import Path

import asyncpg
import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.sandbox.ports import free_ports
from tests.acceptance.callback_load import CallbackLoad
from tests.systemd.conftest import TOKEN, Host
from tests.systemd.machine import REPOSITORY, SOCKET, UNIT, Machine
from tests.unit.cli.test_environment_files import LINES

_NOTIFY_RELOAD = 253
"""The systemd that brought Type=notify-reload."""

pytestmark = pytest.mark.timeout(300)


async def test_the_daemon_lives_under_systemd(host: Host) -> None:
    """One life of one machine: booting it for each fact would take minutes."""
    machine = host.machine
    await _started(machine)
    _sandboxed(machine)
    await _works(host)
    await _reloads(host)
    await _reload_waits_where_systemd_can(host)
    await _refuses_no_callback_over_restarts(host)
    await _comes_back_when_killed(machine)
    await _stops_in_order(machine)
    await _stays_down_when_misconfigured(host)
    _systemd_has_nothing_to_complain_of(machine)


async def _started(machine: Machine) -> None:
    await asyncio.to_thread(machine.systemctl, "start", UNIT)

    facts = {name: machine.property(name) for name in ("Type", "ActiveState", "WatchdogUSec", "NRestarts")}
    assert facts == {"Type": "notify", "ActiveState": "active", "WatchdogUSec": "1min", "NRestarts": "0"}
    assert "scheduling" in machine.property("StatusText")
    [ready] = machine.lines("daemon.ready")
    # The priority is taken off the line, and the time is the journal's.
    assert (ready["PRIORITY"], ready["MESSAGE"].startswith("daemon.ready webhook=127.0.0.1:")) == ("6", True)


def _sandboxed(machine: Machine) -> None:
    pid = machine.process()
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    kept = {name: status[name].strip() for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd")}
    # No other process of its user can read its memory: the kernel gives its files to root then.
    assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
    assert kept == {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16, "CapBnd": "0" * 16}
    # Even root cannot write where the daemon lives, but for the media tree.
    for path, may in (("/etc/x", False), ("/usr/x", False), ("/opt/x", False), ("/srv/media/x", True)):
        done = subprocess.run(
            ["nsenter", "--target", str(pid), "--mount", "touch", path], capture_output=True, check=False
        )
        assert (path, done.returncode == 0) == (path, may), done.stderr
    assert "postgresql://" not in Path(f"/proc/{pid}/cmdline").read_text()
    assert b"postgresql://" not in Path(f"/proc/{pid}/environ").read_bytes()


async def _works(host: Host) -> None:
    connection = await asyncpg.connect(host.dsn.get_secret_value())
    try:
        video = await add_video(connection, host.world, title="Under systemd")
        folder = (host.world.media_root / video.path).parent
        owner = host.world.media_root.stat()
        for path in (folder, *folder.parents):
            if path.is_relative_to(host.world.media_root):
                os.chown(path, owner.st_uid, owner.st_gid)
        task = await add_task(connection, TaskType.ENCODING, video=video)
        async with asyncio.timeout(60):
            query = "SELECT status <> 'completed' FROM runner_manager_task WHERE id = $1"
            while await connection.fetchval(query, task):  # noqa: ASYNC110 - another process changes the row
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
    _found_by_fields(host.machine, task)
    written = list((host.world.media_root / video.output_directory).iterdir())
    assert written
    assert {path.stat().st_uid for path in written} == {owner.st_uid}


def _found_by_fields(machine: Machine, task: int) -> None:
    """The journal itself finds the lines of a task, and explains them."""
    command = ("journalctl", "--unit", UNIT, f"POD_TASK_ID={task}", "EVENT=task.completed")
    [line] = machine.run(*command, "--output", "cat").splitlines()
    assert line.startswith(f"task.completed task={task} ")
    machine.run("journalctl", "--update-catalog")
    explained = machine.run(*command, "--catalog", "--no-pager")
    assert "The result of a task is in Pod." in explained


async def _reloads(host: Host) -> None:
    machine = host.machine
    await asyncio.to_thread(machine.systemctl, "reload", UNIT)
    machine.until(lambda: machine.lines("config.reloaded"))
    host.configure("log", level="loud")
    await asyncio.to_thread(machine.systemctl, "reload", UNIT)
    [invalid] = machine.until(lambda: machine.lines("config.invalid"))
    host.configure("log", level="info")

    assert (invalid["PRIORITY"], "log.level" in invalid["MESSAGE"]) == ("3", True)
    machine.until(lambda: machine.property("ActiveState") == "active")


async def _reload_waits_where_systemd_can(host: Host) -> None:
    """The sample of systemd/examples: once ``systemctl reload`` returns, the configuration is in effect."""
    machine = host.machine
    if machine.systemd_version() < _NOTIFY_RELOAD:
        return
    drop_in = machine.tree / f"etc/systemd/system/{UNIT}.d/notify-reload.conf"
    drop_in.write_bytes((REPOSITORY / "systemd/examples/notify-reload.conf").read_bytes())
    await asyncio.to_thread(machine.systemctl, "daemon-reload")
    await asyncio.to_thread(machine.systemctl, "restart", UNIT)
    before = machine.lines("config.reloaded")

    await asyncio.to_thread(machine.systemctl, "reload", UNIT)

    assert len(machine.lines("config.reloaded")) == len(before) + 1
    assert [machine.property(name) for name in ("Type", "ActiveState")] == ["notify-reload", "active"]
    drop_in.unlink()
    await asyncio.to_thread(machine.systemctl, "daemon-reload")


def _systemd_has_nothing_to_complain_of(machine: Machine) -> None:
    """A directive that a newer systemd does not know, or no longer likes, is a warning only."""
    verified = ("systemd-analyze", "verify", "--man=no", UNIT, SOCKET)
    assert machine.run("sh", "-c", f"{' '.join(verified)} 2>&1") == ""
    # The manager names the line of the file: /etc/systemd/system/poddispatchd.service:42: Unknown key …
    journal = "journalctl _PID=1 --output cat | grep -E '^/.*poddispatchd.*:[0-9]+: ' || true"
    assert machine.run("sh", "-c", journal) == ""


async def _refuses_no_callback_over_restarts(host: Host) -> None:
    """Eight restarts in a row: more than systemd allows of a unit that crashes."""
    machine = host.machine
    drop_in = machine.tree / f"etc/systemd/system/{SOCKET}.d/address.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Socket]\nListenStream=\nListenStream={host.webhook}\n")
    await asyncio.to_thread(machine.systemctl, "daemon-reload")
    await asyncio.to_thread(machine.systemctl, "enable", SOCKET)
    # The socket is the daemon's until then: it is free between these two.
    await asyncio.to_thread(machine.systemctl, "stop", UNIT)
    await asyncio.to_thread(machine.systemctl, "start", UNIT)
    assert machine.lines("socket.received")
    load = CallbackLoad(
        f"http://{host.webhook}/runner/notify_task_end/", next(iter(host.manager.tasks)), TOKEN
    )
    load.start()

    for _ in range(8):
        await load.go_on_for(20)
        await asyncio.to_thread(machine.systemctl, "restart", UNIT)
    await load.go_on_for(20)

    assert await load.refused() == []
    assert (machine.property("ActiveState", SOCKET), machine.property("Result")) == ("active", "success")


async def _comes_back_when_killed(machine: Machine) -> None:
    before = machine.property("MainPID")
    os.kill(machine.process(), signal.SIGKILL)

    machine.until(lambda: machine.property("NRestarts") == "1" and machine.property("SubState") == "running")
    assert machine.property("MainPID") != before
    assert machine.property("ActiveState", SOCKET) == "active"


async def _stops_in_order(machine: Machine) -> None:
    await asyncio.to_thread(machine.systemctl, "stop", UNIT)

    assert (machine.property("ActiveState"), machine.property("Result")) == ("inactive", "success")
    assert machine.lines("daemon.stopped")
    # Nor is it started again by the next callback.
    machine.until(lambda: machine.property("ActiveState", SOCKET) == "inactive")


async def _stays_down_when_misconfigured(host: Host) -> None:
    machine = host.machine
    host.configure("pod", use_podfile=False)
    machine.run("systemctl", "start", UNIT, check=False)

    machine.until(lambda: machine.property("ActiveState") == "failed")
    assert (machine.property("ExecMainStatus"), machine.property("NRestarts")) == ("2", "0")
    machine.until(lambda: machine.property("ActiveState", SOCKET) == "inactive")
    assert "set it to true" in machine.lines("config.invalid")[-1]["MESSAGE"]
    host.configure("pod", use_podfile=True)


async def test_a_start_without_a_database_outlives_its_time_limit_and_says_what_it_waits_for(
    host: Host,
) -> None:
    """It was killed and begun anew after each ``TimeoutStartSec=``, as a failure."""
    machine, dsn = host.machine, host.etc / "database.dsn"
    address = dsn.read_text()
    [closed] = free_ports(1)
    dsn.write_text(f"postgresql://pod@127.0.0.1:{closed}/pod")
    limit = f"/etc/systemd/system/{UNIT}.d/limit.conf"
    machine.run("sh", "-c", f"printf '[Service]\\nTimeoutStartSec=4s\\n' > {limit}")
    machine.systemctl("daemon-reload")
    # The journal of the machine is there from one boot to the next.
    known = len(machine.journal())

    machine.systemctl("start", "--no-block", UNIT)

    await asyncio.sleep(8)  # systemd's own clock: twice the limit
    assert machine.property("StatusText").startswith("Waiting for the database: ")
    names = ("ActiveState", "SubState", "NRestarts")
    assert [machine.property(name) for name in names] == ["activating", "start", "0"]
    lines = machine.journal()[known:]
    assert lines
    assert [line["MESSAGE"] for line in lines if "failed" in line["MESSAGE"].lower()] == []
    dsn.write_text(address)
    machine.run("rm", limit)
    machine.systemctl("daemon-reload")
    await asyncio.to_thread(machine.systemctl, "restart", UNIT)


async def test_files_of_variables_are_read_as_this_systemd_reads_them(host: Host) -> None:
    """Commands of root read the files of the unit themselves."""
    for number, (line, _) in enumerate(LINES):
        (host.etc / f"{number}.env").write_text(f"{line}\n", encoding="utf-8")

    assert await asyncio.to_thread(_values, host.machine) == [value for _, value in LINES]


def _values(machine: Machine) -> list[str]:
    unit = (
        "[Service]\nType=oneshot\nEnvironmentFile=/etc/poddispatchd/%i.env\nStandardOutput=file:/run/values-%i\n"
        "ExecStart=/usr/bin/python3 -c \"import os; print(ascii(os.environ.get('A')))\"\n"
    )
    # Without a bus there is no systemd-run. The container's /run is no directory of this machine's.
    machine.run("mkdir", "--parents", "/run/systemd/system")
    write = ("sh", "-c", 'printf %s "$1" > /run/systemd/system/values@.service', "sh", unit)
    machine.run(*write)
    machine.systemctl("daemon-reload")
    machine.systemctl("start", *(f"values@{number}.service" for number in range(len(LINES))))
    told = (machine.run("cat", f"/run/values-{number}") for number in range(len(LINES)))
    return [str(ast.literal_eval(each)) for each in told]
