"""Recorded imports: staging what the runner served, and comparing what changed with what Pod changed."""

import asyncio
import base64
import hashlib
import json
import re
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeAlias

import asyncpg

from poddispatchd.config.model import PodSettings
from poddispatchd.database import Connection, Database
from poddispatchd.domain.encoding_result import is_safe_name
from poddispatchd.domain.task import ManagerId, RecordingId, RunnerTaskId, Task, TaskPk, TaskType, VideoId
from poddispatchd.errors import ResultError
from poddispatchd.pod.capabilities import Capabilities, introspect
from poddispatchd.pod.imports.common import ImportOutcome
from poddispatchd.pod.media_tree import MediaTree, delete_files
from tests.plugins.shared_world import RECORDED_MEDIA_ROOT, SharedWorld, blob
from tests.shared import SHARED

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Row: TypeAlias = dict[str, Json]

TASK = 9001

_CTIME = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}")
_NOW = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.\d{6}")
_STAMP = re.compile(r"\d{8}-\d{6}")
_RECORDED_RANDOM = re.compile(r"_\{\{RAND7\}\}")
_IGNORED = ("django_session", "django_migrations", "auth_permission", "django_content_type")


def cases(task_type: TaskType) -> list[str]:
    """``case/variant`` of every recorded import of a type; empty without the recorded material."""
    if SHARED is None:
        return []
    return [
        f"{path.parent.name}/{path.name.split('.')[1]}"
        for path in sorted((SHARED / "vectors" / "imports").glob("*/case.*.json"))
        if json.loads(path.read_text())["task_type"] == task_type
    ]


def load(name: str) -> dict[str, Json]:
    """A case by its ``case/variant``."""
    assert SHARED is not None
    identifier, variant = name.split("/")
    loaded: dict[str, Json] = json.loads(
        (SHARED / "vectors" / "imports" / identifier / f"case.{variant}.json").read_text()
    )
    return loaded


def mapping(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value


def items(value: Json) -> list[Json]:
    assert isinstance(value, list)
    return value


def text(value: Json) -> str:
    assert isinstance(value, str)
    return value


def served(case: Mapping[str, Json], runner: Json = None) -> dict[str, bytes] | None:
    """The files a downloader would have brought, in the order of the manifest; None if it could not."""
    for manager in mapping(runner if runner is not None else case["runner"]).values():
        for result in mapping(mapping(manager).get("results") or {}).values():
            manifest = mapping(mapping(result)["manifest"])
            if manifest.get("status", 200) != 200:
                return None
            document = json.loads(text(manifest["raw"])) if "raw" in manifest else manifest["json"]
            listing = mapping(document)["files"]
            if not isinstance(listing, list):
                return None
            return _downloaded(case, listing, mapping(mapping(result)["files"]))
    return None


def _downloaded(
    case: Mapping[str, Json], listing: list[Json], answers: dict[str, Json]
) -> dict[str, bytes] | None:
    files: dict[str, bytes] = {}
    for entry in listing:
        name = (entry.get("file_path") or entry.get("path")) if isinstance(entry, dict) else entry
        if not isinstance(name, str) or not is_safe_name(name):
            continue
        if case["task_type"] == "transcription" and not name.lower().endswith((".vtt", ".json")):
            continue
        answer = answers.get(name)
        if isinstance(answer, list):
            answer = answer[-1]
        content = None if answer is None else _content(mapping(answer))
        if content is None:
            return None
        files[name] = content
    return files


def _content(answer: Mapping[str, Json]) -> bytes | None:
    if answer.get("status", 200) != 200 or "close" in answer:
        return None
    if "text" in answer:
        return text(answer["text"]).encode()
    if "raw" in answer:
        return text(answer["raw"]).encode()
    if "b64" in answer:
        return base64.b64decode(text(answer["b64"]))
    return blob(text(answer["blob"])) if "blob" in answer else b""


def stage(files: Mapping[str, bytes], staging: Path) -> None:
    """Write files as the downloader leaves them."""
    for name, content in files.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def read_task(connection: "asyncpg.Connection[asyncpg.Record]", pk: int = TASK) -> Task:
    """The task of a case."""
    row = await connection.fetchrow("SELECT * FROM runner_manager_task WHERE id = $1", pk)
    assert row is not None
    return Task(
        pk=TaskPk(row["id"]),
        type=TaskType(row["type"]),
        status=row["status"],
        task_id=RunnerTaskId(row["task_id"]),
        runner_manager_id=ManagerId(row["runner_manager_id"]),
        video_id=None if row["video_id"] is None else VideoId(row["video_id"]),
        recording_id=None if row["recording_id"] is None else RecordingId(row["recording_id"]),
        date_added=row["date_added"],
    )


@dataclass(slots=True)
class Snapshot:
    """Every row and every file at one moment."""

    rows: dict[str, dict[str, Row]]
    files: dict[str, tuple[int, bytes]]


async def snapshot(connection: "asyncpg.Connection[asyncpg.Record]", media_root: Path) -> Snapshot:
    """All rows of the public schema by table and key, all files with mode and content."""
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL ($1::text[])",
        list(_IGNORED),
    )
    rows: dict[str, dict[str, Row]] = {}
    for (table,) in tables:
        records = await connection.fetch(f'SELECT row_to_json(t) AS row FROM public."{table}" AS t')
        parsed = [json.loads(record["row"]) for record in records]
        rows[table] = {str(row.get("id", row)): row for row in parsed}
    return Snapshot(rows, await asyncio.to_thread(_files, media_root))


