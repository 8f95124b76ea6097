"""A wrong clock is made in the one place where the daemon reads the time of the day."""

import ast
from collections.abc import Iterator

from tests.unit.sources import Source, of_the_product

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


def _reads(source: Source) -> Iterator[int]:
    for node in source.nodes:
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and (node.value.id, node.attr) in _READS
        ):
            yield node.lineno


def test_the_daemon_reads_its_wall_clock_in_one_place() -> None:
    readers = {source.name for source in of_the_product() if any(_reads(source))}
    assert readers == _ALLOWED.keys()
