"""The rows of a new video made from a studio recording."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import load_numbered, render_numbered
from poddispatchd.domain.task import SiteId, Task, VideoId
from poddispatchd.errors import RaceLostError, ResultRefusedError, SchemaError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import write_log

_QUERIES = load_numbered("poddispatchd.pod", "imports_studio.sql")

_LINKS: Mapping[str, tuple[str, str]] = {
    "video_video_additional_owners": ("recorder_recorder_additional_users", "user_id"),
    "video_video_channel": ("recorder_recorder_channel", "channel_id"),
    "video_video_theme": ("recorder_recorder_theme", "theme_id"),
    "video_video_discipline": ("recorder_recorder_discipline", "discipline_id"),
}
"""Links copied as they are: the video's table, the recorder's, and the column that both have."""

_TAG_SLUG_LENGTH = 50


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording with what its recorder says of its videos.

    Args:
        title: the title of the video.
        comment: what the recording's page says; the beginning of the video's log.
        recorder_id: whose links the video gets.
        owner_id: who owns the video.
        hashkey: the directory of the owner's files.
        affiliation: the owner's.
        values: columns of the video that come from the recorder.
        warnings: what a person should know, each a sentence.
    """

    title: str
    comment: str
    recorder_id: int
    owner_id: int
    hashkey: str
    affiliation: str
    values: Mapping[str, object]
    warnings: tuple[str, ...]


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


async def reserve_video_id(connection: Connection) -> VideoId:
    """Take an id for a video that is going to be made.

    The caller records it before files are named after it, so that every attempt makes the same video.

    Raises:
        SchemaError: the ids of videos come from no sequence.
    """
    number = await connection.fetchval(_QUERIES["reserve_video_id"])
    if number is None:
        raise SchemaError("The ids of video_video come from no sequence: no video can be made.")
    return VideoId(number)


async def read_recording(database: Database, task: Task) -> Recording:
    """The recording of a studio task.

    Raises:
        ResultRefusedError: there is none, or nobody whom its video could belong to.
    """
    record = None
    if task.recording_id is not None:
        record = await database.fetchrow(_QUERIES["recording"], task.recording_id)
    if record is None:
        raise ResultRefusedError(f"The recording of task {task.pk} does not exist any more.")
    user, recorder_user = record["user_id"], record["recorder_user_id"]
    owners = {
        row["user_id"]: row
        for row in await database.fetch(_QUERIES["owners"], [user, recorder_user])
        if row["hashkey"]
    }
    if user in owners:
        return _recording(record, user, owners[user]["hashkey"], owners[user]["affiliation"])
    earlier = await database.fetchrow(_QUERIES["earlier_directory"], user)
    if earlier is not None:
        said = f"User {user} has no Owner row: the files are stored beside those of an earlier video."
        return _recording(record, user, earlier["hashkey"], "", said)
    if recorder_user in owners:
        owner = owners[recorder_user]
        said = f"User {user} has no Owner row: the video belongs to the recorder's user {recorder_user}."
        return _recording(record, recorder_user, owner["hashkey"], owner["affiliation"], said)
    raise ResultRefusedError(
        f"User {user} of recording {task.recording_id} has no Owner row, and neither has the user of its "
        "recorder: open the user in Pod's administration and save it."
    )


def _recording(record: asyncpg.Record, owner: int, hashkey: str, affiliation: str, *said: str) -> Recording:
    return Recording(
        title=record["title"],
        comment=record["comment"] or "",
        recorder_id=record["recorder_id"],
        owner_id=owner,
        hashkey=hashkey,
        affiliation=affiliation or "",
        values={column: record[column] for column in (*_COPIED, "transcript")},
        warnings=said,
    )


async def insert_video(
    connection: Connection,
    capabilities: Capabilities,
    recording: Recording,
    video_id: VideoId,
    values: Mapping[str, object],
    *,
    site: SiteId,
) -> tuple[str, ...]:
    """Make the video with everything its recorder gives it, inside the caller's transaction.

    Args:
        connection: with the transaction.
        capabilities: what this Pod's database is like.
        recording: what the video is made from.
        video_id: the reserved id.
        values: every column of the video.
        site: the current site.

    Returns:
        What a person should know, each a sentence.

    Raises:
        RaceLostError: the video exists already.
    """
    if await connection.fetchval(_QUERIES["video_exists"], video_id):
        raise RaceLostError(f"Video {video_id} was made meanwhile.")
    there = capabilities.columns["video_video"]
    row = {column: value for column, value in values.items() if column in there}
    columns = ", ".join(render_numbered("{column}", column=column) for column in row)
    query = _QUERIES["insert_video"].replace("{columns}", columns)
    await connection.execute(query, json.dumps(row, default=str))
    await connection.execute(_QUERIES["insert_sites"], video_id, recording.recorder_id, site)
    for target, (source, column) in _LINKS.items():
        if {target, source} <= capabilities.m2m_tables:
            query = render_numbered(_QUERIES["copy_links"], target=target, source=source, column=column)
            await connection.execute(query, video_id, recording.recorder_id)
    if {"video_video_tags", "recorder_recorder_tags"} <= capabilities.m2m_tables:
        await _copy_tags(connection, video_id, recording.recorder_id)
    await write_log(connection, video_id, recording.comment)
    return await _copy_groups(connection, capabilities, video_id, recording.recorder_id)


async def _copy_tags(connection: Connection, video_id: VideoId, recorder_id: int) -> None:
    records = await connection.fetch(_QUERIES["recorder_tags"], recorder_id)
    for name, slug in sorted((record["name"], record["slug"]) for record in records):
        tag = await connection.fetchval(_QUERIES["count_tag"], name)
        if tag is None:
            tag = await connection.fetchval(_QUERIES["insert_tag"], name, await _free_slug(connection, slug))
        await connection.execute(_QUERIES["link_tag"], video_id, tag)


async def _free_slug(connection: Connection, slug: str) -> str:
    taken = {record["slug"] for record in await connection.fetch(_QUERIES["tag_slugs"], slug[:40])}
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
        query = render_numbered(_QUERIES["copy_links"], target=target, source=source, column="accessgroup_id")
        await connection.execute(query, video_id, recorder_id)
        return ()
    missing = []
    for record in await connection.fetch(_QUERIES["recorder_groups"], recorder_id):
        if record["accessgroup_id"] is None:
            missing.append(record["name"])
        else:
            await connection.execute(_QUERIES["restrict_to_group"], video_id, record["accessgroup_id"])
    if not missing:
        return ()
    await connection.execute(_QUERIES["restrict_to_authenticated"], video_id)
    return (
        f"No access group is named {', '.join(map(repr, missing))}: the video is for every authenticated "
        "user, not only for these groups of its recorder.",
    )