def _files(media_root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(media_root).as_posix(): (path.stat().st_mode & 0o777, path.read_bytes())
        for path in sorted(media_root.rglob("*"))
        if path.is_file()
    }


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


def _normalise(value: Json, media_root: str = RECORDED_MEDIA_ROOT) -> Json:
    if isinstance(value, str):
        value = value.replace(media_root, RECORDED_MEDIA_ROOT)
        value = _CTIME.sub("{{CTIME}}", value)
        return _STAMP.sub("{{STAMP}}", _NOW.sub("{{NOW}}", value))
    return value


def actual_changes(before: Snapshot, after: Snapshot, media_root: Path) -> Changes:
    """The difference between two snapshots; the task's own row is left out (its status is the caller's)."""
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
            if table == "runner_manager_task" and key == str(TASK):
                continue
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
        if before.files.get(path) != (mode, content) and not path.startswith(".runner_task_locks/"):
            changes.written[text(_normalise(path))] = _fingerprint(mode, content, str(media_root))
    changes.removed = [text(_normalise(path)) for path in before.files if path not in after.files]
    changes.deleted.sort()
    return changes


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
    pointed = [_POINTERS[column]] if column in _POINTERS else []
    if column in ("thumbnail_id", "src_id"):
        kind = "image" if column == "thumbnail_id" else "file"
        pointed = [f"podfile_custom{kind}model", f"main_custom{kind}model"]
    for target in pointed:
        if (target, value) in references:
            return {"$ref": references[target, value]}
    return _normalise(value, media_root)


