"""The rows of a new video made from a studio recording."""

import json
from collections.abc import Collection, Mapping

import asyncpg
from msgspec import Struct

from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import Query, load_queries, render
from poddispatchd.domain.media import is_another_source
from poddispatchd.domain.task import RecordingId, SiteId, Task, VideoId
from poddispatchd.errors import RaceLostError, ResultRefusedError, SourceReplacedError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.facts import Renditions, renditions_of, with_common_parts

_QUERIES = with_common_parts(load_queries("poddispatchd.pod", "imports_studio.sql"))

_LINKS: Mapping[str, tuple[str, str]] = {
    "video_video_additional_owners": ("recorder_recorder_additional_users", "user_id"),
    "video_video_channel": ("recorder_recorder_channel", "channel_id"),
    "video_video_theme": ("recorder_recorder_theme", "theme_id"),
    "video_video_discipline": ("recorder_recorder_discipline", "discipline_id"),
}
"""Links copied as they are: the video's table, the recorder's, and the column that both have."""

_TAG_SLUG_LENGTH = 50


class StudioRecording(Struct, frozen=True):
    """A recording with what its recorder says of its videos.

    Args:
        id: its primary key.
        title: the title of the video.
        source_file: what a runner fetches for it, as Pod stores it.
        comment: what the recording's page says; the beginning of the video's log.
        recorder_id: whose links the video gets.
        owner_id: who owns the video.
        hashkey: the directory of the owner's files.
        affiliation: the owner's.
        values: columns of the video that come from the recorder.
        renditions: Pod's.
        warnings: what a person should know, each a sentence.
    """

    id: RecordingId
    title: str
    source_file: str
    comment: str
    recorder_id: int
    owner_id: int
    hashkey: str
    affiliation: str
    values: Mapping[str, object]
    renditions: Renditions
    warnings: tuple[str, ...]

    def check_source(self, file: str, *, given: str, video_id: VideoId) -> None:
        """See that ``file``, which it has, is the one that a runner was given for the video of this id.

        Raises:
            SourceReplacedError: it is another one.
        """
        if is_another_source(given, [file], video_id):
            raise SourceReplacedError(f"The file of recording {self.id} was replaced while it was worked on.")


_COPIED = (
    "type_id",
    "is_draft",
    "is_restricted",
    "password",
    "cursus",
    "main_lang",
    "licence",
    "allow_downloading",
    "is_360",
    "disable_comment",
)


async def read_recording(database: Database, task: Task) -> StudioRecording:
    """The recording of a studio task.

    Raises:
        ResultRefusedError: there is none, or nobody whom its video could belong to.
    """
    record = None
    if task.recording_id is not None:
        record = await database.fetchrow(*_QUERIES["recording"](recording=task.recording_id))
    if record is None:
        raise ResultRefusedError(f"The recording of task {task.pk} does not exist any more.")
    user, recorder_user = record["user_id"], record["recorder_user_id"]
    if record["hashkey"]:
        return _recording(record, user, record["hashkey"], record["affiliation"])
    if record["earlier_hashkey"]:
        said = f"User {user} has no Owner row: the files are stored beside those of an earlier video."
        return _recording(record, user, record["earlier_hashkey"], "", said)
    if record["recorder_hashkey"]:
        said = f"User {user} has no Owner row: the video belongs to the recorder's user {recorder_user}."
        return _recording(
            record, recorder_user, record["recorder_hashkey"], record["recorder_affiliation"], said
        )
    raise ResultRefusedError(
        f"User {user} of recording {task.recording_id} has no Owner row, and neither has the user of its "
        "recorder: open the user in Pod's administration and save it."
    )


def _recording(
    record: asyncpg.Record, owner: int, hashkey: str, affiliation: str, *said: str
) -> StudioRecording:
    return StudioRecording(
        id=RecordingId(record["id"]),
        title=record["title"],
        source_file=record["source_file"] or "",
        comment=record["comment"] or "",
        recorder_id=record["recorder_id"],
        owner_id=owner,
        hashkey=hashkey,
        affiliation=affiliation or "",
        values={column: record[column] for column in (*_COPIED, "transcript")},
        renditions=renditions_of(record),
        warnings=said,
    )


