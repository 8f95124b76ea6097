"""The ``logger`` of a line is the module that writes it: filters of the journal name it."""

import re
from pathlib import Path

from tests.unit.sources import sources

_CHANGELOG = Path(__file__).resolve().parents[3] / "CHANGELOG.md"
_ROW = re.compile(r"^\| (?P<before>`[^|]+) \| (?P<now>[^|]+) \|$", re.MULTILINE)
_NAME = re.compile(r"`([a-z_.]+)`")


def test_the_table_of_renamed_loggers_leads_to_loggers_that_are_there() -> None:
    table = (
        _CHANGELOG.read_text(encoding="utf-8").partition("| `logger` before | now |")[2].partition("\n\n")[0]
    )
    rows = list(_ROW.finditer(table))
    loggers = {
        source.name.removesuffix(".py").replace("/", ".")
        for source in sources()
        if "get_logger(__name__)" in source.text
    }

    assert len(rows) > 20
    assert {name for row in rows for name in _NAME.findall(row["now"])} - loggers == set()
    assert {name for row in rows for name in _NAME.findall(row["before"])} & loggers == set()
