"""What Pod answers to callbacks and what it makes of them, request by request.

Where Pod's behaviour is a bug, or where the contract wants something better, ``_BETTER`` says what happens
here and why. Mails, and the look at the result that Pod takes within the request, are other tests' matter:
here a success leaves the row running and an import open in the journal.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from poddispatchd.database.pool import Connection
from poddispatchd.domain.script_output import LIMIT, bounded
from tests.integration.callbacks.bench import Answer, Bench, ShiftedClock, bench, open_imports, rows
from tests.plugins.shared_world import SharedWorldFactory
from tests.shared import SHARED

_CASES: list[dict[str, Any]] = (
    json.loads((SHARED / "vectors" / "webhook.json").read_bytes())["cases"] if SHARED else []
)

_TABLES = (
    "runner_manager_task",
    "video_encode_transcript_encodingstep",
    "video_encode_transcript_encodinglog",
    "video_video",
    "recorder_recording",
    "runner_manager",
)
_TASK, _STEP, _VIDEO, _RECORDING = _TABLES[0], _TABLES[1], _TABLES[3], _TABLES[4]

_OK = {"status": "OK"}

_BY_VIDEO = _TABLES[1:3]
"""Tables whose rows are told apart by their video: their ids differ from run to run."""

_KEEP = """
    CREATE SCHEMA kept;
    CREATE TABLE kept.runner_manager AS TABLE runner_manager;
    CREATE TABLE kept.video_video AS TABLE video_video;
    CREATE TABLE kept.recorder_recording AS TABLE recorder_recording;
"""
_RESTORE = """
    DELETE FROM video_encode_transcript_encodingstep;
    DELETE FROM video_encode_transcript_encodinglog;
    DELETE FROM poddispatchd.import;
    DELETE FROM poddispatchd.callback;
    UPDATE runner_manager AS t SET token = kept.token, url = kept.url
      FROM kept.runner_manager AS kept WHERE kept.id = t.id;
    UPDATE video_video AS t SET encoding_in_progress = kept.encoding_in_progress
      FROM kept.video_video AS kept WHERE kept.id = t.id;
    UPDATE recorder_recording AS t SET comment = kept.comment
      FROM kept.recorder_recording AS kept WHERE kept.id = t.id;
