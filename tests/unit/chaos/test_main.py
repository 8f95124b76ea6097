"""``python -m chaos``: the seed comes first, and the exit status tells whether anything was violated."""

from pathlib import Path

import pytest

from chaos import __main__ as command
from chaos import pgbouncer
from chaos.campaign import Plan, Result
from chaos.violation import Violation


def _campaign(monkeypatch: pytest.MonkeyPatch, *violations: Violation) -> list[tuple[Plan, Path]]:
    """Stand in for the campaign itself; the list gets what was asked for."""
    asked = []

    async def run(plan: Plan, directory: Path, *, tell: bool = False) -> Result:
        assert tell
        asked.append((plan, directory))
        return Result(plan, list(violations), [], {}, {}, [], {}, 1.0, 1.0, [])

    monkeypatch.setattr(command, "run", run)
    return asked


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["chaos", *arguments])
    return command.main()


def test_a_campaign_without_a_violation_succeeds_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = _campaign(monkeypatch)
    assert _call(monkeypatch, "--seed", "7", "--tasks", "12", "--minutes", "0.5", "--drills", "3") == 0
    [(plan, directory)] = asked
    assert (plan.seed, plan.tasks, plan.minutes, plan.drills) == (7, 12, 0.5, 3)
    assert not directory.exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "seed 7"
    assert lines[-1] == "no violation (seed 7)"


def test_a_violation_is_the_exit_status_and_its_logs_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _campaign(monkeypatch, Violation("lost", "task 3 has no row any more"))
    assert _call(monkeypatch, "--keep", str(tmp_path)) == 1
    told = capsys.readouterr().out
    assert "VIOLATION (lost): task 3 has no row any more" in told
    assert str(tmp_path) in told
    assert tmp_path.is_dir()


def test_without_a_seed_a_random_one_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = _campaign(monkeypatch)
    for _ in range(2):
        _call(monkeypatch, "--keep", str(tmp_path))
    first, second = (plan.seed for plan, _ in asked)
    assert first != second
    assert f"seed {first}" in capsys.readouterr().out.splitlines()


def test_without_asking_there_is_no_pooler(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _campaign(monkeypatch)
    monkeypatch.setattr(pgbouncer, "installed", lambda: (Path("/usr/sbin/pgbouncer"), ""))
    for arguments in ([], ["--pooler", "session"], ["--pooler", "transaction"]):
        assert _call(monkeypatch, *arguments) == 0
    assert [plan.pooler for plan, _ in asked] == [None, "session", "transaction"]


def test_a_file_server_and_an_older_release_are_there_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = _campaign(monkeypatch)
    for arguments in ([], ["--file-server"], ["--from", str(tmp_path)]):
        assert _call(monkeypatch, *arguments) == 0
    assert [(plan.file_server, plan.older) for plan, _ in asked] == [
        (False, None),
        (True, None),
        (False, tmp_path.resolve()),
    ]


def test_where_pgbouncer_is_missing_it_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = _campaign(monkeypatch)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr(pgbouncer, "_UNPACKED", tmp_path)
    with pytest.raises(SystemExit) as ended:
        _call(monkeypatch, "--pooler", "session")
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "make pgbouncer" in told
    assert "apt-get install pgbouncer" in told
    assert not asked
