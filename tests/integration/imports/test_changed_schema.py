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


_RULED = (
    "CREATE RULE audit AS ON INSERT TO completion_track DO ALSO NOTIFY audit",
    "DROP RULE audit ON completion_track",
    "audit",
)


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, changes={"imports": {"max_attempts": 2}}) as made:
        yield made


@pytest.mark.parametrize(
    ("kind", "change"),
    [(TaskType.STUDIO, _WANTED), (TaskType.ENCODING, _RENAMED)],
    ids=["wanted", "renamed"],
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
    assert column in _problems(here)
    found = [finding async for finding in run_checks(here.parts.settings) if column in finding.words]
    assert CheckLevel.PROBLEM in {finding.severity for finding in found}

    await here.execute(mend)
    here.clock.ahead += 61
    await here.import_again()
    here.clock.ahead += 61
    await here.import_again()
    assert await here.status(task) == "completed"


async def test_what_the_catalogue_does_not_know_is_told_as_the_refusal_that_it_is(here: Bench) -> None:
    """A result waited for ever, and neither the status nor the metrics had a word of it."""
    task = await here.ready(TaskType.TRANSCRIPTION)
    await here.execute(
        "CREATE DOMAIN wanted AS text CHECK (VALUE <> '') NOT NULL;"
        "ALTER TABLE completion_track ADD COLUMN plugin wanted"
    )
    await here.import_again()

    assert (await here.imports_of(task))[0][:2] == ("open", 0)
    assert f"The writing of a result fails (task {task})" in _problems(here)

    await here.execute("ALTER TABLE completion_track DROP COLUMN plugin")
    here.clock.ahead += 61
    await here.import_again()
    assert await here.status(task) == "completed"
    assert "The writing of a result" not in _problems(here)


async def test_a_rule_is_named_and_no_more_when_it_is_gone(here: Bench) -> None:
    """That a right was missing was told until the daemon was started anew."""
    make, drop, name = _RULED
    task = await here.ready(TaskType.TRANSCRIPTION)
    await here.execute(make)
    await here.import_again()

    assert f"completion_track, for it has rules ({name})" in _problems(here)

    await here.execute(drop)
    here.clock.ahead += 61
    await here.import_again()
    await features.maintenance(here.parts).step()
    assert await here.status(task) == "completed"
    assert "rules" not in _problems(here)


async def test_a_recording_never_gets_the_id_of_another_video(here: Bench) -> None:
    """Where the sequence stood behind the rows, as after a restore, the result was fetched every second for
    ever, its files were put into the folder of a video of the same owner, and nothing told of it."""
    video = await here.video(encoded=True)
    await here.import_due()
    before = await _files_and_rows(here, video.id)
    await here.execute(f"SELECT setval(pg_get_serial_sequence('video_video', 'id'), {video.id}, false)")
    task = await here.ready(TaskType.STUDIO)
    await here.import_again()
    assert await here.status(task) == "running"
    assert "a new row of video_video is taken" in str((await here.imports_of(task))[0][2])

    # The sequence has moved on by one; another look takes the next id.
    here.clock.ahead += 61
    await here.import_again()
    assert await here.status(task) == "completed"
    assert await _files_and_rows(here, video.id) == before


def _problems(here: Bench) -> str:
    return " ".join(features.status(here.parts).state(Progress()).problems)


async def _files_and_rows(here: Bench, video: int) -> tuple[dict[str, bytes], str]:
    root = here.world.media_root
    [folder] = [path for path in root.rglob(f"{video:04d}") if path.is_dir()]
    rows = await here.value(
        "SELECT string_agg(source_file, ' ' ORDER BY source_file)"
        " FROM video_encode_transcript_encodingvideo WHERE video_id = $1",
        video,
    )
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}, rows