"""

Diff = dict[tuple[str, int], dict[str, object]]
"""What changed: new values by (table, id); all values of a new row."""


@dataclass(frozen=True)
class Better:
    """What happens here instead; ``steps`` are the answers and changes of each request."""

    why: str
    steps: tuple[tuple[int, object, Diff], ...]


def _task(pk: int = 9001, **changes: object) -> Diff:
    return {(_TASK, pk): changes}


def _failed_video(words: str, video: int = 2) -> Diff:
    return {(_STEP, video): {"num_step": -1, "desc_step": words, "video_id": video}}


def _refused(why: str, status: int, words: str, key: str = "error") -> Better:
    return Better(why, ((status, {key: words}, {}),))


def _taken(why: str, diff: Diff) -> Better:
    return Better(why, ((200, _OK, diff),))


_UNKNOWN_STATUS = _refused("a status that no manager gives is refused", 400, "Unknown status.")
_NO_JSON = _refused("what cannot be read is refused, whatever is wrong with it", 400, "Invalid request.")
_NOT_YOURS = _refused("never 500 for a token", 403, "Invalid Bearer token.")
_WARNING = "a success nobody fetched is imported like any other"
_LONG = "0123456789abcdef"

_BETTER: Mapping[str, Better] = {
    "method-post": Better("methods are case-sensitive: the server refuses it", ((400, None, {}),)),
    "ssl-redirect": _taken("TLS is the web server's in front", _task(script_output="")),
    "token-nonascii-latin1": _NOT_YOURS,
    "token-nonascii-utf8": _NOT_YOURS,
    "token-db-empty": _refused("a token of nobody, whatever its task", 403, "Invalid Bearer token."),
    "token-db-spaces": _taken("both are stripped", _task(script_output="")),
    "wrong-token-unknown-task": _refused("no probing of ids", 403, "Invalid Bearer token."),
    "body-infinity-status": _UNKNOWN_STATUS,
    "body-latin1": _NO_JSON,
    "body-latin1-debug": _NO_JSON,
    "body-deep-array": _NO_JSON,
    "body-2mb": _taken("the column is bounded", _task(script_output=bounded(_LONG * 131072))),
    "body-3mb": _taken(
        "accepted, and bounded",
        _task(status="failed", script_output=bounded(_LONG * 196608)) | _failed_video((_LONG * 16)[:255]),
    ),
    "taskid-surrogate": _refused("no task can have this id", 404, "Task not found."),
    "status-missing": _refused(
        "the caller's mistake, not ours", 400, "Task has not yet been successfully achieved.", key="status"
    ),
    "status-pending": _taken("progress, not a new submission", _task(script_output="out\n")),
    "status-empty": _UNKNOWN_STATUS,
    "status-null": _UNKNOWN_STATUS,
    "status-list": _UNKNOWN_STATUS,
    "status-dict": _UNKNOWN_STATUS,
    "status-upper": _UNKNOWN_STATUS,
    "status-cancelled": _UNKNOWN_STATUS,
    "status-30-chars": _UNKNOWN_STATUS,
    "status-31-chars": _UNKNOWN_STATUS,
    "status-nul": _UNKNOWN_STATUS,
    "msg-nul-output": _taken("NUL goes", _task(status="failed", script_output="ab") | _failed_video("ab")),
    "msg-nul-error": _taken(
        "NUL goes", _task(status="failed", script_output="ab\n---\n") | _failed_video("ab")
    ),
    "type-studio-rec_bare-failed": _taken(
        "the recording says so as well",
        _task(status="failed", script_output="msg\n---\nout") | {(_RECORDING, 2): {"comment": "\nmsg"}},
    ),
    "type-studio-rec_bare-timeout": _taken(
        "the recording says so as well",
        _task(status="timeout", script_output="msg\n---\nout") | {(_RECORDING, 2): {"comment": "\nmsg"}},
    ),
    "type-studio-rec_bare-warning": _taken(_WARNING, _task(script_output="msg\n---\nout")),
    "type-transcription-v_no_lang-warning": _taken(_WARNING, _task(script_output="msg\n---\nout")),
    "matrix-pending-warning": _taken(_WARNING, _task(status="running", rank=None, script_output="o")),
    "matrix-running-warning": _taken(_WARNING, _task(script_output="o")),
    "matrix-timeout-warning": _taken(_WARNING, _task(status="running", script_output="o")),
    "matrix-completed-completed": _taken("a completed task stays as it is", {}),
    "matrix-completed-failed": _taken("a completed task stays as it is", {}),
    "matrix-timeout-running": _taken("what is over does not run", {}),
    "two-rows-same-manager": _taken(
        "both rows are served",
        _task(status="failed", script_output="")
        | _task(9002, status="failed", script_output="")
        | _failed_video("Runner manager task failed", 2)
        | _failed_video("Runner manager task failed", 3),
    ),
    "repeat-failed": Better(
        "a repetition changes nothing",
        (
            (200, _OK, _task(status="failed", script_output="boom\n---\n") | _failed_video("boom")),
            (200, _OK, {}),
        ),
    ),
    "running-after-failed": Better(
        "what is over does not run",
        ((200, _OK, _task(status="failed", script_output="a\n---\n") | _failed_video("a")), (200, _OK, {})),
    ),
    "pending-then-completed": Better(
        "progress, not a new submission", ((200, _OK, _task(script_output="")), (200, _OK, {}))
    ),
}


def _groups() -> dict[str, list[dict[str, Any]]]:
    """The cases, a dozen or two at a time: those of a group share a copy of the world."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for case in _CASES:
        kind = case["id"].partition("-")[0]
        known = kind in ("content", "token", "body", "taskid", "status", "msg", "type", "matrix")
        groups.setdefault(f"{kind if known else 'other'} {case['variant']}", []).append(case)
    return groups