async def insert_video(
    connection: Connection,
    capabilities: Capabilities,
    recording: StudioRecording,
    video_id: VideoId,
    values: Mapping[str, object],
    *,
    site: SiteId,
) -> tuple[str, ...]:
    """Make the video with everything its recorder gives it, inside the caller's transaction.

    Args:
        connection: with the transaction.
        capabilities: what this Pod's database is like.
        recording: what the video is made from, as it was read before.
        video_id: the reserved id.
        values: every column of the video.
        site: the current site.

    Returns:
        What a person should know, each a sentence.

    Raises:
        RaceLostError: the video exists already.
        SourceReplacedError: the file of the recording was replaced since it was read.
    """
    there = capabilities.columns["video_video"]
    row = {column: value for column, value in values.items() if column in there}
    links = "".join(
        render(_QUERIES["copy_links"], target=target, source=source, column=column).source
        for target, (source, column) in _LINKS.items()
        if {target, source} <= capabilities.m2m_tables
    )
    columns = ", ".join(render(Query("{column}"), column=column).source for column in row)
    made = await connection.fetchrow(
        *_QUERIES["insert_video"].fill(columns=columns, links=links)(
            video=video_id,
            row=json.dumps(row, default=str),
            log=recording.comment,
            site=site,
            recorder=recording.recorder_id,
            recording=recording.id,
        )
    )
    if made is None:
        raise RaceLostError(f"Video {video_id} was made meanwhile.")
    recording.check_source(made["source_file"] or "", given=recording.source_file, video_id=video_id)
    if {"video_video_tags", "recorder_recorder_tags"} <= capabilities.m2m_tables:
        await _copy_tags(connection, video_id, recording.recorder_id)
    return await _copy_groups(connection, capabilities, video_id, recording.recorder_id)


async def _copy_tags(connection: Connection, video_id: VideoId, recorder_id: int) -> None:
    """Tags whose names differ in case only are one, as for Pod: the last one by name."""
    records = await connection.fetch(*_QUERIES["recorder_tags"](recorder=recorder_id))
    tags = {record["name"].lower(): record for record in records}
    known = [record["id"] for record in tags.values() if record["id"] is not None]
    names: list[str] = []
    slugs: list[str] = []
    for record in tags.values():
        if record["id"] is None:
            names.append(record["name"])
            slugs.append(_free_slug(record["slug"], {*record["taken"], *slugs}))
    if known or names:
        await connection.execute(
            *_QUERIES["link_tags"](video=video_id, known=known, names=names, slugs=slugs)
        )


def _free_slug(slug: str, taken: Collection[str]) -> str:
    free, number = slug, 1
    while free in taken:
        suffix = f"_{number}"
        free, number = slug[: _TAG_SLUG_LENGTH - len(suffix)] + suffix, number + 1
    return free


async def _copy_groups(
    connection: Connection, capabilities: Capabilities, video_id: VideoId, recorder_id: int
) -> tuple[str, ...]:
    """The groups of a recorder are not those of videos: they are matched by name."""
    source, target = "recorder_recorder_restrict_access_to_groups", "video_video_restrict_access_to_groups"
    if not {source, target} <= capabilities.m2m_tables:
        return ()
    if "accessgroup_id" in capabilities.columns.get(source, ()):
        await connection.execute(*_QUERIES["copy_access_groups"](video=video_id, recorder=recorder_id))
        return ()
    records = await connection.fetch(*_QUERIES["restrict_to_groups"](video=video_id, recorder=recorder_id))
    if not records:
        return ()
    return (
        f"No access group is named {', '.join(repr(record['name']) for record in records)}: the video is for "
        "every authenticated user, not only for these groups of its recorder.",
    )
