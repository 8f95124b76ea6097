"""What root learns of the unit, and looking as its user."""

import grp
import json
import os
import pwd
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from poddispatchd.app.findings import CheckLevel
from poddispatchd.cli.check import _unit_findings
from poddispatchd.cli.unit import Unit, parsed, run_as, unit_of, work_as_its_user
from poddispatchd.config.model import Settings
from poddispatchd.pod.media.tree import FileTimeouts, MediaPath, MediaTree

_SYSTEMD = Path(__file__).resolve().parents[3] / "systemd"


def _shipped() -> str:
    return "\n".join(
        (_SYSTEMD / name).read_text(encoding="utf-8")
        for name in ("poddispatchd.service", "poddispatchd.service.d/media.conf")
    )


def test_the_unit_that_is_shipped_runs_as_pod_and_may_write_to_media_root_only() -> None:
    unit = parsed("poddispatchd.service", _shipped())

    assert (unit.user, unit.credentials) == ("pod", {})
    assert unit.may_write(Path("/usr/local/django_projects/podv4/pod/media/videos"))
    assert not unit.may_write(Path("/srv/media"))


def test_drop_ins_add_places_and_credentials_and_an_empty_setting_begins_anew() -> None:
    text = _shipped() + (
        "\n[Service]\nReadWritePaths=\nReadWritePaths=-/srv/media \\\n  /srv/more\n"
        "BindPaths=/home/pod/media:/var/media\n"
        "LoadCredential=mail.password:/etc/old\nLoadCredential=\n"
        "LoadCredential=database.dsn:/etc/poddispatchd/%i.dsn\n[Unit]\nUser=nobody\n"
    )
    unit = parsed("poddispatchd@medicine.service", text, "medicine")

    assert unit.credentials == {"database.dsn": Path("/etc/poddispatchd/medicine.dsn")}
    assert [unit.may_write(Path(place)) for place in ("/srv/media/x", "/srv/more", "/var/media", "/srv")] == [
        True,
        True,
        True,
        False,
    ]
    assert unit.user == "pod"
    assert not unit.may_write(Path("/usr/local/django_projects/podv4/pod/media"))


def test_settings_of_the_units_environment_are_those_of_roots_commands(tmp_path: Path) -> None:
    """Root's commands asked another database than the daemon's."""
    variables = tmp_path / "environment"
    variables.write_text('# ours\nPODDISPATCHD_MAIL__HOST="mail.example.org"\nLANG=C\n', encoding="utf-8")
    text = _shipped() + (
        "\n[Service]\nEnvironment=PODDISPATCHD_WEBHOOK__PATH=/gone/\nEnvironment=\n"
        'Environment=PODDISPATCHD_CONFIG=/srv/x.yaml "PODDISPATCHD_POD__TITLE_SITE=Pod of %i" LANG=fr \\\n'
        "  'PODDISPATCHD_DATABASE__DSN=postgresql://pod:a%%40b@db/pod'\n"
        f"EnvironmentFile=-{variables}\nEnvironmentFile=-/nowhere\nEnvironment='unclosed\n"
    )

    assert parsed("poddispatchd@medicine.service", text, "medicine").environment == {
        "PODDISPATCHD_POD__TITLE_SITE": "Pod of medicine",
        "PODDISPATCHD_DATABASE__DSN": "postgresql://pod:a%40b@db/pod",
        "PODDISPATCHD_MAIL__HOST": "mail.example.org",
    }


def test_a_unit_that_is_not_strict_may_write_everywhere() -> None:
    assert parsed("poddispatchd.service", "[Service]\nUser=pod\n").may_write(Path("/srv/media"))


