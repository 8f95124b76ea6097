"""What this Pod's database can do, read from its catalog: every site generates its own tables.

Index and constraint names, the order of columns and the width of ids differ between sites, and older Pods
lack columns and tables; newer ones may ask for values that are not known here.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct, field
from msgspec.structs import force_setattr

from poddispatchd.database.connections import Connection
from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.errors import SchemaError
from poddispatchd.pod import schema

_QUERIES = load_queries("poddispatchd.pod", "introspection.sql")

_IMAGE_TABLES = {"podfile_customimagemodel": True, "main_customimagemodel": False}
"""Where the thumbnail of a video can point, and whether that means USE_PODFILE."""


class Capabilities(Struct, frozen=True):
    """What differs between Pods.

    ``podfile`` is USE_PODFILE as the tables were made; ``image_table`` and ``file_table`` hold custom
    images and files, ``watermark_table`` the watermarks of dressings. ``has_is_active``: runner managers
    can be deactivated. ``priority_user_table`` is None on Pods without priority users. ``title_languages``
    are the suffixes of the columns of translated titles (``fr`` of ``title_fr``), ``hidden_titles`` those of
    them that our role may not read: Pod learned that language after the grants. ``unknown_columns``
    names, by table, the columns that want a value which is not known here: nothing can be inserted there.
    ``m2m_tables`` are the many-to-many tables of videos and recorders that exist. ``readable_titles``, which
    follow from others, are the columns of translated titles that may be read.
    """

    podfile: bool
    image_table: str
    file_table: str
    watermark_table: str
    has_is_active: bool = True
    priority_user_table: str | None = None
    title_languages: tuple[str, ...] = ()
    hidden_titles: frozenset[str] = frozenset()
    unknown_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    m2m_tables: frozenset[str] = frozenset()
    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    readable_titles: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = (name for name in self.title_languages if name not in self.hidden_titles)
        # A name that SQL would want quoted is no language.
        titles = tuple(f"title_{name}" for name in names if re.fullmatch(r"[a-z0-9_]+", name))
        force_setattr(self, "readable_titles", titles)

    def check_insert(self, *tables: str) -> None:
        """Refuse to insert where a value is wanted that is not known here.

        Raises:
            SchemaError: with every such column; to be raised before anything is touched.
        """
        unknown = [f"{table}.{column}" for table in tables for column in self.unknown_columns.get(table, ())]
        if unknown:
            raise SchemaError(
                f"This Pod is newer than poddispatchd: {', '.join(unknown)} must have a value that is not "
                "known here. Nothing is imported into these tables; upgrade poddispatchd."
            )

    def describe(self) -> tuple[str, ...]:
        """What was found, one sentence each, for ``poddispatchd check``."""
        lines = [
            f"Pod runs {'with' if self.podfile else 'without'} podfile (images are in {self.image_table}).",
            "Runner managers can be deactivated in Pod's administration."
            if self.has_is_active
            else "Runner managers have no 'active' mark in this version of Pod: all of them are used.",
            "No table of priority users: students come last, everyone else is equal."
            if self.priority_user_table is None
            else f"Priority users are read from {self.priority_user_table}.",
            f"Titles are translated into: {', '.join(self.title_languages) or 'no language'}.",
        ]
        if self.hidden_titles:
            lines.append(
                f"The role may not read the titles in {', '.join(sorted(self.hidden_titles))}, and the plain "
                "title is used: let the owner of Pod's tables run what 'poddispatchd db grants ROLE' prints."
            )
        missing = sorted(schema.COPIED.keys() - self.m2m_tables)
        if missing:
            lines.append(f"Not in this version of Pod, and left out of studio imports: {', '.join(missing)}.")
        return tuple(lines)

    def problems(self) -> tuple[str, ...]:
        """What keeps results out of this Pod, one sentence each."""
        return tuple(
            f"Nothing can be inserted into {table}: it wants a value for {', '.join(columns)}, "
            "which this version of poddispatchd does not know. Results wait until poddispatchd is upgraded, "
            "or the column has a default."
            for table, columns in sorted(self.unknown_columns.items())
        )


_ENCODINGS = ("UTF8", "SQL_ASCII")
"""Of databases that hold every text; the second one holds whatever bytes it is given."""


class _Column(Struct, frozen=True):
    name: str
    wants_value: bool
    is_readable: bool = True


async def introspect(database: Database) -> Capabilities:
    """Read the catalog.

    Raises:
        SchemaError: this is no Pod, too old a one (all that is missing is named), or cannot hold all texts.
        DatabaseUnavailableError: the database cannot be reached.
    """
    wanted = {
        **schema.READ,
        **schema.WRITTEN,
        **schema.WRITTEN_WITH_PODFILE,
        **schema.WRITTEN_WITHOUT_PODFILE,
        **schema.COPIED,
        **dict.fromkeys(schema.PRIORITY_USERS, "user_id"),
    }
    tables: dict[str, list[_Column]] = {}
    for record in await database.fetch(*_QUERIES["columns"](tables=sorted(wanted))):
        if record["encoding"] not in _ENCODINGS:
            raise SchemaError(
                f"Pod's database is encoded in {record['encoding']}, and Django supports UTF8 only: what a "
                "runner says may hold what it cannot store, and the task would never end. Restore a dump of "
                "it into a database that is made with ENCODING 'UTF8'."
            )
        tables.setdefault(record["table_name"], []).append(
            _Column(
                record["column_name"],
                wants_value=record["not_null"] and not record["has_default"],
                is_readable=record["is_readable"],
            )
        )
    if "runner_manager_task" not in tables and (words := await hidden_tables(database)):
        raise SchemaError(words)
    pointers = await database.fetch(
        *_QUERIES["targets"](
            tables=[table for table, _ in schema.POINTERS], columns=[column for _, column in schema.POINTERS]
        ),
    )
    return capabilities_of(
        tables, {(record["table_name"], record["column_name"]): record["target"] for record in pointers}
    )


async def hidden_tables(database: "Database | Connection") -> str | None:
    """Where Pod's tables are when a session does not see them, and what helps; None: they are nowhere."""
    for record in await database.fetch(*_QUERIES["hidden_tables"]()):
        place, role = record["schema"], record["role"]
        if record["is_open"]:
            return (
                f"Pod's tables are in the schema {place}, where this session does not look for any: let a "
                f"DBA run ALTER DATABASE … SET search_path = {place}, or append ?search_path=… to "
                "database.dsn, where that leads to no pooler, and for 'poddispatchd db setup' to --owner-dsn."
            )
        return (
            f"Pod's tables are in the schema {place}, which the role {role} may not use: run "
            f"'poddispatchd db setup' again, or let a DBA run GRANT USAGE ON SCHEMA {place} TO {role}."
        )
    return None


