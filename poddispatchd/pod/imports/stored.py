"""Files that Pod stores for its users: custom files and images, and podfile's folders."""

import json
import posixpath
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import render
from poddispatchd.domain.media import video_number
from poddispatchd.domain.naming import (
    collision_suffix,
    fit_file_field,
    fit_with_suffix,
    slugified_file_name,
)
from poddispatchd.errors import ResultRefusedError
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.facts import QUERIES, VideoFacts
from poddispatchd.pod.imports.plan import StagedResult
from poddispatchd.pod.media.files import same_content
from poddispatchd.pod.media.tree import MediaPath

_HASHKEY_LENGTH = 64
_MOST_NAMES = 50
"""Names that are tried for one file."""


def storage_tables(capabilities: Capabilities, table: str) -> tuple[str, ...]:
    """The tables written to when a custom file or image is stored in ``table``."""
    folders = ("podfile_userfolder", "podfile_userfolder_users") if capabilities.podfile else ()
    return (table, *folders)


def stored_files_directory(result: StagedResult, video: VideoFacts) -> str:
    """Where Pod stores custom files of a video's owner: in FILES_DIR, with podfile in ``<hashkey>`` there.

    For a user without an Owner row, the directory of the video file tells the hash key of the time.
    """
    files = result.settings.files_dir
    if not result.capabilities.podfile:
        return files
    hashkey = video.hashkey
    if not hashkey:
        hashkey = posixpath.basename(posixpath.dirname(video.video))
        if len(hashkey) != _HASHKEY_LENGTH:
            return files
    return f"{files}/{hashkey}"


async def choose_stored_name(
    result: StagedResult, *, table: str, directory: str, name: str, staged: MediaPath
) -> str:
    """A free path for a custom file, the same whenever this import is redone.

    The plain name is taken if it is free, or holds what an earlier attempt of ours left there: the same
    bytes, and no row names it. Then the first of the other names of which that is true: before a restore of
    the database the same import may have put files under these, which the journal has forgotten.

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
    path = ""
    try:
        for number in range(_MOST_NAMES):
            path = _numbered(result, directory, clean, number)
            if await _is_free(result, table, path, staged):
                break
    except ValueError as error:
        raise ResultRefusedError(f"{name!r} cannot be stored: {error}.") from None
    return path  # of all that are not free the last one: it is refused when it is recorded


def _numbered(result: StagedResult, directory: str, clean: str, number: int) -> str:
    """The name itself, then others that look like Django's: each import has its own, always in this order."""
    if number == 0:
        return fit_file_field(directory, clean)
    seed = clean if number == 1 else f"{clean}\0{number}"
    suffix = collision_suffix(result.task.pk, result.task.task_id, seed)
    return fit_with_suffix(directory, clean, suffix)


async def _is_free(result: StagedResult, table: str, path: str, staged: MediaPath) -> bool:
    """Whether nothing is there, or what an earlier attempt of ours left."""
    target = result.tree.path(path)
    if path in result.taken:
        return False
    if not await result.tree.run(target.exists):
        return True
    if result.ours is not None and path not in result.ours:
        return False
    named = await result.database.fetchrow(*render(QUERIES["file_is_named"], table=table)(path=path))
    if named is None or named[0]:
        return False
    return bool(await result.tree.run(same_content, staged, target))


class StoredResult(Struct, frozen=True):
    """What was stored, and what is known of its video.

    Args:
        file_id: the id of the new row; None without a file.
        media_rows: what the video has been encoded to so far, as documents.
        log: the text of the video's log; None if it has none yet.
    """

    file_id: int | None
    media_rows: Sequence[Mapping[str, Any]]
    log: str | None


async def store(
    connection: Connection,
    capabilities: Capabilities,
    video: VideoFacts,
    *,
    table: str,
    path: str | None,
    now: datetime,
) -> StoredResult:
    """Store a custom file or image, if there is one: always in a new row; in the caller's transaction.

    With podfile it lies in the video's folder, which is made if need be, and is the owner's. The folder is
    brought in step with the video in any case, as Pod does whenever it saves a video: it is shared with the
    additional owners, and with nobody else (which a role without DELETE there leaves undone).
    """
    values: dict[str, object] = {"video": video.id, "path": path}
    if capabilities.podfile:
        values["name"] = None if path is None else posixpath.splitext(posixpath.basename(path))[0]
        values |= {"now": now, "slug": video.slug, "owner": video.owner_id}
        values["numbered"] = f"{video_number(video.id)}-%"
    query = render(QUERIES["store_in_folder" if capabilities.podfile else "store"], table=table)
    record = await connection.fetchrow(*query(**values))
    assert record is not None  # noqa: S101 - a SELECT without FROM; tells mypy
    if record.get("others"):
        await connection.execute(*QUERIES["unshare"](others=record["others"]))
    return StoredResult(record["file_id"], json.loads(record["media_rows"] or "[]"), record["log"])
