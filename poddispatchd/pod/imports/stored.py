"""Files that Pod stores for its users: custom files and images, and podfile's folders."""

import posixpath
from datetime import datetime

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import render_numbered
from poddispatchd.domain.naming import (
    collision_suffix,
    fit_file_field,
    slugified_file_name,
    video_number,
    with_suffix,
)
from poddispatchd.errors import ResultRefusedError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.common import QUERIES, StagedResult, VideoFacts
from poddispatchd.pod.media.files import same_content
from poddispatchd.pod.media.tree import MediaPath

_HASHKEY_LENGTH = 64


def storage_tables(capabilities: Capabilities, table: str) -> tuple[str, ...]:
    """The tables written to when a custom file or image is stored in ``table``."""
    folders = ("podfile_userfolder", "podfile_userfolder_users") if capabilities.podfile else ()
    return (table, *folders)


async def stored_files_directory(result: StagedResult, video: VideoFacts) -> str:
    """Where Pod stores custom files of a video's owner: ``files/<hashkey>`` with podfile, else ``files``.

    For a user without an Owner row, the directory of the video file tells the hash key of the time.
    """
    if not result.capabilities.podfile:
        return "files"
    record = await result.database.fetchrow(QUERIES["owner_hashkey"], video.owner_id)
    hashkey = record["hashkey"] if record is not None else None
    if not hashkey:
        hashkey = posixpath.basename(posixpath.dirname(video.video))
        if len(hashkey) != _HASHKEY_LENGTH:
            return "files"
    return f"files/{hashkey}"


async def choose_stored_name(
    result: StagedResult, *, table: str, directory: str, name: str, staged: MediaPath
) -> str:
    """A free path for a custom file, the same whenever this import is redone.

    The plain name is taken if it is free, or holds what an earlier attempt of ours left there: the same
    bytes, and no row names it.

    Args:
        result: the import.
        table: the table of custom files or images: its rows tell which names are taken.
        directory: where Pod stores such files, relative to MEDIA_ROOT.
        name: the name of the file in the result.
        staged: the file to be stored.

    Raises:
        ResultRefusedError: the name cannot be stored.
    """
    clean = slugified_file_name(name)
    try:
        path = fit_file_field(directory, clean)
        suffixed = fit_file_field(
            directory, with_suffix(clean, collision_suffix(result.task.pk, result.task.task_id, clean))
        )
    except ValueError as error:
        raise ResultRefusedError(f"{name!r} cannot be stored: {error}.") from None
    target = result.tree.path(path)
    if path in result.taken:
        return suffixed
    if not await result.tree.run(target.exists):
        return path
    if result.ours is not None and path not in result.ours:
        return suffixed
    named = await result.database.fetchrow(render_numbered(QUERIES["file_is_named"], table=table), path)
    if named is not None and not named[0] and await result.tree.run(same_content, staged, target):
        return path
    return suffixed


async def insert_stored_file(
    connection: Connection,
    capabilities: Capabilities,
    video: VideoFacts,
    *,
    table: str,
    path: str,
    now: datetime,
) -> int:
    """A row of a table of custom files or images: always a new one.

    With podfile it lies in the video's folder, which is made if need be, and is the owner's.

    Returns:
        The id of the row.
    """
    if capabilities.podfile:
        folder = await _folder(connection, video)
        if folder is None:
            folder = await connection.fetchval(QUERIES["insert_folder"], video.slug, video.owner_id, now)
            await _share(connection, folder, video)
        name = posixpath.splitext(posixpath.basename(path))[0]
        query = render_numbered(QUERIES["insert_podfile_file"], table=table)
        row_id = await connection.fetchval(query, name, now, path, video.owner_id, folder)
    else:
        row_id = await connection.fetchval(render_numbered(QUERIES["insert_main_file"], table=table), path)
    return int(row_id)


async def keep_folder(connection: Connection, capabilities: Capabilities, video: VideoFacts) -> None:
    """Bring the folder of a video in step with it, as Pod does whenever it saves a video."""
    if not capabilities.podfile:
        return
    folder = await _folder(connection, video)
    if folder is not None:
        await _share(connection, folder, video)


async def _folder(connection: Connection, video: VideoFacts) -> int | None:
    pattern = f"{video_number(video.id)}-%"
    record = await connection.fetchrow(QUERIES["folder_of_video"], video.slug, video.owner_id, pattern)
    if record is None:
        return None
    if (record["name"], record["owner_id"]) != (video.slug, video.owner_id):
        await connection.execute(QUERIES["update_folder"], record["id"], video.slug, video.owner_id)
    return int(record["id"])


async def _share(connection: Connection, folder: int, video: VideoFacts) -> None:
    records = await connection.fetch(QUERIES["additional_owners"], video.id)
    users = [record["user_id"] for record in records]
    if users:
        await connection.execute(QUERIES["share_folder"], folder, users)
