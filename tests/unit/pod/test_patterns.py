"""PostgreSQL seeks patterns under some collations only, and a DBA may give Pod's texts another one."""

import re
from collections.abc import Iterator

from tests.unit.sources import PACKAGE

_SEEKS = re.compile(
    r"\bI?LIKE\b|\bSIMILAR TO\b|\s!?~\*?\s|\b(?:strpos|starts_with|split_part|regexp_\w+)\("
    r"|\bposition\(.* IN |\bsubstring\(.* FROM '"
)
_COLLATED = re.compile(r'COLLATE "(?:C|default)"')
_LINES = 3
"""Lines of such an expression, at most."""

_OF_POSTGRESQL = re.compile(r"attname LIKE|pg_get_ruledef")
"""Its own texts have none that a DBA could change."""


def _seeking() -> Iterator[str]:
    for file in sorted(PACKAGE.rglob("*.sql")):
        lines = [line.partition("--")[0] for line in file.read_text(encoding="utf-8").splitlines()]
        for number, line in enumerate(lines):
            if _SEEKS.search(line) and not _OF_POSTGRESQL.search(line):
                yield f"{file.name}: {' '.join(lines[number : number + _LINES])}"


def test_every_pattern_is_sought_under_a_collation_that_allows_it() -> None:
    """LIKE in a column without one that is deterministic is refused (0A000): no result was imported."""
    found = list(_seeking())
    assert len(found) >= 5
    assert [each for each in found if not _COLLATED.search(each)] == []
