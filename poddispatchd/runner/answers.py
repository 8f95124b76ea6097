"""What a runner manager's answers hold: from a 2xx answer to a typed record."""

import codecs
import json
from collections.abc import Mapping

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import MOST_FILES
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.errors import (
    AnswerLostError,
    RecordTooLongError,
    ResultRefusedError,
    RunnerTaskUnknownError,
    UnusableAnswerError,
)
from poddispatchd.observability.logs import without_secrets
from poddispatchd.runner.http_errors import (
    detail_of,
    is_no_route,
    refusal,
    says_task_unknown,
    submission_refusal,
)
from poddispatchd.runner.json_object import BeyondBoundsError, parsed, read_object
from poddispatchd.runner.records import Accepted, RunnerInfo, RunnerTask, StopOutcome
from poddispatchd.runner.transport import HttpAnswer

_LONGEST_TASK_ID = 100
"""Characters: the width of Pod's column ``task_id``."""

_LONGEST_ADDRESSABLE_ID = 2000
_STATUSES = frozenset(RunnerStatus)
_LONGEST_WORD = 100
_TASK_FAILED = "Task failed:"

_HEAD = 1024
"""Bytes within which a list of result files names its task."""


def json_object(manager: RunnerManager, answer: HttpAnswer) -> Mapping[str, object]:
    """The JSON object of a 2xx answer, whatever media type it claims.

    Raises:
        UnusableAnswerError: it is something else, or longer than any honest one.
    """
    if answer.is_cut:
        raise UnusableAnswerError(
            f"Runner manager {manager.name!r} answered more than {len(answer.body) // 2**10} KiB."
        )
    data = parsed(answer.body)
    if data is not None:
        return data
    what = "a web page" if answer.is_html else "something that is not a JSON object"
    raise UnusableAnswerError(
        f"Runner manager {manager.name!r} answered {what} (status {answer.status}): "
        "its URL may lead to something else."
    )


def result_list(manager: RunnerManager, answer: HttpAnswer, task_id: RunnerTaskId) -> Mapping[str, object]:
    """The JSON object of a 2xx answer to ``GET /task/result/<id>``.

    Raises:
        ResultRefusedError: it is the list of this task, and longer than any of as many files as are accepted.
        UnusableAnswerError: it is something else.
    """
    try:
        is_long = answer.is_cut
        if not is_long:
            return read_object(answer.body)
    except BeyondBoundsError:
        is_long = True
    except (ValueError, RecursionError):
        is_long = False
    # Whatever else answers at the address, a page without an end, says nothing of the result.
    if is_long and task_id.encode() in answer.body[:_HEAD]:
        raise ResultRefusedError(f"The result lists far more than the {MOST_FILES} files that are accepted.")
    return json_object(manager, answer)


def accepted(manager: RunnerManager, answer: HttpAnswer) -> Accepted:
    """The answer to ``POST /task/execute``: any 2xx whose JSON object holds a usable id is an acceptance.

    Raises:
        RunnerManagerError: of the class that says what to do; see ``refusal`` and ``submission_refusal``.
    """
    if not answer.is_success:
        raise submission_refusal(manager, answer)
    # Asked for again with the same bytes it has its id; taken for nonsense, its run would belong to nobody.
    if answer.is_cut or _is_cut_short(answer):
        raise AnswerLostError(
            f"Runner manager {manager.name!r} cut its answer short: it may have taken the task."
        )
    if answer.is_encoded and not answer.is_html:
        raise AnswerLostError(
            f"The answer of runner manager {manager.name!r} was compressed, unasked, and cannot be read: "
            "it may have taken the task. Look at the proxy before it."
        )
    data = json_object(manager, answer)
    task_id, orphan = _usable_id(data.get("task_id"))
    if task_id is None:
        problem = "an id that Pod cannot store" if orphan else "no usable task id"
        raise UnusableAnswerError(
            f"Runner manager {manager.name!r} took the task but gave {problem}.", orphan=orphan
        )
    status = data.get("status")
    if not isinstance(status, str):
        status = ""
    elif status not in _STATUSES:
        status = _said(status)[:_LONGEST_TASK_ID]
    return Accepted(RunnerTaskId(task_id), status or RunnerStatus.RUNNING)


def _is_cut_short(answer: HttpAnswer) -> bool:
    """Whether a JSON object does not end, as when a proxy gives up in the middle of an answer.

    Also where it gives up behind the head: what has no length ends there as if it were whole.
    """
    text = answer.body.removeprefix(codecs.BOM_UTF8).strip()
    return (answer.is_unended and not text) or (text.startswith(b"{") and not text.endswith(b"}"))


