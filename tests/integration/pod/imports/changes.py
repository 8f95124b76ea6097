"""What an import changed: every row and every file before and after, in comparable form."""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import asyncpg

from tests.plugins.shared_world import RECORDED_MEDIA_ROOT
from tests.recorded.values import Json, text
from tests.tables import all_rows

Row = dict[str, Json]

_CTIME = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}")
_NOW = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.\d{6}")
_STAMP = re.compile(r"\d{8}-\d{6}")
_RECORDED_DISTANCES = (0, 730)
"""Days from the import's own to the dates that recordings name."""
_IGNORED = ("django_session", "django_migrations", "auth_permission", "django_content_type")


@dataclass(slots=True)
class Snapshot:
    """Every row and every file at one moment."""

    rows: dict[str, dict[str, Row]]
    files: dict[str, tuple[int, bytes]]
    directories: set[str]


async def snapshot(connection: "asyncpg.Connection[asyncpg.Record]", media_root: Path) -> Snapshot:
    """All rows of the public schema by table and key, all files with mode and content."""
    rows = {
        table: {str(row.get("id", row)): cast("Row", row) for row in found}
        for table, found in (await all_rows(connection, without=_IGNORED)).items()
    }
    return Snapshot(rows, *await asyncio.to_thread(_tree, media_root))


def _tree(media_root: Path) -> tuple[dict[str, tuple[int, bytes]], set[str]]:
    files, directories = {}, set()
    for path in sorted(media_root.rglob("*")):
        name = path.relative_to(media_root).as_posix()
        if path.is_dir():
            directories.add(name)
        elif not name.startswith(".runner_task_locks/"):
            files[name] = (path.stat().st_mode & 0o777, path.read_bytes())
    return files, directories


@dataclass(slots=True)
class Changes:
    """What changed, in comparable form: rows by what they are, files by their normalised path.

    ``inserted`` rows have their ids and references replaced by the number of the row in its table.
    """

    inserted: dict[str, list[Row]] = field(default_factory=dict)
    updated: dict[str, Row] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    """Without the files of replaced rows, which Pod leaves until it submits the next encoding."""
    empty: set[str] = field(default_factory=set)
    """New directories with nothing in them, but those that Pod leaves so, too."""
    abandoned: set[str] = field(default_factory=set)
    """Files that were offered to viewers, are not any more, and still lie there."""


def _normalise(value: Json, media_root: str = RECORDED_MEDIA_ROOT) -> Json:
    if isinstance(value, str):
        value = value.replace(media_root, RECORDED_MEDIA_ROOT)
        value = _CTIME.sub("{{CTIME}}", value)
        return _STAMP.sub("{{STAMP}}", _NOW.sub("{{NOW}}", value))
    return value


def actual_changes(before: Snapshot, after: Snapshot, media_root: Path) -> Changes:
    """The difference between two snapshots."""
    changes = Changes()
    references: dict[tuple[str, Json], str] = {}
    fresh: dict[str, list[Row]] = {}
    for table, rows in after.rows.items():
        new = [row for key, row in rows.items() if key not in before.rows[table]]
        new.sort(key=lambda row: (str(type(row.get("id"))), row.get("id") or 0))
        if new:
            fresh[table] = new
        for number, row in enumerate(new, 1):
            references[table, row.get("id")] = f"{table}#{number}"
    for table, new in fresh.items():
        changes.inserted[table] = [
            {
                column: _value(column, value, references, str(media_root))
                for column, value in row.items()
                if column != "id"
            }
            for row in new
        ]
    for table, rows in before.rows.items():
        for key, row in rows.items():
            now = after.rows[table].get(key)
            if now is None:
                changes.deleted.append(f"{table} {key}")
            elif now != row:
                changes.updated[f"{table} {key}"] = {
                    column: _value(column, value, references, str(media_root))
                    for column, value in now.items()
                    if value != row[column]
                }
    for path, (mode, content) in after.files.items():
        if before.files.get(path) != (mode, content):
            changes.written[text(_normalise(path))] = _fingerprint(mode, content, str(media_root))
    replaced = offered(before) - offered(after)
    gone = [path for path in before.files if path not in after.files and path not in replaced]
    changes.removed = [text(_normalise(path)) for path in gone]
    occupied = {str(parent) for path in (*after.files, *after.directories) for parent in Path(path).parents}
    changes.abandoned = replaced & after.files.keys()
    changes.empty = after.directories - before.directories - occupied - {".runner_task_locks", "tasks"}
    changes.deleted.sort()
    return changes


