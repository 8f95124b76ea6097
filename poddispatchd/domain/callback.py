"""What a runner manager says when a task has ended."""

import json
from dataclasses import dataclass

from poddispatchd.domain.script_output import storable
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.errors import CallbackRefusedError

_LONGEST_TASK_ID = 100


@dataclass(frozen=True, slots=True)
class Callback:
    """The body of ``POST /runner/notify_task_end/``, checked; texts hold no NUL and no lone surrogate."""

    task_id: RunnerTaskId
    status: RunnerStatus
    error_message: str | None = None
    script_output: str | None = None

    @staticmethod
    def known_status(text: object) -> RunnerStatus:
        """The status meant by a text.

        Raises:
            CallbackRefusedError: runner managers give no such status.
        """
        try:
            return RunnerStatus(text)  # type: ignore[arg-type] # any JSON value may stand there
        except ValueError:
            raise CallbackRefusedError(400, "Unknown status.") from None

    @classmethod
    def parse(cls, body: bytes) -> "Callback":
        """Read the body of a callback.

        The order of the checks and the words are Pod's (``notify_task_end``) where Pod answers; where Pod's
        view would raise, the answer is 400 or 404.

        Raises:
            CallbackRefusedError: with the HTTP status and the words of the answer.
        """
        data = _json_object(body)
        task_id = data.get("task_id")
        if not isinstance(task_id, str) or not task_id:
            raise CallbackRefusedError(400, "No task id in the request.")
        if "status" not in data:
            raise CallbackRefusedError(400, "Task has not yet been successfully achieved.")
        if len(task_id) > _LONGEST_TASK_ID or storable(task_id) != task_id:
            raise CallbackRefusedError(404, "Task not found.")
        return cls(
            task_id=RunnerTaskId(task_id),
            status=cls.known_status(data["status"]),
            error_message=_text(data.get("error_message")),
            script_output=_text(data.get("script_output")),
        )


def _json_object(body: bytes) -> dict[str, object]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise CallbackRefusedError(400, "Invalid request.") from None
    if not isinstance(data, dict):
        raise CallbackRefusedError(400, "Invalid request.")
    return data


def _text(value: object) -> str | None:
    if value is None:
        return None
    return storable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