def test_links_are_followed_to_where_a_unit_may_write(tmp_path: Path) -> None:
    """A MEDIA_ROOT that is a link was called closed where its target is open, and the other way round."""
    data, linked = tmp_path / "data", tmp_path / "srv/media"
    for directory in (data / "media", linked.parent):
        directory.mkdir(parents=True)
    linked.symlink_to(data / "media")
    text = "[Service]\nProtectSystem=strict\nReadWritePaths={}\n"

    for place in (data, data / "media", linked):
        assert parsed("poddispatchd.service", text.format(place)).may_write(linked)
    assert not parsed("poddispatchd.service", text.format(linked.parent)).may_write(linked)
    (data / "circle").symlink_to(data / "circle")
    assert not parsed("poddispatchd.service", text.format(linked.parent)).may_write(data / "circle")


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (None, "poddispatchd.service"),
        (Path("/etc/poddispatchd/config.yaml"), "poddispatchd.service"),
        (Path("/etc/poddispatchd/medicine.yaml"), "poddispatchd@medicine.service"),
    ],
)
def test_the_unit_is_found_by_the_configuration(
    config: Path | None, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$3" = {asked} ] && printf "[Service]\\nUser=pod\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    unit = unit_of(config)

    assert unit is not None
    assert (unit.name, unit.user) == (asked, "pod")


@pytest.mark.parametrize(
    ("states", "is_forgotten"),
    [
        ("ActiveState=active\\nUnitFileState=disabled", True),
        ("ActiveState=inactive\\nUnitFileState=disabled", False),
        ("ActiveState=active\\nUnitFileState=enabled", False),
        ("ActiveState=active\\nUnitFileState=static", False),
    ],
)
async def test_a_unit_that_was_started_and_never_enabled_is_told(
    states: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_forgotten: bool
) -> None:
    """It was missed with the first restart of the machine."""
    program = tmp_path / "systemctl"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in cat) printf "[Service]\\nUser=root\\n";; '
        f'show) printf "{states}\\n";; *) exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    unit = unit_of(None)

    assert unit is not None
    found = [finding.words async for finding in _unit_findings(Settings(), unit)]
    assert any("'systemctl enable poddispatchd.service'" in words for words in found) is is_forgotten


@pytest.mark.parametrize(
    ("states", "is_down"),
    [
        ("ActiveState=failed\\nUnitFileState=enabled", True),
        ("ActiveState=inactive\\nUnitFileState=enabled", True),
        ("ActiveState=active\\nUnitFileState=enabled", False),
        ("ActiveState=activating\\nUnitFileState=enabled", False),
        ("ActiveState=inactive\\nUnitFileState=disabled", False),
    ],
)
async def test_a_unit_that_is_enabled_and_does_not_run_is_a_problem(
    states: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_down: bool
) -> None:
    """With a daemon that had ended, check found nothing wrong, and monitoring by it stayed green."""
    program = tmp_path / "systemctl"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in cat) printf "[Service]\\nUser=root\\n";; '
        f'show) printf "{states}\\n";; *) exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    unit = unit_of(None)

    assert unit is not None
    found = [finding async for finding in _unit_findings(Settings(), unit)]
    told = [item for item in found if "is enabled, and does not run" in item.words]
    assert [item.severity for item in told] == ([CheckLevel.PROBLEM] if is_down else [])


def test_a_drop_in_that_is_not_utf_8_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command of root ended in a traceback over an accent in somebody's comment."""
    program = tmp_path / "systemctl"
    text = "#!/bin/sh\nprintf '# de Ren\\351\\n[Service]\\nUser=pod\\nReadWritePaths=/srv/m\\351dias\\n'\n"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    unit = unit_of(None)

    assert unit is not None
    assert (unit.user, unit.writable) == ("pod", (Path(os.fsdecode(b"/srv/m\xe9dias")),))


@pytest.mark.parametrize("config", [Path("/tmp/try.yaml"), Path("try.yaml")])
def test_a_configuration_elsewhere_has_no_unit(config: Path) -> None:
    assert unit_of(config) is None