def offered(state: Snapshot) -> set[str]:
    """The files that rows offer to viewers: encodings, playlists, and overviews with their image."""
    tables = ("encodingvideo", "encodingaudio", "playlistvideo")
    named = [
        text(row["source_file"])
        for table in tables
        for row in state.rows[f"video_encode_transcript_{table}"].values()
    ]
    overviews = [text(row["overview"]) for row in state.rows["video_video"].values() if row["overview"]]
    return {*named, *overviews, *(f"{path.removesuffix('.vtt')}.png" for path in overviews)}


_POINTERS = {
    "folder_id": "podfile_userfolder",
    "userfolder_id": "podfile_userfolder",
    "video_id": "video_video",
    "tagulous_video_tags_id": "video_tagulous_video_tags",
}


def _value(column: str, value: Json, references: Mapping[tuple[str, Json], str], media_root: str) -> Json:
    if column in ("date_added", "uploaded_at", "created_at"):
        # Imports get their moment from the test, which is now.
        assert abs(datetime.fromisoformat(text(value)) - datetime.now(UTC)) < timedelta(minutes=10)
        return {"$now": True}
    if column in ("date_evt", "date_delete") and value is not None:
        return {"$today_plus_days": _days_from_today(date.fromisoformat(text(value)))}
    pointed = [_POINTERS[column]] if column in _POINTERS else []
    if column in ("thumbnail_id", "src_id"):
        kind = "image" if column == "thumbnail_id" else "file"
        pointed = [f"podfile_custom{kind}model", f"main_custom{kind}model"]
    for target in pointed:
        if (target, value) in references:
            return {"$ref": references[target, value]}
    return _normalise(value, media_root)


def _days_from_today(day: date) -> int:
    """How far a date is from the day of the import, which is yesterday when midnight has passed since."""
    now = datetime.now(UTC)
    distances = [(day - moment.date()).days for moment in (now, now - timedelta(minutes=10))]
    return next((days for days in distances if days in _RECORDED_DISTANCES), distances[0])


def _fingerprint(mode: int, content: bytes, media_root: str) -> str:
    decoded = content.decode("utf-8", "surrogateescape").replace(media_root, RECORDED_MEDIA_ROOT)
    normalised = _CTIME.sub("{{CTIME}}", decoded)
    digest = hashlib.sha256(normalised.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{mode:o} {digest}"


def compare(actual: Changes, expected: Changes) -> list[str]:
    """Every difference, in words; empty when they agree."""
    differences = []
    for table in sorted(actual.inserted.keys() | expected.inserted.keys()):
        ours = sorted(json.dumps(row, sort_keys=True) for row in actual.inserted.get(table, []))
        theirs = sorted(json.dumps(row, sort_keys=True) for row in expected.inserted.get(table, []))
        differences += [f"inserted besides: {table} {row}" for row in minus(ours, theirs)]
        differences += [f"not inserted: {table} {row}" for row in minus(theirs, ours)]
    for key in sorted(actual.updated.keys() | expected.updated.keys()):
        ours_row, theirs_row = actual.updated.get(key, {}), expected.updated.get(key, {})
        same = "(unchanged)"
        differences += [
            f"{key}.{column}: {ours_row.get(column, same)!r}, not {theirs_row.get(column, same)!r}"
            for column in sorted(ours_row.keys() | theirs_row.keys())
            if ours_row.get(column, ...) != theirs_row.get(column, ...)
        ]
    differences += [f"deleted besides: {key}" for key in minus(actual.deleted, expected.deleted)]
    differences += [f"not deleted: {key}" for key in minus(expected.deleted, actual.deleted)]
    for path in sorted(actual.written.keys() | expected.written.keys()):
        mine, wanted = actual.written.get(path, "absent"), expected.written.get(path, "absent")
        if mine != wanted and not (wanted.endswith("*") and mine.split()[0] == wanted.split()[0]):
            differences.append(f"file {path}: {mine}, not {wanted}")
    differences += [f"file removed besides: {path}" for path in minus(actual.removed, expected.removed)]
    differences += [f"file not removed: {path}" for path in minus(expected.removed, actual.removed)]
    differences += [f"file left behind: {path}" for path in sorted(actual.abandoned)]
    differences += [f"empty directory: {path}" for path in sorted(actual.empty - expected.empty)]
    return differences


def minus(first: Iterable[str], second: Iterable[str]) -> list[str]:
    """What is in the first and not in the second, as often."""
    rest = list(second)
    left = []
    for item in first:
        if item in rest:
            rest.remove(item)
        else:
            left.append(item)
    return left
