"""A made-up Pod, and what can be added to it: videos, recordings, tasks and what belongs to them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path, PurePosixPath

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries, render
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.media import video_number
from poddispatchd.domain.naming import slugified_file_name, video_slug
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, RecordingId, TaskPk, TaskStatus, TaskType, VideoId
from poddispatchd.sandbox.pod.media import put_file, put_studio_package
from poddispatchd.sandbox.pod.schema import SchemaVariant

QUERIES = load_queries("poddispatchd.sandbox.pod", "world.sql")
"""The statements that add rows."""

VIDEOS_DIRECTORY = "videos"


@dataclass(frozen=True, slots=True)
class Person:
    """A user. ``hashkey`` is None for one whom Pod never gave an Owner row."""

    id: int
    username: str
    email: str
    affiliation: str
    hashkey: str | None

    @property
    def folder(self) -> str:
        """The name of this person's folder of videos."""
        return self.hashkey or f"without-owner-{self.id}"


@dataclass(frozen=True, slots=True)
class SampleVideo:
    """A video. ``path`` is relative to MEDIA_ROOT."""

    id: VideoId
    title: str
    slug: str
    path: str
    owner: Person

    @property
    def output_directory(self) -> str:
        """Where its encodings lie, relative to MEDIA_ROOT."""
        return f"{PurePosixPath(self.path).parent}/{video_number(self.id)}"


@dataclass(frozen=True, slots=True)
class SampleRecording:
    """A studio recording. ``source_file`` is absolute, as Pod stores it."""

    id: RecordingId
    title: str
    source_file: Path
    owner: Person


@dataclass(frozen=True, slots=True)
class World:
    """What a seeded Pod holds; its people, videos and the rest are named by what sets them apart."""

    variant: SchemaVariant
    media_root: Path
    site: Site
    other_site: Site
    people: Mapping[str, Person]
    managers: Sequence[RunnerManager]
    types: Mapping[str, int]
    renditions: Mapping[str, int]
    recorders: Mapping[str, int]
    videos: Mapping[str, SampleVideo]
    recordings: Mapping[str, SampleRecording]


async def add_video(
    connection: Connection,
    world: World,
    *,
    title: str = "A lecture",
    title_en: str | None = None,
    owner: str = "employee",
    file_name: str | None = None,
    site: Site | None = None,
    transcript: str = "",
    duration: int = 0,
    is_draft: bool = False,
    with_file: bool = True,
) -> SampleVideo:
    """Add a video of a person of the world and put its source file into the media tree.

    Args:
        connection: of the world's database.
        world: where to add it.
        title: in French (the base column and ``title_fr``).
        title_en: in English; Pod leaves it NULL when nobody translated it.
        owner: a name of ``world.people``.
        file_name: of the uploaded file; its stem is slugified. From the title when None.
        site: where the video is shown; the world's site when None.
        transcript: the language to transcribe in, or '' for none.
        duration: in seconds.
        is_draft: whether only its owner sees it.
        with_file: False leaves the media tree without the source, as after an accident.
    """
    person = world.people[owner]
    video_id = VideoId(await connection.fetchval(*QUERIES["next_video_id"]()))
    name = PurePosixPath(slugified_file_name(file_name or f"{title}.mp4"))
    path = f"{VIDEOS_DIRECTORY}/{person.folder}/{name}"
    if await asyncio.to_thread((world.media_root / path).exists):
        path = f"{VIDEOS_DIRECTORY}/{person.folder}/{name.stem}_{video_id:07d}{name.suffix}"
    slug = video_slug(video_id, title)
    async with connection.transaction():
        await connection.execute(
            *QUERIES["insert_video"](
                video=video_id,
                file=path,
                title=title,
                title_en=title_en,
                slug=slug,
                transcript=transcript,
                is_draft=is_draft,
                duration=duration,
                owner=person.id,
                type=world.types["other"],
            ),
        )
        await link(connection, "video_video_sites", video_id=video_id, site_id=(site or world.site).id)
    if with_file:
        await asyncio.to_thread(put_file, world.media_root, path)
    return SampleVideo(video_id, title, slug, path, person)


