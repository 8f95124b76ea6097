"""The evidence of a campaign that ended well: every way a task can truly end, with files on a disk."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from chaos.evidence import Evidence
from chaos.history import Change, Run
from chaos.logs import Line
from chaos.pod_rows import ImportRow, Row, VideoRows
from chaos.scenarios import Scenario
from chaos.timeline import Timeline
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.pod.imports.studio import BASE_FILE
from poddispatchd.sandbox.fake_runner_manager import AcceptedTask, result_files

ENCODING, TRANSCRIPTION, STUDIO, FAILED, TIMED_OUT, TWIN = 1, 2, 3, 4, 5, 6
"""Tasks: TWIN is a second row for the source of ENCODING, and followed it."""

BEGIN = 1000.0


def good_end(root: Path) -> Evidence:
    """Evidence without anything that must not be."""
    runs = [
        run("e", "encoding", "videos/o/lecture.mp4"),
        run("t", "transcription", "videos/o/talk.mp4"),
        run("s", "studio", "opencast-files/1/studio.xml"),
        run("f", "encoding", "videos/o/broken.mp4", Scenario.BAD_MEDIA, "failed"),
        run("o", "encoding", "videos/o/endless.mp4", Scenario.TIMED_OUT, "timeout"),
    ]
    rows = [
        row(ENCODING, "encoding", "completed", "e", video=1),
        row(TRANSCRIPTION, "transcription", "completed", "t", video=2),
        replace(row(STUDIO, "studio", "completed", "s"), recording=1, title="Studio 1"),
        row(FAILED, "encoding", "failed", "f", video=4, output="Not a film."),
        row(TIMED_OUT, "encoding", "timeout", "o", video=5, output="Too long."),
        row(TWIN, "encoding", "completed", None, video=1, output="Task 1 did the same source meanwhile."),
    ]
    videos = [
        VideoRows(1, "Lecture", "videos/o/lecture.mp4", "", has_thumbnail=True, images=1),
        VideoRows(2, "Talk", "videos/o/talk.mp4", "", files=1, tracks=1),
        VideoRows(3, "Studio 1", "videos/o/studio.mp4", "", has_thumbnail=True, images=1),
        VideoRows(4, "Broken", "videos/o/broken.mp4", ""),
        VideoRows(5, "Endless", "videos/o/endless.mp4", ""),
    ]
    named: dict[str, str] = {}
    for video in videos:
        put(root, video.path, b"film", named, "video")
    encode(root, videos[0], runs[0], named)
    encode(root, videos[2], runs[2], named)
    put(root, "files/o/talk.vtt", b"WEBVTT", named, "file")
    return Evidence(
        media_root=root,
        tasks=[one.pk for one in rows],
        rows={one.pk: one for one in rows},
        videos={one.id: one for one in videos},
        imports=[ImportRow(ENCODING, "one", "e", 0.1), ImportRow(STUDIO, "one", "s", 0.1)],
        sources={one.pk: frozenset({made.source}) for one, made in zip(rows, [*runs, runs[0]], strict=True)},
        named=named,
        runs={("one", one.task_id): one for one in runs},
        logs={
            "daemon A": [line("task.completed", 1010.0, task=pk) for pk in (ENCODING, TRANSCRIPTION, STUDIO)]
        },
        timeline=Timeline(),
    )


def run(
    task_id: str, kind: str, path: str, scenario: Scenario = Scenario.FINE, status: str = "completed"
) -> Run:
    """A run that has ended."""
    submission = AcceptedTask(
        etab_name="o",
        app_name="Esup-Pod",
        task_type=kind,
        source_url=f"http://pod.example.org/media/{path}",
        notify_url="http://pod.example.org/runner/notify_task_end/",
        parameters={},
    )
    return Run("one", task_id, scenario, 5.0, "r", BEGIN, submission, [Change(BEGIN + 5, status)])


def row(
    pk: int, kind: str, status: str, task_id: str | None, *, video: int | None = None, output: str = ""
) -> Row:
    """A task's row."""
    return Row(pk, kind, status, None if task_id is None else "one", task_id, video, output)


def line(event: str, at: float, *, level: str = "info", **facts: object) -> Line:
    """A line of a log."""
    return Line(at, level, event, facts, f"{event} {facts}")


def encode(root: Path, video: VideoRows, made: Run, named: dict[str, str]) -> None:
    """Put the files of a run in place, with the rows that name them."""
    folder = f"videos/o/{video.id:04d}"
    files = result_files(made.submission, task_id=RunnerTaskId(made.task_id), when=datetime(2030, 1, 1))  # noqa: DTZ001 - a manager's dates carry no zone
    for name, content in files.items():
        if name == BASE_FILE:
            put(root, video.path, content, named, "video")
        else:
            put(root, f"{folder}/{name}", content, {}, "")
    put(root, f"{folder}/playlist.m3u8", b"#EXTM3U", {}, "")
    video.playlists.append(f"{folder}/playlist.m3u8")
    for name in files:
        kind = {".mp4": "films", ".ts": "films", ".mp3": "sounds", ".m3u8": "playlists"}.get(
            Path(name).suffix
        )
        if kind is not None and name != BASE_FILE:
            getattr(video, kind).append(f"{folder}/{name}")
            named[f"{folder}/{name}"] = kind
    put(root, f"files/o/{video.id}.png", b"picture", named, "image")


def put(root: Path, path: str, content: bytes, named: dict[str, str], what: str) -> None:
    """Write a file, which a row names."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    named[path] = what
