import shutil
import subprocess
from pathlib import Path

import pytest

from poddispatchd.config.model import PodSettings

SYSTEMD = Path(__file__).resolve().parents[3] / "systemd"
UNIT = SYSTEMD / "poddispatchd.service"


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
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["ProtectSystem"] == ["strict"]
    assert {"WatchdogSec", "TimeoutStopSec", "User", "Group", "NoNewPrivileges"} <= set(service)


def test_the_default_media_tree_is_the_one_of_the_samples() -> None:
    drop_in = directives(SYSTEMD / "poddispatchd.service.d" / "media.conf")

    assert drop_in["Service"]["ReadWritePaths"] == [str(PodSettings().media_root)]
    assert drop_in["Unit"]["RequiresMountsFor"] == [str(PodSettings().media_root)]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    unit = tmp_path / "poddispatchd.service"
    unit.write_text(text.replace(command, "ExecStart=/bin/true"), encoding="utf-8")

    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )

    assert [line for line in ran.stderr.splitlines() if "poddispatchd" in line] == []