async def add_encodings(connection: Connection, world: World, video: SampleVideo) -> None:
    """Make a video an encoded one: two renditions, its sound and a playlist, as rows and as files."""
    folder = video.output_directory
    sound, playlist = f"{folder}/audio_192k.mp3", f"{folder}/playlist.m3u8"
    films = {"360p": world.renditions["640x360"], "720p": world.renditions["1280x720"]}
    async with connection.transaction():
        for name, rendition in films.items():
            path = f"{folder}/{name}.mp4"
            await connection.execute(
                *QUERIES["insert_video_encoding"](name=name, file=path, rendition=rendition, video=video.id)
            )
        await connection.execute(*QUERIES["insert_audio_encoding"](file=sound, video=video.id))
        await connection.execute(*QUERIES["insert_playlist"](file=playlist, video=video.id))
    for path in (sound, playlist, *(f"{folder}/{name}.mp4" for name in films)):
        await asyncio.to_thread(put_file, world.media_root, path)


async def add_cut(
    connection: Connection,
    video: SampleVideo,
    *,
    start: time = time(second=1),
    end: time = time(second=3),
    duration: str = "00:00:04",
) -> None:
    """Cut a video in Pod's editor; ``duration`` (``HH:MM:SS``) is that of the whole source."""
    await connection.execute(*QUERIES["insert_cut"](start=start, end=end, duration=duration, video=video.id))


async def add_dressing(
    connection: Connection,
    video: SampleVideo,
    *,
    title: str,
    opening: SampleVideo | None = None,
    ending: SampleVideo | None = None,
    watermark: int | None = None,
    position: str = "top_right",
    opacity: int = 100,
) -> int:
    """Dress a video with credits and a watermark (an image of the file manager); the dressing's id."""
    async with connection.transaction():
        dressing = int(
            await connection.fetchval(
                *QUERIES["insert_dressing"](
                    title=title,
                    position=position,
                    opacity=opacity,
                    opening=None if opening is None else opening.id,
                    ending=None if ending is None else ending.id,
                    watermark=watermark,
                ),
            )
        )
        await link(connection, "dressing_dressing_videos", dressing_id=dressing, video_id=video.id)
        await link(connection, "dressing_dressing_owners", dressing_id=dressing, user_id=video.owner.id)
    return dressing


async def add_recording(
    connection: Connection,
    world: World,
    *,
    title: str = "A studio recording",
    owner: str = "faculty",
    recorder: str = "bare",
) -> SampleRecording:
    """Add a studio recording of a person of the world, with its package of films in the media tree."""
    person = world.people[owner]
    number = int(await connection.fetchval("SELECT count(*) FROM recorder_recording"))
    base_url = f"{world.site.base_url(https=False)}/media"
    source = await asyncio.to_thread(put_studio_package, world.media_root, base_url, number)
    recording = await connection.fetchval(
        *QUERIES["insert_recording"](
            title=title, file=str(source), recorder=world.recorders[recorder], user=person.id
        )
    )
    return SampleRecording(RecordingId(recording), title, source, person)


async def add_task(
    connection: Connection,
    task_type: TaskType,
    *,
    video: SampleVideo | None = None,
    recording: SampleRecording | None = None,
    status: TaskStatus = TaskStatus.PENDING,
    task_id: str | None = None,
    runner_manager: ManagerId | None = None,
    date_added: datetime | None = None,
    rank: int | None = None,
    script_output: str | None = None,
) -> TaskPk:
    """Add a task as Pod does when a user asks for one; ``date_added`` is the database's now when None."""
    return TaskPk(
        await connection.fetchval(
            *QUERIES["insert_task"](
                type=task_type.value,
                status=status.value,
                task_id=task_id,
                date_added=date_added,
                rank=rank,
                script_output=script_output,
                recording=None if recording is None else recording.id,
                runner_manager=runner_manager,
                video=None if video is None else video.id,
            ),
        )
    )


async def add_finished_tasks(connection: Connection, world: World, count: int) -> None:
    """Add the history of a busy Pod: completed encodings of one video, one a minute into the past."""
    manager = world.managers[0].id if world.managers else None
    video = next(iter(world.videos.values()))
    await connection.execute(
        *QUERIES["insert_finished_tasks"](count=count, runner_manager=manager, video=video.id)
    )


async def link(connection: Connection, table: str, **ends: int) -> None:
    """Add a row to a many-to-many table; the two ends are named by their columns."""
    (left, first), (right, second) = ends.items()
    await connection.execute(
        *render(QUERIES["link"], table=table, left=left, right=right)(left=first, right=second)
    )
