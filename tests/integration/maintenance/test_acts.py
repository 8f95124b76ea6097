"""One line for each act of a person, whenever its transaction ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk
from poddispatchd.journal import acts
from poddispatchd.journal.acts import Act
from poddispatchd.maintenance.known_rows import KnownRows
from poddispatchd.observability.events import Event
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def test_an_act_that_is_committed_after_a_later_one_is_told_as_well(here: Bench) -> None:
    """A restart of many waits for rows that are held: nobody looked below the last act that was known."""
    look = features.maintenance(here.parts).counter.look
    await look()
    with capture_logs() as lines:
        async with here.pod.connection() as other, other.transaction():
            await acts.record(other, Act.RESTART, "a person", task=TaskPk(7))
            async with here.pod.connection() as one:
                await acts.record(one, Act.CANCEL, "another", task=TaskPk(8))
            await look()
        await look()
        await look()

    told = [line["task"] for line in lines if line["event"] == Event.PERSON_ACTED]
    assert told == [8, 7]


async def test_many_acts_take_no_longer_the_more_are_known(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that were known were gone through for each: a thousand beside ten thousand held up everything."""
    gone_through: list[int] = []
    saw = KnownRows.saw

    def counted(known: KnownRows, *rows: int) -> None:
        gone_through.append(len(known.seen))
        saw(known, *rows)

    monkeypatch.setattr(KnownRows, "saw", counted)
    look = features.maintenance(here.parts).counter.look
    await look()
    async with here.pod.connection() as connection:
        for task in range(20):
            await acts.record(connection, Act.RESTART, "a person", task=TaskPk(task))
    with capture_logs() as lines:
        await look()

    assert len([line for line in lines if line["event"] == Event.PERSON_ACTED]) == 20
    # Of the tasks that ended, and of the acts.
    assert gone_through == [0, 0]
