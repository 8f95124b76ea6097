"""What an import costs the database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import TaskType
from poddispatchd.errors import RaceLostError
from poddispatchd.imports import queue
from poddispatchd.imports.queue import ImportJob
from poddispatchd.pod import trigger
from poddispatchd.runtime.database_session import CHANNEL
from poddispatchd.runtime.queue_tables import IMPORTS
from tests.integration.counting import counted
from tests.integration.imports.bench import Bench, bench, idle
from tests.plugins.postgres import PodDatabase

_LOOK = 2
"""Statements of the importer's look: a claim, for several imports, and when the next one is due."""

_RECORDING = 6
"""Further ones of a studio task: the id and row of its video, tags read and linked, groups, known files."""


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "most"),
    [(TaskType.ENCODING, 12), (TaskType.TRANSCRIPTION, 12), (TaskType.STUDIO, 12 + _RECORDING)],
)
async def test_one_import_takes_few_statements_and_transactions(
    here: Bench, monkeypatch: pytest.MonkeyPatch, kind: TaskType, most: int
) -> None:
    costs = []
    for _ in range(3):  # the later ones find everything read that is read now and then
        task = await here.ready(kind)
        importer = features.importer(here.parts)
        with counted(monkeypatch) as cost:
            await importer.step()
            await idle(importer)
        assert await here.status(task) == "completed"
        costs.append(cost)
    assert min(len(cost.statements) for cost in costs) <= _LOOK + most
    # The claim, what is about to be put in place, what is not obsolete any more, and the commit point.
    assert min(cost.transactions for cost in costs) <= 4 + (kind is TaskType.STUDIO)


async def test_an_encoding_that_replaces_another_takes_no_more(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = await here.video(encoded=True)
    await here.import_due()
    task = await here.ready(video=video)
    importer = features.importer(here.parts)
    with counted(monkeypatch) as cost:
        await importer.step()
        await idle(importer)
    assert await here.status(task) == "completed"
    rows = [query for query in cost.statements if "encodingvideo AS row" in query]
    assert len(rows) == 1


async def test_a_recording_gets_one_video_id_however_often_it_is_tried(here: Bench) -> None:
    for _ in range(2):
        await here.ready(TaskType.STUDIO)
    async with here.parts.database.connection() as connection:
        jobs = [ImportJob.of(item) for item in await IMPORTS.claim(connection, "one", 9)]
        first, second = [await queue.reserve_video(connection, job) for job in jobs]
        assert [await queue.reserve_video(connection, job) for job in jobs] == [first, second]
        known = {row["id"] for row in await connection.fetch("SELECT id FROM video_video")}
        assert len({first, second} - known) == 2
        await IMPORTS.release_owner(connection, "one")
        with pytest.raises(RaceLostError):
            await queue.reserve_video(connection, jobs[0])


async def test_an_import_announces_no_task_unless_a_transcription_follows(
    here: Bench, pod_database: PodDatabase
) -> None:
    """A statement that might have added one woke the dispatcher, which read the queue after each import."""
    await trigger.install(here.parts.database)
    heard: list[object] = []
    async with pod_database.connection() as listener:
        await listener.add_listener(CHANNEL, lambda *told: heard.append(told[-1]))
        for language, announced in (("", []), ("fr", [""])):
            video = await here.video()
            await here.execute("UPDATE video_video SET transcript = $2 WHERE id = $1", video.id, language)
            task = await here.ready(video=video)
            await listener.execute("SELECT 1")
            heard.clear()
            await here.import_due()
            await listener.execute("SELECT 1")
            assert (await here.status(task), heard) == ("completed", announced)
