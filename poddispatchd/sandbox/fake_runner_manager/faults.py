"""What can go wrong, on demand: behaviours of tasks and faults of answers."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask


class RunOutcome(StrEnum):
    """How a run ends on the runner; NEVER leaves the task running."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    NEVER = "never"


class Dispatch(StrEnum):
    """What becomes of the order the manager sends to the runner after its answer."""

    OK = "ok"
    REFUSED = "refused"
    """The runner answers 400: failed, and no callback is ever sent."""
    LOST = "lost"
    """The runner goes down as the order arrives: failed in words of httpx, and no callback is ever sent."""
    KILLED = "killed"
    """The manager is killed before it sends the order: ``running`` for ever, and no runner has it."""
    UNANSWERED = "unanswered"
    """No answer in 30 s: failed with an empty error and no callback, then the late completion arrives."""


class Crash(StrEnum):
    """When a runner went down that later calls the task completed."""

    EARLY = "early"
    """During the first streams: cut .ts files, no playlist, nothing listed in ``info_video.json``."""
    LATE = "late"
    """After the videos: no audio, no overview, no ``encode_result``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What becomes of one accepted task.

    Attributes:
        outcome: how the run ends.
        seconds: how long it lasts, in seconds of the manager; None: as the manager's ``task_seconds``.
        error: the runner's words on a failure; None: words of its own.
        script_output: the log text in status and callback; None: a short log.
        dispatch: whether the order reaches the runner.
        files: replaces result files by name; None as a value takes the file away.
        manifest: what the manifest lists instead of the file names, passed on unchecked.
        crash: completed by a runner that went down meanwhile: a partial tree without ``encode_result``.
        callbacks: how often the end is notified when the client answers well; 0: never.
        callback_before_answer: the run ends, and is notified, before ``/task/execute`` is answered.
        then: what happens with the same id afterwards, as when a restarted runner runs a failure again.
        unstoppable: a stop is answered 409, as while the runner downloads the source.
        forget: the manager forgets the task at its end: 404 from then on.
    """

    outcome: RunOutcome = RunOutcome.COMPLETED
    seconds: float | None = None
    error: str | None = None
    script_output: str | None = None
    dispatch: Dispatch = Dispatch.OK
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    manifest: Sequence[object] | None = None
    crash: Crash | None = None
    callbacks: int = 1
    callback_before_answer: bool = False
    then: "Behaviour | None" = None
    unstoppable: bool = False
    forget: bool = False


class Endpoint(StrEnum):
    """The groups of routes to which faults are given."""

    EXECUTE = "execute"
    STATUS = "status"
    RESULT = "result"
    FILE = "file"
    STOP = "stop"
    LIST = "list"
    RUNNERS = "runners"
    HEALTH = "health"
    VERSION = "version"
    ROOT = "root"


