"""The rights that poddispatchd's role needs in Pod's database, and those that it has beyond them."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from poddispatchd.database.connections import Connection
from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.pod import schema

_QUERIES = load_queries("poddispatchd.pod", "grants.sql")

_SHOWN = 12

_READ = (
    "auth_group",
    "authentication_accessgroup",
    "completion_track",
    "cut_cutvideo",
    "django_site",
    "dressing_dressing",
    "dressing_dressing_videos",
    "main_customfilemodel",
    "main_customimagemodel",
    "podfile_customfilemodel",
    "podfile_customimagemodel",
    "podfile_userfolder",
    "podfile_userfolder_users",
    "recorder_recorder_additional_users",
    "recorder_recorder_channel",
    "recorder_recorder_discipline",
    "recorder_recorder_restrict_access_to_groups",
    "recorder_recorder_sites",
    "recorder_recorder_tags",
    "recorder_recorder_theme",
    "recorder_recording",
    "recorder_tagulous_recorder_tags",
    "runner_manager",
    "runner_manager_task",
    *schema.PRIORITY_USERS,
    "video_encode_transcript_encodingaudio",
    "video_encode_transcript_encodinglog",
    "video_encode_transcript_encodingstep",
    "video_encode_transcript_encodingvideo",
    "video_encode_transcript_playlistvideo",
    "video_encode_transcript_videorendition",
    "video_tagulous_video_tags",
    "video_video_additional_owners",
    "video_video_sites",
)
"""Tables that may be read as a whole."""

_READ_IN_PART: Mapping[str, str] = {
    "auth_user": "id username first_name last_name email",
    "authentication_owner": "user_id hashkey affiliation establishment accepts_notifications",
    "recorder_recorder": (
        "id user_id type_id is_draft is_restricted password cursus main_lang transcript licence "
        "allow_downloading is_360 disable_comment"
    ),
    "video_video": (
        "id video title title_* slug owner_id main_lang transcript overview duration encoding_in_progress "
        "date_added thumbnail_id"
    ),
    **schema.NOTIFIED,
}
"""Tables with secrets beside what is read: hashes of passwords, logins of recorders, passwords of videos.

The password of a recorder is read, for Pod gives it to the video of a studio recording.
"""

INSERTED = (
    "completion_track",
    "main_customfilemodel",
    "main_customimagemodel",
    "podfile_customfilemodel",
    "podfile_customimagemodel",
    "podfile_userfolder",
    "podfile_userfolder_users",
    "runner_manager_task",
    "video_encode_transcript_encodingaudio",
    "video_encode_transcript_encodinglog",
    "video_encode_transcript_encodingstep",
    "video_encode_transcript_encodingvideo",
    "video_encode_transcript_playlistvideo",
    "video_tagulous_video_tags",
    "video_video",
    "video_video_additional_owners",
    "video_video_channel",
    "video_video_discipline",
    "video_video_restrict_access_to_groups",
    "video_video_sites",
    "video_video_tags",
    "video_video_theme",
)
"""Tables that get new rows."""

_NUMBERED = ("video_video",)
"""Those whose next id is taken before the row is made: the files of a recording are called after it."""

_UPDATED: Mapping[str, str] = {
    "completion_track": "src_id",
    "podfile_userfolder": "name owner_id",
    "recorder_recording": "comment",
    "runner_manager_task": "status task_id rank script_output date_added runner_manager_id",
    "video_encode_transcript_encodingaudio": "source_file",
    "video_encode_transcript_encodinglog": "log",
    "video_encode_transcript_encodingstep": "num_step desc_step",
    "video_encode_transcript_encodingvideo": "source_file",
    "video_encode_transcript_playlistvideo": "source_file",
    "video_tagulous_video_tags": "count",
    "video_video": "duration is_video overview encoding_in_progress thumbnail_id is_restricted",
}

_DELETED = (
    "podfile_userfolder_users",
    "runner_manager_task",
    "video_encode_transcript_encodingaudio",
    "video_encode_transcript_encodingvideo",
    "video_encode_transcript_playlistvideo",
)
"""What an import replaces, and what is purged."""

_SPARED = frozenset({("podfile_userfolder_users", "DELETE")})
"""Rights that releases before did without: a daemon whose role was not given them since works on."""


class Right(Struct, frozen=True):
    """A privilege on a table, or on some of its columns; ``name_*`` stands for all that begin so."""

    table: str
    privilege: str
    columns: tuple[str, ...] = ()


def needed_rights() -> Iterator[Right]:
    """Every privilege that is needed on every table; a table or column that this Pod lacks needs none."""
    for table in sorted({*_READ, *_READ_IN_PART, *INSERTED}):
        if table in _READ:
            yield Right(table, "SELECT")
        if table in _READ_IN_PART:
            yield Right(table, "SELECT", tuple(_READ_IN_PART[table].split()))
        if table in INSERTED:
            yield Right(table, "INSERT")
        if table in _UPDATED:
            yield Right(table, "UPDATE", tuple(_UPDATED[table].split()))
        if table in _DELETED:
            yield Right(table, "DELETE")


def every_table() -> frozenset[str]:
    """All tables of Pod's that are used, whether this Pod has them or not."""
    return frozenset(right.table for right in needed_rights())


