"""``check`` tells when the clock of this machine and the database's do not agree."""

import pytest

from poddispatchd.app.database_checks import clock_findings
from poddispatchd.app.findings import CheckLevel
from tests.integration.dispatch.scene import HandClock
from tests.integration.pod.rows import opened
from tests.plugins.postgres import PodDatabase


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7_205, "is 2 h 00 min ahead of the database's"), (-7_150, "is 1 h 59 min behind the database's")],
)
async def test_clocks_that_do_not_agree_are_told(pod_database: PodDatabase, seconds: int, words: str) -> None:
    """Windows opened two hours early, and nothing showed why."""
    clock = HandClock()
    clock.advance(seconds)
    async with opened(pod_database) as database:
        [found] = await clock_findings(database, clock)
    assert found.severity is CheckLevel.NOTE
    assert words in found.words


async def test_clocks_that_agree_are_no_matter(pod_database: PodDatabase) -> None:
    async with opened(pod_database) as database:
        assert await clock_findings(database, HandClock()) == []