@pytest.mark.parametrize("cases", _groups().values(), ids=_groups().keys())
async def test_callbacks_are_answered_and_applied_as_pod_does_or_better(
    shared_world: SharedWorldFactory, cases: list[dict[str, Any]]
) -> None:
    world = await shared_world(cases[0]["variant"])
    expected: dict[tuple[str, int | str], object] = {}
    seen: dict[tuple[str, int | str], object] = {}
    clock = ShiftedClock()
    async with world.database.connection() as connection, bench(world.database, clock=clock) as webhook:
        await connection.execute(_KEEP)
        for case in cases:
            await connection.execute(_RESTORE)
            await world.apply(case)
            # What the listener remembered of the managers is old.
            clock.shift += 60
            better = _BETTER.get(case["id"])
            for number, step in enumerate(case["steps"]):
                before = await _snapshot(connection)
                answer = await _send(webhook, step["request"])
                await webhook.settle()
                changes = _difference(before, await _snapshot(connection))
                if better is None:
                    response = step["expect"]["response"]
                    wanted = (response["status"], response["json"], _recorded(step["expect"]))
                else:
                    wanted = better.steps[number]
                has_body = step["request"]["method"] != "HEAD" and wanted[1] is not None
                expected[case["id"], number] = wanted
                seen[case["id"], number] = (
                    answer.status,
                    answer.json if has_body else wanted[1],
                    changes,
                )
            expected[case["id"], "imports"] = _expected_imports(case, answer, await rows(connection, _TASK))
            seen[case["id"], "imports"] = await open_imports(connection)
    for key, value in expected.items():
        assert (key, seen[key]) == (key, value)


def test_every_known_bug_has_a_better_behaviour_here() -> None:
    assert {case["id"] for case in _CASES if case.get("upstream_bug")} <= _BETTER.keys()
    assert not SHARED or _BETTER.keys() <= {case["id"] for case in _CASES}


async def _send(webhook: Bench, request: dict[str, Any]) -> Answer:
    if "body_b64" in request:
        body = base64.b64decode(request["body_b64"])
    elif "body_gen" in request:
        parts = request["body_gen"]
        body = (parts["prefix"] + parts["repeat"] * parts["count"] + parts["suffix"]).encode()
    else:
        body = request.get("body", "").encode()
    return await webhook.raw(
        request["method"], request["path"], [(name, value) for name, value in request["headers"]], body
    )


async def _snapshot(connection: Connection) -> dict[str, dict[int, dict[str, object]]]:
    found = {table: await rows(connection, table) for table in _TABLES}
    for table in _BY_VIDEO:
        found[table] = {int(str(row["video_id"])): row for row in found[table].values()}
    return found


def _difference(
    before: dict[str, dict[int, dict[str, object]]], after: dict[str, dict[int, dict[str, object]]]
) -> Diff:
    changes: Diff = {}
    for table, old in before.items():
        assert old.keys() <= after[table].keys()
        for pk, row in after[table].items():
            known = old.get(pk, {})
            changed = {
                name: value for name, value in row.items() if name not in known or known[name] != value
            }
            if pk not in old:
                del changed["id"]
            if changed:
                changes[table, pk] = changed
    return changes


def _recorded(expect: dict[str, Any]) -> Diff:
    changes: Diff = {}
    for change in expect.get("db_diff", []):
        table = change["table"]
        if change["op"] == "insert":
            row = {name: value for name, value in change["row"].items() if name != "id"}
            changes[table, row["video_id"]] = row
        else:
            # Every recorded change of a step is one of video 2.
            pk = 2 if table in _BY_VIDEO else change["id"]
            changes[table, pk] = {column: new for column, (_, new) in change["changes"].items()}
    return changes


def _expected_imports(
    case: dict[str, Any], answer: Answer, tasks: dict[int, dict[str, object]]
) -> set[tuple[object, object, object]]:
    """Every task for which a success was reported last, and which was not completed already."""
    body = case["steps"][-1]["request"].get("body", "")
    try:
        status = json.loads(body).get("status")
    except (ValueError, AttributeError):
        status = None
    if answer.status != 200 or status not in ("completed", "warning"):
        return set()
    return {
        (pk, row["runner_manager_id"], row["task_id"])
        for pk, row in tasks.items()
        if row["status"] == "running"
    }


def test_the_bound_is_a_mebibyte() -> None:
    assert LIMIT == 2**20