def test_without_systemd_there_is_no_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert unit_of(None) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_looks_with_its_own_rights_and_the_status_comes_back(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    tmp_path.chmod(0o700)

    def look() -> int:
        try:
            os.stat(tmp_path / "x")  # noqa: PTH116 - no module is to be imported as this user
        except PermissionError:
            return 3 if os.getuid() == nobody.pw_uid and os.getgroups() == [nobody.pw_gid] else 4
        except FileNotFoundError:
            return 5
        return 6

    assert run_as(nobody, look) == 3
    assert os.geteuid() == 0


_AS_WHOM = r"""
import asyncio, json, os, sys
from pathlib import Path
from poddispatchd.cli.unit import parsed, work_as_its_user
from poddispatchd.pod.media.tree import MediaTree
os.umask(0o077)
for user, media_root, settings in json.loads(sys.argv[1]):
    if os.fork():
        os.wait()
        continue
    unit = parsed("poddispatchd.service", f"[Service]\nUser={user}\n{settings}\n") if user else None
    words = asyncio.run(work_as_its_user(unit, MediaTree(Path(media_root))))
    groups, umask = os.getgroups(), f"{os.umask(0):03o}"
    print(os.geteuid(), os.getegid(), groups, umask, os.environ["HOME"], words, flush=True)
    break
"""


def _told(*cases: tuple[str, Path, str]) -> list[str]:
    """As whom root works by a unit, and what is said of it: by user, media tree and further settings."""
    told = json.dumps([(user, str(media_root), settings) for user, media_root, settings in cases])
    command = [sys.executable, "-c", _AS_WHOM, told]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_root_imports_as_the_user_of_the_unit(tmp_path: Path) -> None:
    """One pass that root typed left directories of root's, into which the daemon could not write any more."""
    nobody = pwd.getpwnam("nobody")
    foreign = tmp_path / "of another user"
    foreign.mkdir()
    os.chown(foreign, nobody.pw_uid, nobody.pw_gid)

    as_nobody, as_root, without, warned = _told(
        ("nobody", tmp_path, ""), ("root", tmp_path, ""), ("", tmp_path, ""), ("", foreign, "")
    )

    assert as_nobody.startswith(f"{nobody.pw_uid} {nobody.pw_gid} ")
    assert as_nobody.endswith(f" {nobody.pw_dir} None")
    assert as_root.startswith("0 0 ")
    # Without a unit nobody knows whom to become.
    assert without.endswith(" None")
    assert warned.startswith("0 0 ")
    assert "what is imported will be, and Pod cannot write" in warned


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_what_root_imports_is_of_the_units_groups_and_umask(tmp_path: Path) -> None:
    """It was of Pod's own group, and under root's umask: the web server could not read it.

    By one of the further groups the daemon may write to the media tree: a pass found that it could not.
    """
    nobody, group = pwd.getpwnam("nobody"), grp.getgrnam("www-data").gr_gid
    who, by_number = f"{nobody.pw_uid} {group} [{group}]", str(nobody.pw_uid)
    further = "SupplementaryGroups=audio\nSupplementaryGroups=\nSupplementaryGroups=www-data 4711 none-such"

    by_name, of_the_group, in_letters, of_the_number, in_groups = _told(
        ("nobody", tmp_path, "Group=www-data"),
        ("nobody", tmp_path, f"Group={group}\nUMask=0007"),
        ("nobody", tmp_path, "UMask=u=rwx"),
        (by_number, tmp_path, "Group=www-data"),
        ("nobody", tmp_path, further),
    )

    assert by_name.startswith(f"{who} 022 ")
    assert of_the_group.startswith(f"{who} 007 ")
    assert in_letters.startswith(f"{nobody.pw_uid} {nobody.pw_gid} ")
    assert of_the_number.startswith(f"{who} 022 ")
    groups = sorted({nobody.pw_gid, group, 4711})
    assert in_groups.startswith(f"{nobody.pw_uid} {nobody.pw_gid} {groups} 022 ")


def test_a_unit_in_a_group_that_this_machine_does_not_know_has_no_account() -> None:
    assert Unit("poddispatchd.service", user="nobody", group="no-such-group").account is None


async def test_who_is_not_root_stays_who_he_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert await work_as_its_user(Unit("poddispatchd.service", user="nobody"), MediaTree(tmp_path)) is None


async def test_a_file_server_that_does_not_answer_keeps_nobody_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes that CRON starts as root would have piled up."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    answers = threading.Event()
    monkeypatch.setattr(MediaPath, "opened", lambda _: answers.wait(60))
    try:
        assert await work_as_its_user(None, MediaTree(tmp_path, limits=FileTimeouts(look=0.05))) is None
    finally:
        answers.set()