def capabilities_of(
    tables: Mapping[str, Iterable[_Column]], targets: Mapping[tuple[str, str], str]
) -> Capabilities:
    """The capabilities that a catalog gives.

    Raises:
        SchemaError: with all that is missing.
    """
    columns = {table: frozenset(column.name for column in found) for table, found in tables.items()}
    image_table = targets.get(("video_video", "thumbnail_id"), "")
    podfile = _IMAGE_TABLES.get(image_table)
    file_table = targets.get(("completion_track", "src_id")) or (
        "podfile_customfilemodel" if podfile else "main_customfilemodel"
    )
    written = {**schema.WRITTEN}
    if podfile is not None:
        written |= schema.WRITTEN_WITH_PODFILE if podfile else schema.WRITTEN_WITHOUT_PODFILE
    _check_complete({**schema.READ, **written}, columns, image_table, podfile)
    hidden = frozenset(column.name for column in tables["video_video"] if not column.is_readable)
    title_languages = _suffixes(columns["video_video"], "title_")
    description_languages = _suffixes(columns["video_video"], "description_")
    known = {
        "video_video": {f"title_{language}" for language in title_languages}
        | {f"description_{language}" for language in description_languages}
    }
    unknown = {
        table: tuple(
            column.name
            for column in tables[table]
            if column.wants_value
            and column.name not in needed.split()
            and column.name not in schema.OPTIONAL_VALUES.get(table, "").split()
            and column.name not in known.get(table, ())
        )
        for table, needed in written.items()
    }
    return Capabilities(
        podfile=bool(podfile),
        image_table=image_table,
        file_table=file_table,
        watermark_table=targets.get(("dressing_dressing", "watermark_id"), image_table),
        has_is_active="is_active" in columns["runner_manager"],
        priority_user_table=next(
            (name for name in schema.PRIORITY_USERS if "user_id" in columns.get(name, ())), None
        ),
        title_languages=title_languages,
        hidden_titles=frozenset(_suffixes(hidden, "title_")),
        unknown_columns={table: names for table, names in unknown.items() if names},
        m2m_tables=frozenset(
            table
            for table, needed in schema.COPIED.items()
            if columns.get(table, frozenset()) >= {*needed.split()}
        ),
        columns=columns,
    )


def _suffixes(columns: frozenset[str], prefix: str) -> tuple[str, ...]:
    return tuple(sorted(column.removeprefix(prefix) for column in columns if column.startswith(prefix)))


def _check_complete(
    needed: Mapping[str, str], columns: Mapping[str, frozenset[str]], image_table: str, podfile: bool | None
) -> None:
    missing_tables = sorted(table for table in needed if table not in columns)
    missing_columns = [
        f"{table}.{column}"
        for table, names in sorted(needed.items())
        if table in columns
        for column in names.split()
        if column not in columns[table]
    ]
    findings = []
    if missing_tables:
        findings.append(f"missing tables: {', '.join(missing_tables)}")
    if missing_columns:
        findings.append(f"missing columns: {', '.join(missing_columns)}")
    if podfile is None and "video_video" in columns:
        findings.append(
            "video_video.thumbnail_id points at "
            + (f"{image_table}, which is no table of images known here" if image_table else "no table")
        )
    if findings:
        raise SchemaError(
            f"This is not the database of a Pod that poddispatchd knows ({'; '.join(findings)}). Check the "
            "database named in database.dsn and its search_path, run Pod's migrations (runner managers came "
            "with Pod 4.2), and grant the rights that 'poddispatchd db grants' prints. If Pod has just been "
            "upgraded, it may have a release of poddispatchd for it: install that one."
        )
