"""Results that hold what no runner should write: they end in words as well, and hold nobody else up."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.errors import ResultRefusedError
from poddispatchd.imports.preparation import Preparation
from poddispatchd.sandbox.fake_runner_manager import Behaviour, Mode
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


def info(**changes: object) -> dict[str, bytes | None]:
    """An ``info_video.json`` that is whole but for some changes."""
    document: Mapping[str, object] = {
        "duration": 4,
        "codec": "h264",
        "encode_result": True,
        "has_stream_video": True,
        "has_stream_audio": False,
        "has_stream_thumbnail": False,
        "encode_video": [
            {"encoding_format": "video/mp4", "rendition": "640x360", "filename": "360p_source.mp4"}
        ],
        **changes,
    }
    return {"info_video.json": json.dumps(document).encode()}


UNSTORABLE = "\ud800 \x00 \x1b[31m " + "x" * 300
WHOLE = {"encoding_format": "video/mp4", "rendition": "640x360", "filename": "360p_source.mp4"}


@pytest.mark.parametrize(
    "changes",
    [
        {"encode_video": [{**WHOLE, "filename": "\ud800.mp4"}]},
        {"encode_video": [{**WHOLE, "rendition": UNSTORABLE}]},
        {"encode_video": [WHOLE, {**WHOLE, "encoding_format": "video/x", "filename": "\ud800.mp4"}]},
        {"has_stream_thumbnail": True, "encode_thumbnail": {"filename": "\ud800.png"}},
        {"encode_overview": {"vtt_filename": "\ud800.vtt"}},
        {"encode_result": False, "error": UNSTORABLE},
        {"duration": UNSTORABLE},
        {"encode_video": [WHOLE] * 1001},
    ],
    ids=["name", "rendition", "unknown format", "thumbnail", "overview", "error", "duration", "too much"],
)
async def test_words_that_no_database_stores_end_a_task_in_words(
    here: Bench, changes: dict[str, object]
) -> None:
    """Such a result was once downloaded again and again, since its refusal could not be written."""
    task = await here.ready(behaviour=Behaviour(files=info(**changes)))
    await here.import_due()

    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("failed", 1)
    assert reason is not None
    assert len(reason) < 500
    assert f"Its result cannot be imported: {reason}" in await here.words(task)


@pytest.mark.parametrize("name", ["playlist.m3u8/a.mp4", "Playlist.M3U8/sub/a.mp4", "encoding.log/a.mp4"])
@pytest.mark.parametrize("kind", [TaskType.ENCODING, TaskType.STUDIO])
async def test_a_file_below_one_of_ours_is_left_out(here: Bench, name: str, kind: TaskType) -> None:
    """Its directory stood where ours is written: it was taken for trouble of the disk, for ever."""
    task = await here.ready(kind, Behaviour(files={name: b"film", "encoding.log": None}))
    await here.import_due()

    assert (await here.imports_of(task), await here.status(task)) == ([("done", 1, None)], "completed")
    assert not here.parts.media_health.problems
    log = await here.value("SELECT log FROM video_encode_transcript_encodinglog ORDER BY id DESC LIMIT 1")
    assert f"'{name}' was left out: it lies below a file that is written beside the result." in log


async def test_an_error_that_quotes_what_no_database_stores_ends_in_words_too(
    here: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quote(*_: object) -> None:
        raise ResultRefusedError("Line 3 says \0 and \ud800.")

    monkeypatch.setattr(Preparation, "prepare", quote)
    task = await here.ready()
    await here.import_due()

    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts, reason) == ("failed", 1, "Line 3 says  and \N{REPLACEMENT CHARACTER}.")