def _fingerprint(mode: int, content: bytes, media_root: str) -> str:
    decoded = content.decode("utf-8", "surrogateescape").replace(media_root, RECORDED_MEDIA_ROOT)
    normalised = _CTIME.sub("{{CTIME}}", decoded)
    digest = hashlib.sha256(normalised.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{mode:o} {digest}"


def expected_changes(expect: Mapping[str, Json], *, today_plus: Mapping[int, str]) -> Changes:
    """A recorded expectation in the same form, without what Pod does twice.

    The thumbnail: Pod imports it once for the video and once for the audio. We import it once.
    The chained transcription: Pod submits it at once; here it is left pending for the dispatcher.
    """
    changes = Changes()
    renumbered = _renumbered(expect)
    for entry in map(mapping, items(expect.get("db_diff", []))):
        table = text(entry["table"])
        if table == "runner_manager_task" and entry.get("id") == TASK:
            continue
        if entry["op"] == "insert":
            if text(entry["ref"]) in renumbered:
                continue
            row = {
                key: _expected(value, renumbered, today_plus) for key, value in mapping(entry["row"]).items()
            }
            if table == "runner_manager_task":
                row |= {"status": "pending", "rank": None, "task_id": None, "runner_manager_id": None}
            changes.inserted.setdefault(table, []).append(row)
        elif entry["op"] == "update":
            changes.updated[f"{table} {entry['id']}"] = {
                column: _expected(items(pair)[1], renumbered, today_plus)
                for column, pair in mapping(entry["changes"]).items()
            }
        else:
            changes.deleted.append(f"{table} {entry['id']}")
    files = mapping(expect.get("files", {}))
    for entry in map(mapping, [*items(files.get("added", [])), *items(files.get("changed", []))]):
        path = text(entry["path"])
        if not path.startswith(".runner_task_locks/") and "{{RAND7}}" not in path:
            changes.written[path] = _expected_fingerprint(entry)
    changes.removed = [
        text(entry["path"] if isinstance(entry, dict) else entry) for entry in items(files.get("removed", []))
    ]
    changes.deleted.sort()
    return changes


def _renumbered(expect: Mapping[str, Json]) -> set[str]:
    """The second image rows: references to them become references to the first, which alone is made here."""
    second = set()
    for entry in map(mapping, items(expect.get("db_diff", []))):
        row = mapping(entry["row"]) if entry["op"] == "insert" else {}
        if _RECORDED_RANDOM.search(str(row.get("file", ""))) and str(entry["ref"]).endswith("model#2"):
            second.add(text(entry["ref"]))
    return second


def _expected(value: Json, renumbered: set[str], today_plus: Mapping[int, str]) -> Json:
    if isinstance(value, dict) and "$ref" in value and text(value["$ref"]) in renumbered:
        return {"$ref": text(value["$ref"]).replace("#2", "#1")}
    if isinstance(value, dict) and "$today_plus_days" in value:
        days = value["$today_plus_days"]
        assert isinstance(days, int)
        return today_plus[days]
    return _once(value) if isinstance(value, str) else value


def _once(log: str) -> str:
    """A log without its second line about the thumbnail."""
    lines = re.findall(r"\n- thumbnailfilename :\n[^\n]+", log)
    if len(lines) < 2:
        return log
    head, _, tail = log.rpartition(lines[-1])
    return head + tail


def _expected_fingerprint(entry: Mapping[str, Json]) -> str:
    digest = entry.get("normalised_sha256") or entry["sha256"]
    return f"{entry['mode']} {'*' if 'normalised_tail' in entry else digest}"


def compare(actual: Changes, expected: Changes) -> list[str]:
    """Every difference, in words; empty when they agree."""
    differences = []
    for table in sorted(actual.inserted.keys() | expected.inserted.keys()):
        ours = sorted(json.dumps(row, sort_keys=True) for row in actual.inserted.get(table, []))
        theirs = sorted(json.dumps(row, sort_keys=True) for row in expected.inserted.get(table, []))
        differences += [f"inserted besides: {table} {row}" for row in _minus(ours, theirs)]
        differences += [f"not inserted: {table} {row}" for row in _minus(theirs, ours)]
    for key in sorted(actual.updated.keys() | expected.updated.keys()):
        ours_row, theirs_row = actual.updated.get(key, {}), expected.updated.get(key, {})
        same = "(unchanged)"
        differences += [
            f"{key}.{column}: {ours_row.get(column, same)!r}, not {theirs_row.get(column, same)!r}"
            for column in sorted(ours_row.keys() | theirs_row.keys())
            if ours_row.get(column, ...) != theirs_row.get(column, ...)
        ]
    differences += [f"deleted besides: {key}" for key in _minus(actual.deleted, expected.deleted)]
    differences += [f"not deleted: {key}" for key in _minus(expected.deleted, actual.deleted)]
    for path in sorted(actual.written.keys() | expected.written.keys()):
        mine, wanted = actual.written.get(path, "absent"), expected.written.get(path, "absent")
        if mine != wanted and not (wanted.endswith("*") and mine.split()[0] == wanted.split()[0]):
            differences.append(f"file {path}: {mine}, not {wanted}")
    differences += [f"file removed besides: {path}" for path in _minus(actual.removed, expected.removed)]
    differences += [f"file not removed: {path}" for path in _minus(expected.removed, actual.removed)]
    return differences


def _minus(first: Iterable[str], second: Iterable[str]) -> list[str]:
    rest = list(second)
    left = []
    for item in first:
        if item in rest:
            rest.remove(item)
        else:
            left.append(item)
    return left


def settings_of(case: Mapping[str, Json], media_root: Path) -> PodSettings:
    """Our settings for a case's Pod."""
    pod = {**mapping(case["settings"]), **mapping(case.get("settings_changed") or {})}
    mode = pod.get("FILE_UPLOAD_PERMISSIONS", "0644")
    values: dict[str, object] = {
        "media_root": media_root,
        "site_id": pod["SITE_ID"],
        "use_transcription": pod["USE_TRANSCRIPTION"],
        "transcription_type": pod["TRANSCRIPTION_TYPE"],
        "captions_strict_accessibility": pod.get("CAPTIONS_STRICT_ACCESSIBILITY", False),
        "language": pod["LANGUAGE_CODE"],
        "time_zone": "UTC",
        "file_permissions": f"{mode:o}" if isinstance(mode, int) else mode,
    }
    return PodSettings.model_validate(values)


@dataclass(slots=True)
class Imported:
    """What an import did: the changes, or why it was refused."""

    changes: Changes
    error: ResultError | None
    outcome: ImportOutcome | None


class PlannedImport(Protocol):
    """A plan of any task type."""

    def apply_files(self) -> None: ...


class Prepare(Protocol):
    """The first step of an import."""

    def __call__(
        self,
        database: Database,
        settings: PodSettings,
        capabilities: Capabilities,
        task: Task,
        *,
        staging: Path,
        now: datetime,
    ) -> Awaitable[PlannedImport]: ...


@dataclass(frozen=True, slots=True)
class Imports:
    """How a task type is imported: where its result is staged, and the two steps that touch the database."""

    staging: Callable[[Database, MediaTree, Task], Awaitable[Path]]
    prepare: "Prepare"
    write_rows: Callable[[Connection, PlannedImport], Awaitable[ImportOutcome]]


async def run_import(
    world: SharedWorld,
    case: Mapping[str, Json],
    imports: Imports,
    *,
    now: datetime,
    files: Mapping[str, bytes] | None = None,
) -> Imported:
    """Import a case's result as the importer does, and tell what changed.

    ``files``: what was downloaded, if not what the case serves.
    """
    await world.apply(case)
    files = served(case) if files is None else files
    assert files is not None, "this result cannot be downloaded"
    async with world.database.connection() as connection:
        task = await read_task(connection)
        before = await snapshot(connection, world.media_root)
    database = Database(world.database.dsn, pool_size=2)
    await database.open()
    error = outcome = staging = None
    tree = MediaTree(world.media_root)
    try:
        capabilities = await introspect(database)
        staging = await imports.staging(database, tree, task)
        stage(files, staging)
        plan = await imports.prepare(
            database, settings_of(case, world.media_root), capabilities, task, staging=staging, now=now
        )
        await asyncio.to_thread(plan.apply_files)
        async with database.transaction() as transaction:
            outcome = await imports.write_rows(transaction, plan)
        assert await asyncio.to_thread(delete_files, tree, outcome.obsolete_files) == {}
    except ResultError as caught:
        error = caught
    finally:
        await database.close()
    if staging is not None:
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)
    async with world.database.connection() as connection:
        after = await snapshot(connection, world.media_root)
    return Imported(actual_changes(before, after, world.media_root), error, outcome)


