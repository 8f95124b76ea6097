"""What browsers and web servers would run never lies in Pod's media tree, whatever a runner sends."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.domain.task import TaskType
from poddispatchd.sandbox.fake_runner_manager import Behaviour, Mode
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

HTML = b"<!doctype html><script>alert(document.cookie)</script>"
PLAYLIST = "#EXTM3U\n#EXTINF:2,\n#EXT-X-BYTERANGE:100@0\n{}\n#EXT-X-ENDLIST\n"


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root, mode=Mode.SHARED) as made:
        yield made


async def imported(here: Bench, files: dict[str, bytes | None], kind: TaskType = TaskType.ENCODING) -> str:
    """The status of a task whose result holds these files besides or instead of its own."""
    task = await here.ready(kind, Behaviour(files=files))
    await here.import_due()
    return f"{await here.status(task)}: {await here.words(task)}"


async def test_files_that_no_result_needs_are_left_out_and_named_in_the_log(here: Bench) -> None:
    odd: dict[str, bytes | None] = {
        "evil.html": HTML,
        "shell.php": b"<?php system($_GET[0]);",
        ".htaccess": b"AddHandler application/x-httpd-php .txt",
        "picture.svg": b"<svg onload='alert(1)'/>",
        "notes.txt": b"\xef\xbb\xbf \n<script>alert(1)</script>",
        "encoding.log": HTML,
        "honest.txt": b"100 % <b>fine</b>",
    }
    assert (await imported(here, odd)).startswith("completed")

    names = {name.rpartition("/")[2] for name in here.files()}
    assert not names & (odd.keys() - {"honest.txt", "encoding.log"})
    assert {"honest.txt", "encoding.log"} <= names
    assert not [name for name, content in here.files().items() if b"alert(" in content]
    log = await here.value("SELECT log FROM video_encode_transcript_encodinglog ORDER BY id DESC LIMIT 1")
    for said in ("'evil.html' was left out", "'.htaccess' was left out: it begins with a dot", "'notes.txt'"):
        assert said in log
    assert "<script>" not in log


async def test_a_file_whose_path_no_column_of_pod_holds_is_left_out_unless_it_is_needed(here: Bench) -> None:
    """A text beside the videos, with a long name, failed the whole encoding."""
    long = f"{'subtitles-of-the-second-camera-' * 7}.txt"
    assert (await imported(here, {long: b"words"})).startswith("completed")
    assert not [name for name in here.files() if "second-camera" in name]
    log = await here.value("SELECT log FROM video_encode_transcript_encodinglog ORDER BY id DESC LIMIT 1")
    assert "was left out: it would have a path of more than 255 characters in Pod." in log

    task = await here.ready()
    record = here.fake.tasks[await here.of(task, "task_id")]
    assert record.files is not None
    info = json.loads(record.files["info_video.json"])
    entry = next(each for each in info["encode_video"] if each["filename"].endswith(".mp4"))
    video, entry["filename"] = entry["filename"], f"360p_{'x' * 200}.mp4"
    record.files[entry["filename"]] = record.files.pop(video)
    record.files["info_video.json"] = json.dumps(info).encode()
    await here.import_due()
    assert await here.status(task) == "failed"
    assert "would have a path of more than 255 characters in Pod" in await here.words(task)


@pytest.mark.parametrize(("pages", "taken"), [((0,), "un-cours_1.png"), ((0, 1, 2), None)])
async def test_a_page_under_the_name_of_a_thumbnail_is_never_one(
    here: Bench, pages: tuple[int, ...], taken: str | None
) -> None:
    """The next picture of the result is, where there is any."""
    files: dict[str, bytes | None] = {f"un-cours_{number}.png": HTML for number in pages}
    task = await here.ready(behaviour=Behaviour(files=files))
    await here.import_due()

    video = await here.of(task, "video_id")
    assert await here.status(task) == "completed"
    found = await here.value(
        "SELECT (SELECT file FROM podfile_customimagemodel WHERE id = thumbnail_id) FROM video_video"
        " WHERE id = $1",
        video,
    )
    assert (found and found.rpartition("/")[2]) == taken
    assert not [name for name, content in here.files().items() if HTML in content]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"360p_un-cours.mp4": HTML},
            "360p_un-cours.mp4 (the video in 640x360) begins as a page or a script does",
        ),
        (
            {"360p_un-cours.m3u8": PLAYLIST.format("http://evil.test/a.ts").encode()},
            "is not relative",
        ),
        ({"360p_un-cours.m3u8": PLAYLIST.format("file:///etc/passwd").encode()}, "is not relative"),
        (
            {"360p_un-cours.m3u8": PLAYLIST.format("../../a.ts").encode()},
            "leaves the result's directory",
        ),
        (
            {
                "360p_un-cours.m3u8": PLAYLIST.format(
                    '#EXT-X-KEY:METHOD=AES-128,\vURI="http://evil.test/k"\na.ts'
                ).encode()
            },
            "holds a control character",
        ),
        (
            {
                "360p_un-cours.m3u8": PLAYLIST.format(
                    '#EXT-X-DATERANGE:ID="a",X-ASSET-LIST="http://evil.test/"\na.ts'
                ).encode()
            },
            "begins with a tag that no result needs",
        ),
        ({"/".join(["a"] * 300) + ".ts": b""}, "lies in too many directories"),
        ({"overview.png": b"GIF89a"}, "overview.png (the overview) is no PNG, JPEG or WebP picture"),
        (
            {"overview.vtt": b"WEBVTT\n\n00:00.000 --> 00:01.000\nhttp://evil.test/o.png#xywh=0,0,1,1\n"},
            "overview.vtt (the overview) names a picture whose address is not relative",
        ),
    ],
    ids=[
        "page as video",
        "playlist elsewhere",
        "playlist of a file",
        "playlist above",
        "attribute behind a line end of Unicode",
        "attribute of advertisements",
        "directories",
        "picture",
        "overview",
    ],
)
async def test_a_result_that_needs_what_must_not_come_in_is_refused_once_in_words(
    here: Bench, files: dict[str, bytes | None], words: str
) -> None:
    video = await here.video(encoded=True)
    before = here.files()
    task = await here.ready(behaviour=Behaviour(files=files), video=video)
    await here.import_due()

    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts, await here.status(task)) == ("failed", 1, "failed")
    assert reason is not None
    assert words in reason
    assert here.files() == before


async def test_captions_are_written_anew_with_what_webvtt_knows(here: Bench) -> None:
    captions = (
        b"WEBVTT <script>\n\nSTYLE\n::cue { background: url(http://evil.test/a) }\n\n"
        b"00:00.000 --> 00:01.000\n<img src=x onerror=alert(1)><i>Oui</i>\n"
    )
    assert (await imported(here, {"un-cours.vtt": captions}, TaskType.TRANSCRIPTION)).startswith("completed")

    [stored] = [content for name, content in here.files().items() if "/subtitle_" in name]
    assert stored == b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<i>Oui</i>\n"


@pytest.mark.parametrize("piece", [b"<", b"-->", b"<1"])
async def test_captions_that_take_for_ever_to_clean_are_refused_within_seconds(
    here: Bench, piece: bytes
) -> None:
    """Their cleaning once took time by the square of their length, and let nobody else go on meanwhile."""
    captions = b"WEBVTT\n\n00:00.000 --> 00:01.000\na\n\n" + piece * (2**21 // len(piece)) + b">\n"
    begun = time.process_time()
    assert (await imported(here, {"un-cours.vtt": captions}, TaskType.TRANSCRIPTION)).startswith("failed")
    assert time.process_time() - begun < 30


async def test_a_result_with_more_text_than_a_lecture_has_is_refused_before_it_is_read(here: Bench) -> None:
    """Thousands of hostile captions, each of some seconds, kept an import and a processor for hours."""
    files: dict[str, bytes | None] = {
        f"more-{number}.vtt": b"WEBVTT\n\n" + b"00:00.000 --> 00:01.000\na\n\n" * 150_000
        for number in range(9)
    }
    begun = time.process_time()
    assert "more than 32 MiB together" in await imported(here, files)
    assert time.process_time() - begun < 30


@pytest.mark.parametrize(
    "name", [".x.m3u8.poddispatchd", "360p_un-cours.m3u8.poddispatchd", ".poddispatchd/subtitles.vtt"]
)
async def test_no_name_of_a_result_reaches_a_file_of_our_own(here: Bench, name: str) -> None:
    """A file under the name of a temporary one of ours once replaced a playlist that had been checked."""
    assert (await imported(here, {name: b"#EXTM3U\nhttp://evil.test/a.ts\n"})).startswith("completed")
    assert not [content for content in here.files().values() if b"evil.test" in content]


@pytest.mark.parametrize("name", ["é" * 127 + ".ts", "é" * 128, "日" * 90 + ".txt"])
async def test_a_name_that_is_too_long_in_bytes_is_refused_at_once(here: Bench, name: str) -> None:
    """It was once tried again and again, with the words that the disk cannot be written."""
    task = await here.ready(behaviour=Behaviour(files={name: b"x"}))
    await here.import_due()

    [(state, attempts, reason)] = await here.imports_of(task)
    assert (state, attempts) == ("failed", 1)
    assert reason is not None
    assert "is too long" in reason
    assert not here.parts.media_health.problems


async def test_lost_captions_are_told_in_the_log_of_the_video_and_to_admins(here: Bench) -> None:
    captions = b"WEBVTT\n\n00:00.000 --> 00:01.000\nUn\n\n1h05 --> 1h06\nDeux\n"
    assert (await imported(here, {"un-cours.vtt": captions}, TaskType.TRANSCRIPTION)).startswith("completed")

    said = "1 of 2 captions in un-cours.vtt could not be read: line 6"
    assert said in await here.value("SELECT log FROM video_encode_transcript_encodinglog")
    assert said in await here.value("SELECT words FROM poddispatchd.notice")


async def test_a_contradiction_is_imported_and_told_to_admins_once(here: Bench) -> None:
    """Flags that deny the renditions once made an import delete what could be watched."""
    video = await here.video(encoded=True)
    info = {
        "duration": 4,
        "codec": "h264",
        "encode_result": True,
        "has_stream_video": False,
        "has_stream_thumbnail": False,
        "encode_video": [
            {"encoding_format": "video/mp4", "rendition": "640x360", "filename": "360p_un-cours.mp4"}
        ],
        "encode_audio": [{"encoding_format": "audio/mp3", "filename": "audio_192k_un-cours.mp3"}],
    }
    files: dict[str, bytes | None] = {"info_video.json": json.dumps(info).encode()}
    task = await here.ready(behaviour=Behaviour(files=files), video=video)
    await here.import_due()

    assert await here.status(task) == "completed"
    rows = await here.value(
        "SELECT array_agg(source_file::text) FROM video_encode_transcript_encodingvideo WHERE video_id = $1",
        video.id,
    )
    assert [path.rpartition("/")[2] for path in rows] == ["360p_un-cours.mp4"]
    assert await here.value("SELECT is_video FROM video_video WHERE id = $1", video.id)
    words = await here.value("SELECT words FROM poddispatchd.notice WHERE event = 'completed'")
    assert words.count("contradicts itself") == 2
