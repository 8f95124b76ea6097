"""A small result of our own, and the steps of an import around it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.task import RunnerTaskId, Task, TaskPk, TaskStatus, TaskType, VideoId
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.imports import encoding, studio, transcription
from poddispatchd.pod.imports.plan import ImportedResult, ImportPlan, StagedResult
from poddispatchd.pod.media.files import delete_files
from poddispatchd.pod.media.tree import MediaPath, MediaTree
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import SampleRecording, SampleVideo, World, add_task
from tests.plugins.postgres import PodDatabase

NOW = datetime(2026, 7, 5, 22, 30, 15, 123456, tzinfo=UTC)
"""The moment of every import here: already the sixth in Paris."""

PNG = b"\x89PNG\r\n\x1a\n"
"""What a picture begins with."""

SUBTITLES = b"WEBVTT\n\n00:00.000 --> 00:02.000\nBonjour\n"


def settings(world: World, **changes: object) -> PodSettings:
    return PodSettings.read(
        {
            "media_root": world.media_root,
            "use_podfile": world.variant is SchemaVariant.PODFILE,
            "use_transcription": True,
            **changes,
        }
    )


def encoded(base: str = "a", *, audio: bool = True, thumbnail: bytes = PNG) -> dict[str, bytes]:
    """A whole result of an encoding with one rendition."""
    stream = b"t" * 100
    info: dict[str, object] = {
        "codec": "h264",
        "duration": 8,
        "has_stream_video": True,
        "has_stream_audio": audio,
        "has_stream_thumbnail": True,
        "encode_video": [
            {"encoding_format": "video/mp2t", "rendition": "640x360", "filename": f"360p_{base}.m3u8"},
            {"encoding_format": "video/mp4", "rendition": "640x360", "filename": f"360p_{base}.mp4"},
        ],
        "encode_thumbnail": [{"filename": f"{base}_0.png"}],
        "encode_overview": {"sprite_filename": "overview.png", "vtt_filename": "overview.vtt"},
        "encode_result": True,
    }
    files = {
        f"360p_{base}.ts": stream,
        f"360p_{base}.m3u8": f"#EXTM3U\n#EXT-X-BYTERANGE:100@0\n360p_{base}.ts\n#EXT-X-ENDLIST\n".encode(),
        f"360p_{base}.mp4": f"mp4 of {base}".encode(),
        f"{base}_0.png": thumbnail,
        "overview.png": PNG,
        "overview.vtt": b"WEBVTT\n",
        "encoding.log": b"log of the runner\n",
    }
    if audio:
        info["encode_audio"] = [{"encoding_format": "audio/mp3", "filename": f"audio_192k_{base}.mp3"}]
        files[f"audio_192k_{base}.mp3"] = b"mp3"
    return {**files, "info_video.json": json.dumps(info).encode()}


async def reserved_video_id(database: Database) -> VideoId:
    """As the journal reserves one for a studio task."""
    async with database.connection() as connection:
        return VideoId(await connection.fetchval("SELECT nextval('video_video_id_seq')"))


@dataclass(frozen=True, slots=True)
class Importing:
    """One task, its staging directory and everything an import of it needs."""

    database: Database
    world: World
    capabilities: Capabilities
    settings: PodSettings
    task: Task
    staging: MediaPath

    def staged(self, now: datetime = NOW) -> StagedResult:
        """The result as it was downloaded."""
        return StagedResult(self.database, self.settings, self.capabilities, self.task, self.staging, now)

    async def encoding(self) -> ImportedResult:
        """The whole import of an encoding, clean-up included."""
        return await self._imported(await encoding.prepare(self.staged()))

    async def transcription(self) -> ImportedResult:
        """The whole import of a transcription, clean-up included."""
        return await self._imported(await transcription.prepare(self.staged()))

    async def studio(self) -> ImportedResult:
        """The whole import of a studio task, clean-up included."""
        video_id = await reserved_video_id(self.database)
        return await self._imported(await studio.prepare(self.staged(), video_id=video_id, created_at=NOW))

    async def _imported(self, plan: ImportPlan) -> ImportedResult:
        await asyncio.to_thread(plan.apply_files)
        async with self.database.transaction() as connection:
            outcome = await plan.write_rows(connection)
        await asyncio.to_thread(shutil.rmtree, str(self.staging))
        assert not await asyncio.to_thread(
            delete_files, MediaTree(self.world.media_root), outcome.obsolete_files
        )
        return outcome


@asynccontextmanager
async def importing(
    pod: PodDatabase,
    world: World,
    task_type: TaskType,
    files: Mapping[str, bytes],
    *,
    video: SampleVideo | None = None,
    recording: SampleRecording | None = None,
    **changes: object,
) -> AsyncIterator[Importing]:
    """A running task whose result has just been downloaded."""
    async with pod.connection() as connection:
        pk = await add_task(
            connection, task_type, video=video, recording=recording, status=TaskStatus.RUNNING, task_id="r-1"
        )
    tree = MediaTree(world.media_root)
    staging = (
        tree.studio_staging_directory(pk)
        if video is None
        else tree.staging_directory(video.path, video.id, pk)
    )
    await asyncio.to_thread(stage, Path(str(staging)), files)
    task = Task(
        pk=TaskPk(pk),
        type=task_type,
        status="running",
        task_id=RunnerTaskId("r-1"),
        runner_manager_id=None,
        video_id=None if video is None else video.id,
        recording_id=None if recording is None else recording.id,
        date_added=NOW,
    )
    database = Database(pod.dsn, pool_size=2)
    await database.open()
    try:
        capabilities = await introspect(database)
        yield Importing(database, world, capabilities, settings(world, **changes), task, staging)
    finally:
        await database.close()


def stage(staging: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def column(pod: PodDatabase, query: str, *arguments: object) -> list[object]:
    """The first column of a query."""
    async with pod.connection() as connection:
        return [row[0] for row in await connection.fetch(query, *arguments)]


async def value(pod: PodDatabase, query: str, *arguments: object) -> object:
    """The first column of the first row of a query."""
    async with pod.connection() as connection:
        return await connection.fetchval(query, *arguments)


def tree_of(root: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
