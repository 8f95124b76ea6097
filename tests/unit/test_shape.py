"""The shape of the package: what is lost a line at a time."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]
_MODULES = sorted((_ROOT / "poddispatchd").rglob("*.py"))

_MOST_LINES = 300
_LONGER = {"poddispatchd/sandbox/pod/seed.py"}
"""The rows of a whole Pod: data."""


def test_a_module_has_one_job_and_few_lines() -> None:
    long = {path for path in _MODULES if len(path.read_text(encoding="utf-8").splitlines()) > _MOST_LINES}
    assert {path.relative_to(_ROOT).as_posix() for path in long} == _LONGER