def dates(now: datetime) -> dict[int, str]:
    """The dates that recordings name by their distance from today."""
    return {days: (now + timedelta(days=days)).date().isoformat() for days in (0, 365, 730, 1095, 1460)}


def completed(expect: Mapping[str, Json]) -> bool:
    """Whether Pod completed the task in this step."""
    for entry in map(mapping, items(expect.get("db_diff", []))):
        if entry["table"] == "runner_manager_task" and entry.get("id") == TASK:
            changed = mapping(entry["changes"])
            return items(changed.get("status", [None, None]))[1] == "completed"
    return False


def steps(case: Mapping[str, Json]) -> list[dict[str, Json]]:
    """What Pod did, step by step."""
    expect = case["expect"]
    return [mapping(step) for step in (expect if isinstance(expect, list) else [expect])]


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where we differ from the recorded Pod on purpose.

    ``error``: we refuse what Pod completed. ``like``: we do what Pod did in another case. ``change``: what is
    different then. ``other_log``: the words of the log are ours.
    """

    why: str
    error: type[ResultError] | None = None
    like: str | None = None
    change: Callable[[Changes], None] | None = None
    other_log: bool = False


def wanted_changes(
    case: Mapping[str, Json], deviation: Deviation | None, now: datetime
) -> Changes | type[ResultError]:
    """What an import of this case must change, or the error it must end with."""
    if deviation is not None and deviation.error is not None:
        return deviation.error
    source = case
    if deviation is not None and deviation.like is not None:
        source = load(f"{deviation.like}/podfile")
    elif not completed(steps(case)[0]) and (deviation is None or deviation.change is None):
        return ResultError
    changes = expected_changes(steps(source)[0], today_plus=dates(now))
    if source["variant"] != case["variant"]:
        _without_podfile(changes)
    if deviation is not None and deviation.change is not None:
        deviation.change(changes)
    return changes


def _without_podfile(changes: Changes) -> None:
    """What the same import changes without podfile: no folders, and every stored file in one place."""
    for kind in ("image", "file"):
        rows = changes.inserted.pop(f"podfile_custom{kind}model", [])
        if rows:
            changes.inserted[f"main_custom{kind}model"] = [
                {"file": "files/" + text(row["file"]).rpartition("/")[2]} for row in rows
            ]
    for table in ("podfile_userfolder", "podfile_userfolder_users"):
        changes.inserted.pop(table, None)
    changes.written = {
        re.sub(r"^files/.*/", "files/", path): print_ for path, print_ in changes.written.items()
    }
    document = json.dumps([changes.inserted, changes.updated]).replace("podfile_custom", "main_custom")
    changes.inserted, changes.updated = json.loads(document)


def assert_as_wanted(imported: Imported, wanted: Changes | type[ResultError], *, other_log: bool) -> None:
    """The import changed what it must, and nothing else; a refused one changed nothing at all."""
    if not isinstance(wanted, Changes):
        assert isinstance(imported.error, wanted), imported.error
        _assert_none(compare(imported.changes, Changes()))
        return
    assert imported.error is None
    assert imported.outcome is not None
    # Pod leaves the files of replaced rows behind here: it deletes them when it submits the next encoding.
    changes = imported.changes
    changes.removed = _minus(changes.removed, imported.outcome.obsolete_files)
    if other_log:
        for side in (changes, wanted):
            _forget_log(side)
    _assert_none(compare(changes, wanted))


def _assert_none(differences: list[str]) -> None:
    assert not differences, "\n".join(["", *differences])


def _forget_log(changes: Changes) -> None:
    logs = "video_encode_transcript_encodinglog"
    for row in changes.inserted.get(logs, []):
        row["log"] = "…"
    for key, row in changes.updated.items():
        if key.startswith(logs):
            row["log"] = "…"
