"""What ``dpkg --purge`` deletes: what the package's commands and manual made, nothing of anybody else's."""

import os
import subprocess
from pathlib import Path

_POSTRM = Path(__file__).parents[3] / "packaging" / "postrm"
_OURS = (
    *("config.yaml", "config.yaml~", "config.yaml.bak", "config.yaml.dpkg-old", ".config.yaml.swp"),
    *("database.dsn", "database.dsn.save"),
)
_OTHERS = ("another.dsn", "ca.pem", "config.yaml.of-last-year", "mail.password", "medicine.yaml")


def _purge(root: Path) -> str:
    environ = {**os.environ, "DPKG_ROOT": str(root)}
    return subprocess.run(
        ["/bin/sh", _POSTRM, "purge"], env=environ, capture_output=True, text=True, check=True
    ).stdout


def test_files_of_others_stay_and_are_named(tmp_path: Path) -> None:
    """Every configuration and address that lay there was deleted, whoever had made it."""
    etc, drop_ins = tmp_path / "etc/poddispatchd", tmp_path / "etc/systemd/system/poddispatchd.service.d"
    for directory in (etc, drop_ins):
        directory.mkdir(parents=True)
    for name in (*_OURS, *_OTHERS):
        (etc / name).touch()
    (drop_ins / "override.conf").touch()

    told = _purge(tmp_path)

    assert sorted(each.name for each in etc.iterdir()) == sorted(_OTHERS)
    stay = [*(etc / name for name in _OTHERS), drop_ins / "override.conf"]
    assert [line.strip() for line in told.splitlines() if line.startswith(f"  {tmp_path}")] == list(
        map(str, stay)
    )


def test_nothing_is_left_where_nobody_else_has_put_anything(tmp_path: Path) -> None:
    etc = tmp_path / "etc/poddispatchd"
    etc.mkdir(parents=True)
    for name in _OURS:
        (etc / name).touch()

    assert "stay; there may be passwords" not in _purge(tmp_path)
    assert not etc.exists()