def task_record(manager: RunnerManager, answer: HttpAnswer, task_id: RunnerTaskId) -> RunnerTask:
    """The answer to ``GET /task/status/<id>``.

    Raises:
        RunnerTaskUnknownError: the manager says itself that it does not know the task.
        RecordTooLongError: what was read of its record does not tell the status.
        RunnerManagerError: of the class that says what to do; see ``refusal``.
    """
    if says_task_unknown(answer):
        raise RunnerTaskUnknownError(f"Runner manager {manager.name!r} does not know task {task_id!r}.")
    if not answer.is_success:
        raise refusal(manager, answer)
    data = parsed(answer.body, is_cut=True) if answer.is_cut else json_object(manager, answer)
    if data is None or (answer.is_cut and not isinstance(data.get("status"), str)):
        raise RecordTooLongError(
            f"Runner manager {manager.name!r} answered too long a record of task {task_id!r} to be read."
        )
    named = data.get("task_id")
    # A manager that gave a number as the id has it here, too.
    if named is not None and _usable_id(named)[0] != task_id:
        raise UnusableAnswerError(f"Runner manager {manager.name!r} answered with another task's record.")
    status = data.get("status")
    if not isinstance(status, str) or not status:
        raise UnusableAnswerError(f"Runner manager {manager.name!r} gave task {task_id!r} no status.")
    parameters = data.get("parameters")
    return RunnerTask(
        task_id=task_id,
        status=RunnerStatus(status) if status in _STATUSES else None,
        raw_status=_said(status)[:_LONGEST_WORD],
        error=_said_text(data, "error"),
        script_output=_said_text(data, "script_output"),
        task_type=_text(data, "task_type"),
        source_url=_text(data, "source_url"),
        notify_url=_text(data, "notify_url"),
        parameters=parameters if isinstance(parameters, dict) else {},
        runner_id=_said_text(data, "runner_id"),
        created_at=_text(data, "created_at"),
        updated_at=_text(data, "updated_at"),
        etab_name=_text(data, "etab_name"),
        app_name=_text(data, "app_name"),
    )


def record_from_result(manager: RunnerManager, answer: HttpAnswer, task_id: RunnerTaskId) -> RunnerTask:
    """What the answer to ``GET /task/result/<id>`` tells of the status: 200, 400 ``Task failed: …`` or 425.

    Raises:
        RunnerTaskUnknownError: the manager says itself that it does not know the task.
        RunnerManagerError: it tells nothing; see ``refusal``.
    """
    if answer.is_success:
        if "files" not in (parsed(answer.body, is_cut=answer.is_cut) or {}):
            raise UnusableAnswerError(
                f"Runner manager {manager.name!r} answered a result without a list of files."
            )
        return RunnerTask(task_id, RunnerStatus.COMPLETED, RunnerStatus.COMPLETED.value)
    if says_task_unknown(answer):
        raise RunnerTaskUnknownError(f"Runner manager {manager.name!r} does not know task {task_id!r}.")
    detail = detail_of(answer) or ""
    match answer.status:
        case 400 if detail.startswith(_TASK_FAILED):
            error = _said(detail.removeprefix(_TASK_FAILED).lstrip())
            return RunnerTask(task_id, RunnerStatus.FAILED, RunnerStatus.FAILED.value, error=error)
        case 425:
            # A task that timed out is told with 425, too: the word decides, and what is unknown goes on.
            word = detail.rpartition("Status:")[2].strip().lower()
            known = word if word in _STATUSES else RunnerStatus.RUNNING.value
            return RunnerTask(task_id, RunnerStatus(known), _said(word)[:_LONGEST_WORD])
        case _:
            raise refusal(manager, answer)


def stop_outcome(manager: RunnerManager, answer: HttpAnswer) -> StopOutcome:
    """The answer to ``POST /task/stop/<id>``.

    Raises:
        RunnerManagerError: it is none of the answers foreseen; see ``refusal``.
    """
    detail = (detail_of(answer) or "").lower()
    match answer.status:
        case status if 200 <= status < 300:
            return StopOutcome.REQUESTED
        case 409:
            return StopOutcome.NOT_RUNNING if "not running" in detail else StopOutcome.NOT_YET
        case 404 if says_task_unknown(answer):
            return StopOutcome.UNKNOWN
        case 404 if "runner" in detail:
            return StopOutcome.RUNNER_UNREACHABLE
        case 404 | 405 if is_no_route(detail) or answer.status == 405:
            return StopOutcome.UNSUPPORTED
        case 500 | 502 | 504 if detail:
            return StopOutcome.RUNNER_UNREACHABLE
        case _:
            raise refusal(manager, answer)


def runner_list(manager: RunnerManager, answer: HttpAnswer) -> list[RunnerInfo]:
    """The answer to ``GET /api/runners``; entries without an id are skipped.

    Raises:
        RunnerManagerError: see ``refusal``.
    """
    if not answer.is_success:
        raise refusal(manager, answer)
    entries = json_object(manager, answer).get("runners")
    if not isinstance(entries, list):
        raise UnusableAnswerError(f"Runner manager {manager.name!r} answered no list of runners.")
    return [
        RunnerInfo(runner_id, online=entry.get("status") == "online")
        for entry in entries
        if isinstance(entry, dict) and (runner_id := _said_text(entry, "id"))
    ]


def _usable_id(value: object) -> tuple[str | None, str | None]:
    """The id if Pod can store it; else the id of an orphan, if a manager can be asked to stop it."""
    if isinstance(value, int) and not isinstance(value, bool):
        # Python refuses to write integers of thousands of digits.
        value = str(value) if abs(value) < 10**_LONGEST_ADDRESSABLE_ID else ""
    if not isinstance(value, str) or value in ("", ".", "..") or value.isspace():
        return None, None
    # PostgreSQL cannot store it, and what it could store would be another id.
    if _clean(value) != value:
        return None, None
    if len(value) > _LONGEST_TASK_ID:
        return None, value if len(value) <= _LONGEST_ADDRESSABLE_ID else None
    return value, None


def _text(data: Mapping[str, object], key: str) -> str | None:
    value = data.get(key)
    if value is None:
        return None
    return _clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _said_text(data: Mapping[str, object], key: str) -> str | None:
    text = _text(data, key)
    return None if text is None else without_secrets(text)


def _said(text: str) -> str:
    """A manager's words, to be kept: see ``without_secrets``."""
    return without_secrets(_clean(text))


def _clean(text: str) -> str:
    """A text that PostgreSQL can store: without NUL, lone surrogates replaced."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
