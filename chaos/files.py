"""What is in the media tree after a campaign: everything that rows name, whole, and nothing else."""

import json
import os
from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from pathlib import Path, PurePosixPath

from chaos.evidence import Evidence
from chaos.history import Run
from chaos.pod_rows import Row, VideoRows
from poddispatchd.domain.media import video_number
from poddispatchd.domain.task import RunnerTaskId, VideoId
from poddispatchd.pod.imports.studio import BASE_FILE
from poddispatchd.sandbox.fake_runner_manager import result_files
from poddispatchd.sandbox.pod.media import STUDIO_DIRECTORY

_OF_THE_RUN = ("info_video.json", "task_metadata.json", "encoding.log")
"""Result files whose bytes depend on the moment."""

_OURS = ("encoding.log", "playlist.m3u8")

_NOT_LOOKED_AT = (".runner_task_locks", STUDIO_DIRECTORY)
"""Pod's lock files, which are never removed, and what the studio left for its recordings."""


def check(evidence: Evidence) -> Iterator[tuple[str, int | None]]:
    """What is wrong with files: in words, with the task where one is known."""
    yield from _missing(evidence)
    for row, made, run in _made(evidence):
        for name, content in _files_of(run).items():
            path = made.path if name == BASE_FILE else f"{_output(made)}/{name}"
            target = evidence.media_root / path
            if name not in _OF_THE_RUN and not (target.is_file() and target.read_bytes() == content):
                yield f"{path} is not what the run of task {row.pk} made", row.pk
    yield from orphans(evidence)


def orphans(evidence: Evidence) -> Iterator[tuple[str, int | None]]:
    """Files and staging directories that nothing needs."""
    allowed: set[str] = set(evidence.named)
    for video in evidence.videos.values():
        # Begun by Pod's rules at the submission of an encoding, whatever becomes of it.
        allowed.add(f"{_output(video)}/encoding.log")
    for _, made, run in _made(evidence):
        allowed.update(f"{_output(made)}/{name}" for name in (*_files_of(run), *_OURS))
    yield from _orphans(evidence.media_root, allowed)


def _made(evidence: Evidence) -> Iterator[tuple[Row, VideoRows, Run]]:
    """Every completed task that leaves a directory of files, with its video and its run."""
    by_title = {video.title: video for video in evidence.videos.values()}
    for row in evidence.rows.values():
        if row.type == "transcription" or row.status != "completed":
            continue
        made = by_title.get(row.title or "") if row.type == "studio" else evidence.videos.get(row.video or 0)
        run = evidence.run_of(row)
        if made is not None and run is not None:
            yield row, made, run


def rows_of(run: Run) -> tuple[int, int, int]:
    """How many films, sounds and playlists the result of a run is in Pod: with a playlist of playlists."""
    info = json.loads(_files_of(run)["info_video.json"])
    films = info["encode_video"]
    playlists = sum(film["filename"].endswith(".m3u8") for film in films)
    return len(films), len(info["encode_audio"]), playlists + 1


def _files_of(run: Run) -> Mapping[str, bytes]:
    return result_files(run.submission, task_id=RunnerTaskId(run.task_id), when=datetime.now())  # noqa: DTZ005 - not looked at


def _missing(evidence: Evidence) -> Iterator[tuple[str, int | None]]:
    with_task = {row.video for row in evidence.rows.values()}
    # The campaign itself may have been cut off between a video and its task.
    unused = {
        video.path for video in evidence.videos.values() if video.id not in with_task and not video.encoded
    }
    for path, what in sorted(evidence.named.items()):
        target = evidence.media_root / path
        if path in unused:
            continue
        if not target.is_file():
            yield f"{path} ({what}) is named by a row and does not exist", None
        elif not target.stat().st_size:
            yield f"{path} ({what}) is empty", None


def _output(video: VideoRows) -> str:
    return f"{PurePosixPath(video.path).parent}/{video_number(VideoId(video.id))}"


def _orphans(root: Path, allowed: Set[str]) -> Iterator[tuple[str, int | None]]:
    for folder, folders, names in os.walk(root):
        place = Path(folder).relative_to(root)
        if str(place) == ".":
            folders[:] = [name for name in folders if name not in _NOT_LOOKED_AT]
        for name in folders:
            if "poddispatchd" in name or str(place) == "tasks":
                yield f"{place / name} is a staging directory that nobody needs", None
        for name in names:
            path = str(place / name)
            if path not in allowed:
                yield f"{path} is an orphan", None
