"""Pod is upgraded under the daemon: finished results wait for whoever mends it, uncounted and told (I16)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.app.checks import CheckLevel, run_checks
from poddispatchd.domain.task import TaskType
from poddispatchd.runtime.jobs import Progress
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_WANTED = (
    "ALTER TABLE video_video ADD COLUMN is_nouveau boolean NOT NULL DEFAULT false;"
    "ALTER TABLE video_video ALTER COLUMN is_nouveau DROP DEFAULT",
    "ALTER TABLE video_video ALTER COLUMN is_nouveau SET DEFAULT false",
    "is_nouveau",
)
_RENAMED = (
    "ALTER TABLE video_encode_transcript_encodinglog RENAME COLUMN log TO journal",
    "ALTER TABLE video_encode_transcript_encodinglog RENAME COLUMN journal TO log",
    "log",
)


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, changes={"imports": {"max_attempts": 2}}) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "change"), [(TaskType.STUDIO, _WANTED), (TaskType.ENCODING, _RENAMED)], ids=["wanted", "renamed"]
)
async def test_a_result_waits_until_the_tables_are_as_they_must_be(
    here: Bench, kind: TaskType, change: tuple[str, str, str]
) -> None:
    upgrade, mend, column = change
    task = await here.ready(kind)
    await here.execute(upgrade)
    for _ in range(4):
        here.clock.ahead += 61
        await here.import_again()
    assert await here.status(task) == "running"
    [(state, attempts, words)] = await here.imports_of(task)
    assert (state, attempts) == ("open", 0)
    assert column in str(words)
    problems = features.status(here.parts).state(Progress()).problems
    assert any(column in problem for problem in problems)
    found = [finding async for finding in run_checks(here.parts.settings) if column in finding.words]
    assert CheckLevel.PROBLEM in {finding.severity for finding in found}

    await here.execute(mend)
    here.clock.ahead += 61
    await here.import_again()
    here.clock.ahead += 61
    await here.import_again()
    assert await here.status(task) == "completed"
