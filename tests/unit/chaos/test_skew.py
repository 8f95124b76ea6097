"""A wrong clock is made in the one place where the daemon reads the time of the day."""

import ast
from collections.abc import Iterator
from pathlib import Path

import poddispatchd

_READS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "gmtime"),
    ("time", "localtime"),
}

_ALLOWED = {
    "clock.py": "the one place",
    "notify/webpush.py": "check signs something to see whether the key can sign",
}


def _reads(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in _READS
        ):
            yield node.lineno


def test_the_daemon_reads_its_wall_clock_in_one_place() -> None:
    root = Path(poddispatchd.__file__).parent
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}
    readers = {name for name, path in files.items() if not name.startswith("sandbox/") and any(_reads(path))}
    assert readers == _ALLOWED.keys()
