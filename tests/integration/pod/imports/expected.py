"""What a recorded import must change here: what Pod changed, but where we differ on purpose."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.integration.pod.imports.changes import Changes
from tests.integration.pod.imports.vectors import load, steps
from tests.recorded.values import Json, items, mapping, text

_RECORDED_RANDOM = re.compile(r"_\{\{RAND7\}\}")


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where we differ from the recorded Pod on purpose.

    Args:
        why: in words.
        fails: words in which the task fails, where Pod completes it or leaves it running for ever.
        waits: whether it waits with these words first, for a person or for another day.
        like: the case in which Pod did what we do here.
        change: what is different then.
        other_log: whether the words of the log are ours.
        asks: the files asked for, if not those that Pod asks for.
    """

    why: str
    fails: tuple[str, ...] = ()
    waits: bool = False
    like: str | None = None
    change: Callable[[Changes], None] | None = None
    other_log: bool = False
    asks: tuple[str, ...] | None = None


def wanted_changes(case: Mapping[str, Json], step: int, deviations: Sequence[Deviation]) -> Changes:
    """What the import after a callback must change, if it is completed.

    Args:
        case: the recording.
        step: which of its callbacks.
        deviations: how we differ from it.
    """
    source = case
    for deviation in deviations:
        if deviation.like is not None:
            source, step = load(f"{deviation.like}/podfile"), 0
    changes = recorded_changes(steps(source)[step])
    if source["variant"] != case["variant"]:
        _without_podfile(changes)
    for deviation in deviations:
        if deviation.change is not None:
            deviation.change(changes)
    return changes


def recorded_changes(expect: Mapping[str, Json]) -> Changes:
    """A recorded expectation in the same form, without what Pod does twice.

    The thumbnail: Pod imports it once for the video and once for the audio. We import it once.
    The chained transcription: Pod submits it at once; here it is left pending for the dispatcher.
    """
    changes = Changes()
    renumbered = _renumbered(expect)
    for entry in map(mapping, items(expect.get("db_diff", []))):
        table = text(entry["table"])
        if entry["op"] == "insert":
            if text(entry["ref"]) in renumbered:
                continue
            row = {key: _expected(value, renumbered) for key, value in mapping(entry["row"]).items()}
            if table == "runner_manager_task":
                row |= {"status": "pending", "rank": None, "task_id": None, "runner_manager_id": None}
            changes.inserted.setdefault(table, []).append(row)
        elif entry["op"] == "update":
            changes.updated[f"{table} {entry['id']}"] = {
                column: _expected(items(pair)[1], renumbered)
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


def _expected(value: Json, renumbered: set[str]) -> Json:
    if isinstance(value, dict) and "$ref" in value and text(value["$ref"]) in renumbered:
        return {"$ref": text(value["$ref"]).replace("#2", "#1")}
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