async def missing_rights(database: "Database | Connection") -> list[Right]:
    """The rights that the role of this connection lacks and must have, on tables and columns that exist.

    Columns of ``name_*`` may be missing: what they hold can be done without.
    """
    return [right for right in await _lacking(database) if (right.table, right.privilege) not in _SPARED]


async def missing_sequences(connection: Connection) -> list[Right]:
    """The rights that the role lacks on sequences that give ids: without one its table gets no new rows.

    All else goes on without: a daemon is not kept from its start.
    """
    query = _QUERIES["missing_sequences"](tables=list(INSERTED), numbered=list(_NUMBERED))
    return [Right(row["name"], "USAGE") for row in await connection.fetch(*query)]


async def undone_without_rights(database: Database) -> str | None:
    """What is left undone since the role of this connection lacks a right, in a sentence; None: nothing."""
    spared = [right for right in await _lacking(database) if (right.table, right.privilege) in _SPARED]
    if not spared:
        return None
    return f"Who was an additional owner of a video keeps a share in its folder. {words_of(spared)}"


async def _lacking(database: "Database | Connection") -> list[Right]:
    rows = await database.fetch(*_QUERIES["missing_rights"](**_as_arrays()))
    return [Right(row["table_name"], row["privilege"], tuple(row["columns"])) for row in rows]


def _as_arrays() -> dict[str, list[str]]:
    rights = list(needed_rights())
    return {
        "tables": [right.table for right in rights],
        "privileges": [right.privilege for right in rights],
        "columns": [" ".join(right.columns) for right in rights],
    }


def words_of(missing: Iterable[Right]) -> str:
    """A sentence that names the rights and says how they are given."""
    by_table: dict[str, list[str]] = {}
    for right in missing:
        columns = f" ({', '.join(right.columns)})" if right.columns else ""
        by_table.setdefault(right.table, []).append(right.privilege + columns)
    listed = "; ".join(f"{', '.join(rights)} on {table}" for table, rights in by_table.items())
    return (
        f"The database role lacks {listed}: let the owner of Pod's tables run what "
        "'poddispatchd db grants ROLE' prints."
    )


async def hidden_rows(database: Database) -> str | None:
    """Of which tables policies may hide rows from the role of this connection, in a sentence; None: none."""
    rows = await database.fetch(*_QUERIES["hidden_rows"](tables=_as_arrays()["tables"]))
    if not rows:
        return None
    tables = ", ".join(row["name"] for row in rows)
    return (
        f"Row-level security holds for this role on {tables}, and what it hides looks deleted: "
        "nothing of these tables is read until an administrator gives the role BYPASSRLS (ALTER ROLE)."
    )


async def surplus_rights(database: Database) -> str | None:
    """What the role of this connection may do beyond its needs, in a sentence; None: nothing."""
    advice = (
        "give poddispatchd a role of its own: write another user, and a password for it, into database.dsn, "
        "then 'poddispatchd db setup' makes that role"
    )
    role = await database.fetchrow(*_QUERIES["role"]())
    assert role is not None  # noqa: S101 - every session has a role
    if role["is_superuser"]:
        return f"The role {role['name']} is a superuser, who may read and change everything: {advice}."
    if role["owns_tables"]:
        return f"The role {role['name']} owns Pod's tables, and may change or drop them: {advice}."
    found = [words for words, has in (("CREATE on the database", role["may_create"]),) if has]
    rows = await database.fetch(*_QUERIES["surplus_rights"](**_as_arrays()))
    found += [f"{', '.join(row['privileges'])} on {row['table_name']}" for row in rows]
    if not found:
        return None
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f"The role {role['name']} has rights that it does not need: {'; '.join(found[:_SHOWN])}{more}. "
        f"Revoke them, or {advice}."
    )


def grants_script(role: str) -> str:
    """The statements that give a role what it needs; tables and columns that this Pod lacks are skipped.

    The schema is made for the role, which so needs no right to create any; who may not give it away, lets the
    role use it.
    """
    literal = _literal(role)
    wanted = ",\n".join(
        f"    ('{right.table}', '{right.privilege}', '{' '.join(right.columns)}')"
        for right in needed_rights()
    )
    return _QUERIES["grant"].fill(role=literal, rights=wanted).source + ";\n"


def joining(role: str) -> str:
    """The statement that lets who has made the role act as it; without one where that is so already."""
    return _QUERIES["join"].fill(role=_literal(role)).source


def leaving(role: str) -> str:
    """The statement that takes back what ``joining`` gave, in the same transaction."""
    return _QUERIES["leave"].fill(role=_literal(role)).source


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
