"""What a runner manager says when a task has ended."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from poddispatchd.domain.json_body import read_json
from poddispatchd.domain.script_output import bounded, storable
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.errors import CallbackRefusedError

_LONGEST_TASK_ID = 100


@dataclass(frozen=True, slots=True)
class Callback:
    """A report on a task; texts hold no NUL and no lone surrogate, and are no longer than Pod's row keeps."""

    task_id: RunnerTaskId
    status: RunnerStatus
    error_message: str | None = None
    script_output: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CallbackBody:
    """The body of ``POST /runner/notify_task_end/``, read so far that its task can be looked for.

    Pod answers about the task before it looks at the rest, hence two steps. ``task_id`` is None when no task
    can have such an id.
    """

    task_id: RunnerTaskId | None
    _data: Mapping[str, object] = field(repr=False)

    @classmethod
    def read(cls, body: bytes) -> "CallbackBody":
        """Read a body as far as Pod does before it looks for the task (``notify_task_end``).

        Raises:
            CallbackRefusedError: 400: it is no JSON object, or names no task.
        """
        steps = cls.steps(body)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                parsed: CallbackBody = finished.value
                return parsed

    @classmethod
    def steps(cls, body: bytes) -> "Generator[None, None, CallbackBody]":
        """The same in steps of a few milliseconds, between which a caller can do something else.

        Raises:
            CallbackRefusedError: 400: it is no JSON object, or names no task.
        """
        try:
            data = yield from read_json(body)
        except (ValueError, RecursionError):
            raise CallbackRefusedError(400, "Invalid request.") from None
        if not isinstance(data, dict):
            raise CallbackRefusedError(400, "Invalid request.")
        task_id = data.get("task_id")
        if not isinstance(task_id, str) or not task_id:
            raise CallbackRefusedError(400, "No task id in the request.")
        is_storable = len(task_id) <= _LONGEST_TASK_ID and storable(task_id) == task_id
        return cls(RunnerTaskId(task_id) if is_storable else None, data)

    def callback(self, masked: Callable[[str], str] = str) -> Callback:
        """The whole report.

        Pod stores whatever stands in ``status``; here it must be one that runner managers give. Texts that
        are none are written as Pod writes them (Python's ``str``).

        Args:
            masked: takes out of a text what must not be kept; before it is cut, which might leave half of it.

        Raises:
            CallbackRefusedError: 400 without a status, or with an unknown one; 404 when no task can have
                this id.
        """
        if self.task_id is None:
            raise CallbackRefusedError(404, "Task not found.")
        if "status" not in self._data:
            raise CallbackRefusedError(400, "Task has not yet been successfully achieved.", key="status")
        try:
            status = RunnerStatus(self._data["status"])  # type: ignore[arg-type] # any JSON value may stand there
        except ValueError:
            raise CallbackRefusedError(400, "Unknown status.") from None
        return Callback(
            task_id=self.task_id,
            status=status,
            error_message=_text(self._data.get("error_message"), masked),
            script_output=_text(self._data.get("script_output"), masked),
        )


def _text(value: object, masked: Callable[[str], str]) -> str | None:
    if value is None:
        return None
    try:
        text = str(value)
    except RecursionError:
        raise CallbackRefusedError(400, "Invalid request.") from None
    return bounded(masked(storable(text)))