class FaultKind(StrEnum):
    """How one answer goes wrong."""

    STATUS = "status"
    """Refused with a status; nothing is done."""
    GAVE_UP = "gave-up"
    """A proxy answers with a status at once; the manager goes on with the request, and does everything."""
    HANG = "hang"
    """Nothing is done; no answer for ``seconds`` (for ever when None), then the connection closes."""
    DROP = "drop"
    """Nothing is done; the connection closes."""
    SLOW = "slow"
    """The right answer, ``seconds`` late."""
    LOSE_ANSWER = "lose-answer"
    """Everything is done, but the answer never arrives: silence for ``seconds``, then a closed connection."""
    DROP_ANSWER = "drop-answer"
    """Everything is done, and the connection closes instead of an answer."""
    CUT = "cut"
    """The right headers, then only ``length`` bytes of the body, and the connection closes."""
    WRONG_LENGTH = "wrong-length"
    """A Content-Length that is ``length`` bytes more than what is sent."""
    SHORT = "short"
    """A well-formed answer that holds only the first ``length`` bytes."""
    UNENDED = "unended"
    """Only the first ``length`` bytes in HTTP/1.0's way: only the closed connection says where it ends."""
    HTML = "html"
    """Nothing is done; 200 with a page, as a proxy in front of the manager might answer."""
    CORRUPT = "corrupt"
    """The right length, but other bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFault:
    """One way an answer goes wrong.

    Attributes:
        kind: which way.
        status: the status of ``FaultKind.STATUS`` and ``FaultKind.GAVE_UP``.
        body: its body; a str is sent as text, an object as JSON, None as the manager's own words.
        seconds: a duration in seconds of the manager; None: until the client gives up.
        length: a number of bytes, see the kinds.
        match: only requests whose path holds this text.
    """

    kind: FaultKind
    status: int = 500
    body: str | Mapping[str, object] | None = None
    seconds: float | None = None
    length: int = 100
    match: str = ""


@dataclass(slots=True)
class _Injected:
    fault: AnswerFault
    left: int | None


class Faults:
    """The switches of a fake runner manager; everything can be changed while it runs.

    Attributes:
        behaviours: used up one by one by the next accepted tasks.
        script: decides for every further task; None from it means ``default``.
        default: the behaviour of all others.
    """

    def __init__(self, *, default: Behaviour | None = None) -> None:
        self.behaviours: deque[Behaviour] = deque()
        self.script: Callable[[AcceptedTask], Behaviour | None] | None = None
        self.default = default or Behaviour()
        self._injected: dict[Endpoint, list[_Injected]] = {}

    def inject(self, endpoint: Endpoint | str, fault: AnswerFault, *, times: int | None = 1) -> None:
        """Give a fault to the next ``times`` matching requests of an endpoint; None: until cleared."""
        self._injected.setdefault(Endpoint(endpoint), []).append(_Injected(fault, times))

    def clear(self, endpoint: Endpoint | str | None = None) -> None:
        """Take back the faults of one endpoint, or of all."""
        if endpoint is None:
            self._injected.clear()
        else:
            self._injected.pop(Endpoint(endpoint), None)

    def take(self, endpoint: Endpoint, path: str) -> AnswerFault | None:
        """The fault of this request, used up by it."""
        waiting = self._injected.get(endpoint, [])
        for injected in waiting:
            if injected.fault.match not in path:
                continue
            if injected.left is not None:
                injected.left -= 1
                if not injected.left:
                    waiting.remove(injected)
            return injected.fault
        return None

    def behaviour_of(self, submission: "AcceptedTask") -> Behaviour:
        """What will become of a task that is being accepted."""
        if self.behaviours:
            return self.behaviours.popleft()
        scripted = self.script(submission) if self.script is not None else None
        return scripted or self.default


def parse_fault(text: str) -> tuple[Endpoint, AnswerFault, int | None]:
    """A fault from a command line: ``ENDPOINT=KIND[:NUMBER][*TIMES]``, as ``file=cut:1000*2``.

    NUMBER is the status, the seconds or the bytes, whichever the kind needs. Without TIMES it stays.

    Raises:
        ValueError: the text cannot be read; the words say why.
    """
    where, separator, rest = text.partition("=")
    rest, _, times = rest.partition("*")
    name, _, number = rest.partition(":")
    if not separator:
        raise ValueError(f"{text!r} is not ENDPOINT=KIND[:NUMBER][*TIMES].")
    kind = FaultKind(name)
    fault = AnswerFault(kind=kind)
    if number:
        match kind:
            case FaultKind.STATUS | FaultKind.GAVE_UP:
                fault = AnswerFault(kind=kind, status=int(number))
            case FaultKind.HANG | FaultKind.SLOW | FaultKind.LOSE_ANSWER:
                fault = AnswerFault(kind=kind, seconds=float(number))
            case FaultKind.CUT | FaultKind.WRONG_LENGTH | FaultKind.SHORT | FaultKind.UNENDED:
                fault = AnswerFault(kind=kind, length=int(number))
            case FaultKind.DROP | FaultKind.DROP_ANSWER | FaultKind.HTML | FaultKind.CORRUPT:
                raise ValueError(f"{name} takes no number.")
    return Endpoint(where), fault, int(times) if times else None
