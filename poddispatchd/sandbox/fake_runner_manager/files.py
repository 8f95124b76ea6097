"""The result endpoints, in both ways a manager can reach its runners' files."""

import hashlib
import re
from email.utils import format_datetime
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import quote

from poddispatchd.domain.task import RunnerStatus
from poddispatchd.sandbox.fake_runner_manager.answers import ScriptedAnswer, json_answer, refusal
from poddispatchd.sandbox.fake_runner_manager.records import TaskRecord
from poddispatchd.sandbox.fake_runner_manager.store import Store

_PROXY_NAME = re.compile(r"[A-Za-z0-9._ -]+")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Mode(StrEnum):
    """How the manager gets at results: from the runner at each request, or from a common directory."""

    PROXY = "proxy"
    SHARED = "shared"


def manifest(store: Store, record: TaskRecord, mode: Mode) -> ScriptedAnswer:
    """``GET /task/result/{id}``; a ``warning`` becomes ``completed`` by it."""
    problem = _unavailable(store, record, mode)
    if problem is not None:
        return problem
    files: list[object] = list(record.files or () if record.manifest is None else record.manifest)
    _fetched(store, record)
    answer = json_answer({"task_id": record.task_id, "files": files}, X_Task_ID=record.task_id)
    if mode is Mode.SHARED:
        return answer
    headers = {**answer.headers, "Content-Disposition": 'attachment; filename="manifest.json"'}
    return ScriptedAnswer(200, answer.body, headers, chunked=True)


def result_file(
    store: Store, record: TaskRecord, path: str, mode: Mode, wanted_range: str | None
) -> ScriptedAnswer:
    """``GET /task/result/{id}/file/{path}`` with the decoded path."""
    parts = path.split("/")
    if ".." in parts or path.startswith("/"):
        return refusal(400, "Invalid result file path")
    problem = _unavailable(store, record, mode)
    if problem is not None:
        return problem
    if mode is Mode.SHARED and "\0" in path:
        return refusal(500, "Invalid result file path")
    name = "/".join(part for part in parts if part not in ("", "."))
    content = (record.files or {}).get(name)
    if mode is Mode.PROXY:
        if content is None or not _PROXY_NAME.fullmatch(name):
            return refusal(404, "Error fetching result from runner")
        _fetched(store, record)
        return ScriptedAnswer(
            200,
            content,
            {
                "X-Task-ID": record.task_id,
                "Content-Disposition": f"attachment; filename={name}",
                "Content-Type": "application/octet-stream",
            },
            chunked=True,
        )
    if content is None:
        return refusal(404, "Result file not found in shared storage")
    _fetched(store, record)
    return _from_disk(record, name, content, wanted_range)


def _unavailable(store: Store, record: TaskRecord, mode: Mode) -> ScriptedAnswer | None:
    match record.status:
        case RunnerStatus.RUNNING | RunnerStatus.PENDING | RunnerStatus.TIMEOUT:
            return refusal(425, f"Task not completed. Status: {record.status}")
        case RunnerStatus.FAILED:
            return refusal(400, f"Task failed: {record.shown_error or ''}")
        case RunnerStatus.COMPLETED | RunnerStatus.WARNING:
            pass
    if mode is Mode.PROXY:
        runner = store.runner(record.runner_id)
        if runner is None:
            return refusal(500, "Runner not available")
        if not runner.alive:
            return refusal(502, "Error contacting runner: All connection attempts failed")
    if record.files is None:
        if mode is Mode.PROXY:
            return refusal(404, "Error fetching result from runner")
        return refusal(404, "Result directory not found in shared storage")
    return None


def _fetched(store: Store, record: TaskRecord) -> None:
    """A task whose callback failed counts as completed once anybody fetched from it."""
    if record.status is RunnerStatus.WARNING:
        record.status = RunnerStatus.COMPLETED
        record.callback_warning = None
        store.changed()


def _from_disk(record: TaskRecord, name: str, content: bytes, wanted_range: str | None) -> ScriptedAnswer:
    last_part = PurePosixPath(name).name
    quoted = quote(last_part)
    filename = f'filename="{last_part}"' if quoted == last_part else f"filename*=utf-8''{quoted}"
    headers = {
        "X-Task-ID": record.task_id,
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Content-Disposition": f"attachment; {filename}",
        "Last-Modified": format_datetime(record.updated_at).replace("-0000", "GMT"),
        "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
    }
    size = len(content)
    asked = _RANGE.fullmatch(wanted_range or "")
    if asked is None or not any(asked.groups()):
        return ScriptedAnswer(200, content, headers)
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or end < start:
        return ScriptedAnswer(416, b"", {"Content-Range": f"bytes */{size}", "Content-Type": "text/plain"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return ScriptedAnswer(206, content[start : end + 1], headers)
