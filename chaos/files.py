"""What is in the media tree after a campaign: everything that rows name, whole, and nothing else."""

import os
from collections.abc import Callable, Iterator, Mapping, Set
from datetime import datetime
from pathlib import Path, PurePosixPath

import asyncpg

from chaos.history import Run
from chaos.pod_rows import Row, VideoRows
from chaos.setting import Stage
from poddispatchd.domain.naming import video_number
from poddispatchd.domain.task import RunnerTaskId, VideoId
from poddispatchd.sandbox.fake_runner_manager import result_files

_OF_THE_RUN = ("info_video.json", "task_metadata.json", "encoding.log", "studio_base.mp4")
"""Result files whose bytes depend on the moment, or that go elsewhere."""

_OURS = ("encoding.log", "playlist.m3u8")


async def referenced(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, str]:
    """Every path that some row names, with the table."""
    rows = await connection.fetch(
        "SELECT 'film' AS what, source_file AS path FROM video_encode_transcript_encodingvideo"
        " UNION ALL SELECT 'sound', source_file FROM video_encode_transcript_encodingaudio"
        " UNION ALL SELECT 'playlist', source_file FROM video_encode_transcript_playlistvideo"
        " UNION ALL SELECT 'video', video FROM video_video"
        " UNION ALL SELECT 'overview', overview FROM video_video WHERE overview <> ''"
        " UNION ALL SELECT 'image', file FROM podfile_customimagemodel"
        " UNION ALL SELECT 'file', file FROM podfile_customfilemodel"
    )
    return {row["path"]: row["what"] for row in rows}


def check(
    stage: Stage,
    rows: Mapping[int, Row],
    videos: Mapping[int, VideoRows],
    named: Mapping[str, str],
    run_of: Callable[[Row], Run | None],
) -> Iterator[tuple[str, int | None]]:
    """What is wrong with files: in words, with the task where one is known."""
    root = stage.media_root
    yield from _missing(root, rows, videos, named)
    by_title = {video.title: video for video in videos.values()}
    allowed: set[str] = set(named)
    for video in videos.values():
        # Begun by Pod's rules at the submission of an encoding, whatever becomes of it.
        allowed.add(f"{_output(video)}/encoding.log")
    for row in rows.values():
        if row.type == "transcription" or row.status != "completed":
            continue
        made = videos.get(row.video or 0)
        if row.type == "studio":
            made = by_title.get(stage.titles.get(row.pk, ""))
        run = run_of(row)
        if made is None or run is None:
            continue
        result = result_files(run.submission, task_id=RunnerTaskId(run.task_id), when=datetime.now())  # noqa: DTZ005 - not looked at
        folder = _output(made)
        allowed.update(f"{folder}/{name}" for name in (*result, *_OURS))
        for name, content in result.items():
            if name in _OF_THE_RUN:
                continue
            target = root / folder / name
            if not target.is_file() or target.read_bytes() != content:
                yield f"{folder}/{name} is not what the run of task {row.pk} made", row.pk
    yield from _strangers(root, allowed)


def _missing(
    root: Path, rows: Mapping[int, Row], videos: Mapping[int, VideoRows], named: Mapping[str, str]
) -> Iterator[tuple[str, int | None]]:
    with_task = {row.video for row in rows.values()}
    # The campaign itself may have been cut off between a video and its task.
    unused = {video.path for video in videos.values() if video.id not in with_task and not video.encoded}
    for path, what in sorted(named.items()):
        if path in unused:
            continue
        if not (root / path).is_file():
            yield f"{path} ({what}) is named by a row and does not exist", None
        elif not (root / path).stat().st_size:
            yield f"{path} ({what}) is empty", None


def _output(video: VideoRows) -> str:
    return f"{PurePosixPath(video.path).parent}/{video_number(VideoId(video.id))}"


def _strangers(root: Path, allowed: Set[str]) -> Iterator[tuple[str, int | None]]:
    for top in ("videos", "files", "tasks"):
        for folder, folders, names in os.walk(root / top):
            for name in folders:
                if "poddispatchd" in name or (top == "tasks" and name):
                    yield (
                        f"{Path(folder, name).relative_to(root)} is a staging directory that nobody needs",
                        None,
                    )
            for name in names:
                path = str(Path(folder, name).relative_to(root))
                if path not in allowed:
                    yield f"{path} is an orphan", None
