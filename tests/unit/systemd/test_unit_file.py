import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from poddispatchd.config.listeners import WebhookSettings
from poddispatchd.config.model import PodSettings

SYSTEMD = Path(__file__).resolve().parents[3] / "systemd"
UNIT = SYSTEMD / "poddispatchd.service"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def directives(path: Path) -> dict[str, dict[str, list[str]]]:
    """The directives of a unit file by section; a directive may stand more than once."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(section, {}).setdefault(name, []).append(value)
    return found


def test_the_unit_tells_systemd_what_the_daemon_promises() -> None:
    service = directives(UNIT)["Service"]

    assert service["Type"] == ["notify"]
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == ["2"]
    assert service["RestartForceExitStatus"] == ["SIGHUP"]
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["ProtectSystem"] == ["strict"]
    assert {"WatchdogSec", "TimeoutStopSec", "User", "Group", "NoNewPrivileges"} <= set(service)


def test_units_that_pages_show_run_as_the_user_of_the_daemon() -> None:
    """The report's timer ran as a user whom nobody makes, which systemd refuses."""
    shown = [
        (path.name, line.removeprefix("User="))
        for path in (SYSTEMD.parent / "docs").rglob("*.md")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("User=")
    ]
    [user] = directives(UNIT)["Service"]["User"]
    assert shown
    assert [(name, other) for name, other in shown if other != user] == []


def test_the_default_media_tree_is_the_one_of_the_samples() -> None:
    drop_in = directives(SYSTEMD / "poddispatchd.service.d" / "media.conf")

    assert drop_in["Service"]["ReadWritePaths"] == [str(PodSettings().media_root)]
    assert drop_in["Unit"]["RequiresMountsFor"] == [str(PodSettings().media_root)]


def test_the_socket_is_the_one_of_the_settings_and_has_the_name_that_the_daemon_takes() -> None:
    unit = directives(SYSTEMD / "poddispatchd-webhook.socket")

    assert unit["Socket"]["ListenStream"] == [str(WebhookSettings().listen)]
    assert unit["Socket"]["FileDescriptorName"] == ["webhook"]
    assert unit["Socket"]["Service"] == [UNIT.name]
    # A daemon that was stopped is not started by the next callback, nor one that refuses its configuration.
    assert unit["Unit"]["StopWhenUnneeded"] == ["yes"]
    assert unit["Install"] == {"WantedBy": [UNIT.name]}


def test_the_memory_of_the_daemon_is_never_written_to_a_file() -> None:
    assert directives(UNIT)["Service"]["LimitCORE"] == ["0"]


def test_a_command_that_takes_all_memory_does_not_take_the_daemon_with_it() -> None:
    """The kernel ends the largest process of the unit. systemd then stopped the daemon, the command ran again
    after its restart, and five times later nothing was started any more."""
    service = directives(UNIT)["Service"]

    assert service["MemoryMax"] == ["1G"]
    assert service["OOMPolicy"] == ["continue"]


@needs_systemd
@pytest.mark.parametrize(
    "example", [None, *sorted(path.name for path in (SYSTEMD / "examples").glob("*.conf"))]
)
def test_systemd_understands_every_line(tmp_path: Path, example: str | None) -> None:
    text = UNIT.read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    unit = tmp_path / ("poddispatchd@x.service" if example == "instance.conf" else UNIT.name)
    unit.write_text(text.replace(command, "ExecStart=/bin/true"), encoding="utf-8")
    if unit.name == UNIT.name:
        shutil.copy(SYSTEMD / "poddispatchd-webhook.socket", tmp_path)
    if example is not None:
        drop_in = (SYSTEMD / "examples" / example).read_text(encoding="utf-8")
        (tmp_path / f"{unit.name}.d").mkdir()
        (tmp_path / f"{unit.name}.d" / example).write_text(
            drop_in.replace("/opt/poddispatchd/bin/poddispatchd run", "/bin/true"), encoding="utf-8"
        )
    (tmp_path / "poddispatchd-failed.service").write_text("[Service]\nExecStart=/bin/true\n")

    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit), *map(str, tmp_path.glob("*.socket"))],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )

    complaints = [line for line in ran.stderr.splitlines() if "poddispatchd" in line]
    if example == "notify-reload.conf" and _version() < 253:
        complaints = [line for line in complaints if "notify-reload" not in line]
    assert complaints == []


def _version() -> int:
    told = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True)
    return int(told.stdout.split()[1])


@needs_systemd
def test_the_daemon_is_exposed_to_little() -> None:
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=13", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout


def test_sysusers_and_tmpfiles_name_the_user_of_the_unit() -> None:
    service = directives(UNIT)["Service"]
    users = (SYSTEMD / "sysusers.d/poddispatchd.conf").read_text(encoding="utf-8")
    files = (SYSTEMD / "tmpfiles.d/poddispatchd.conf").read_text(encoding="utf-8")

    [user], [group] = service["User"], service["Group"]
    assert [line.split()[:3] for line in users.splitlines() if line.startswith("u ")] == [
        ["u", user, f"-:{group}"]
    ]
    assert ["z", "/etc/poddispatchd/config.yaml", "0600", user, group, "-"] in [
        line.split() for line in files.splitlines()
    ]


def test_no_process_of_this_user_can_read_the_memory_of_the_daemon() -> None:
    asked = "import ctypes; from poddispatchd.runtime.hardening import forbid_dumps as f; " + (
        "print(f(), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # 3: PR_GET_DUMPABLE
    )
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert ran.stdout.split() == ["True", "0"]


def _installed(media: str, to: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", str(SYSTEMD / "install.sh"), media],
        env={"DESTDIR": str(to), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_media_tree_of_any_name_is_the_one_that_the_daemon_may_write_to(tmp_path: Path) -> None:
    """`/srv/R&D` became another path, on which no result could be written."""
    done = _installed("/srv/R&D/a|b/100%", tmp_path)

    assert done.returncode == 0, done.stderr
    drop_in = directives(tmp_path / "etc/systemd/system/poddispatchd.service.d/media.conf")
    # systemd takes a percent sign for the beginning of a specifier.
    assert drop_in["Service"]["ReadWritePaths"] == ["/srv/R&D/a|b/100%%"]
    assert drop_in["Unit"]["RequiresMountsFor"] == ["/srv/R&D/a|b/100%%"]


def test_a_drop_in_that_is_kept_and_names_another_media_tree_is_told(tmp_path: Path) -> None:
    """Whoever corrected the path by a second call was answered with silence, and nothing was changed."""
    _installed("/srv/wrong", tmp_path)

    again, other = _installed("/srv/wrong", tmp_path), _installed("/srv/media", tmp_path)

    assert (again.returncode, again.stderr) == (0, "")
    assert other.returncode == 0
    assert "media.conf is kept as it is, and does not name /srv/media: change it there" in other.stderr


@pytest.mark.parametrize("media", ["/srv/my media", "/srv/it's", '/srv/"', "/srv/back\\slash", "srv/media"])
def test_a_media_tree_that_systemd_would_take_for_others_is_refused(media: str, tmp_path: Path) -> None:
    done = _installed(media, tmp_path)

    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "MEDIA_ROOT" in done.stderr
