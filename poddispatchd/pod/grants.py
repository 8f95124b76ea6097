"""The rights that poddispatchd's role needs in Pod's database."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.pod import schema

_QUERIES = load_queries("poddispatchd.pod", "grants.sql")

_CHANGED = {
    **schema.WRITTEN,
    **schema.WRITTEN_WITH_PODFILE,
    **schema.WRITTEN_WITHOUT_PODFILE,
    **{table: columns for table, columns in schema.COPIED.items() if table.startswith("video_video_")},
    "video_tagulous_video_tags": "",
    "podfile_userfolder_users": "",
}
"""Tables in which rows are added and changed, and some deleted: what an import replaces, and purged tasks."""

_UPDATED = ("recorder_recording",)

_LOOKED_UP = ("auth_group", "authentication_accessgroup", "recorder_tagulous_recorder_tags")
"""What the links of a recorder point at: a studio import finds the like for its video."""


@dataclass(frozen=True, slots=True)
class MissingRight:
    """A right that the current role lacks."""

    table: str
    privilege: str


def needed_rights() -> Iterator[tuple[str, str]]:
    """Every table with each privilege needed on it; a table that this Pod lacks needs none."""
    read = {*schema.READ, *schema.COPIED, *schema.PRIORITY_USERS, *schema.NOTIFIED, *_LOOKED_UP}
    for table in sorted(read | _CHANGED.keys()):
        yield table, "SELECT"
        if table in _CHANGED:
            yield from ((table, privilege) for privilege in ("INSERT", "UPDATE", "DELETE"))
        elif table in _UPDATED:
            yield table, "UPDATE"


async def missing_rights(database: Database) -> list[MissingRight]:
    """The rights that the role of this connection lacks, on tables that exist."""
    tables, privileges = zip(*needed_rights(), strict=True)
    rows = await database.fetch(*_QUERIES["missing_rights"](tables=list(tables), privileges=list(privileges)))
    return [MissingRight(row["table_name"], row["privilege"]) for row in rows]


def words_of(missing: Iterable[MissingRight]) -> str:
    """A sentence that names the rights and says how they are given."""
    by_table: dict[str, list[str]] = {}
    for right in missing:
        by_table.setdefault(right.table, []).append(right.privilege)
    listed = "; ".join(f"{', '.join(rights)} on {table}" for table, rights in by_table.items())
    return (
        f"The database role lacks {listed}: let the owner of Pod's tables run what "
        "'poddispatchd db grants ROLE' prints."
    )


def grants_script(role: str) -> str:
    """The statements that give a role what it needs; tables that this Pod lacks are skipped."""
    quoted = '"' + role.replace('"', '""') + '"'
    literal = "'" + role.replace("'", "''") + "'"
    by_table: dict[str, list[str]] = {}
    for table, privilege in needed_rights():
        by_table.setdefault(table, []).append(privilege)
    lines = [
        "-- Run by the owner of Pod's tables, in Pod's database.",
        "DO $$",
        "DECLARE item record;",
        "BEGIN",
        f"  EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', current_database(), {literal});",
        "  FOR item IN SELECT * FROM (VALUES",
        ",\n".join(f"    ('{table}', '{', '.join(rights)}')" for table, rights in by_table.items()),
        "  ) AS wanted (name, rights) LOOP",
        "    IF to_regclass(item.name) IS NOT NULL THEN",
        f"      EXECUTE format('GRANT %s ON %s TO %I', item.rights, to_regclass(item.name), {literal});",
        "    END IF;",
        "  END LOOP;",
        "END $$;",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {quoted};",
        "",
    ]
    return "\n".join(lines)
