"""What a runner manager tells, as typed records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

from poddispatchd.domain.task import RunnerStatus, RunnerTaskId


class Accepted(Struct, frozen=True):
    """A task was taken; ``status`` is what the manager called it (``running`` when it said nothing)."""

    task_id: RunnerTaskId
    status: str


@dataclass(frozen=True, slots=True)
class RunnerTask:
    """The record of a task (``GET /task/status/<id>``).

    Dates are the manager's own text: naive, in its local time. Texts hold no NUL and no lone surrogate.

    Args:
        task_id: the id it was asked for.
        status: None when the manager uses a word that we don't know.
        raw_status: the word itself.
    """

    task_id: RunnerTaskId
    status: RunnerStatus | None
    raw_status: str
    error: str | None = None
    script_output: str | None = field(default=None, repr=False)
    task_type: str | None = None
    source_url: str | None = None
    notify_url: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict, repr=False)
    runner_id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    etab_name: str | None = None
    app_name: str | None = None

    @property
    def is_without_order(self) -> bool:
        """Whether nothing was written down of it since it was taken: not even that its runner has the order.

        A manager writes as it sends the order, right behind its answer. Only one that was killed in between
        leaves such a record, ``running`` for a day while no runner knows of it.
        """
        is_untouched = self.created_at is not None and self.created_at == self.updated_at
        return is_untouched and self.status is RunnerStatus.RUNNING


class StopOutcome(StrEnum):
    """What became of the request to stop a task (``POST /task/stop/<id>``)."""

    REQUESTED = "requested"
    """Its script is killed; a callback ``failed`` with ``Cancelled by user.`` follows."""

    NOT_RUNNING = "not_running"
    """It has ended already."""

    NOT_YET = "not_yet"
    """It is still fetching its source, and cannot be stopped before its script starts: ask again."""

    UNKNOWN = "unknown"
    """The manager does not know it."""

    RUNNER_UNREACHABLE = "runner_unreachable"
    """The runner that works on it does not answer, or is no longer registered."""

    UNSUPPORTED = "unsupported"
    """The manager is older than 1.6.0 and cannot stop tasks."""


class ManagerHealth(Struct, frozen=True):
    """A manager's health; counts are None when it does not tell them. ``path`` is where it was found."""

    healthy: bool
    path: str
    version: str | None = None
    runners: int | None = None
    tasks: int | None = None

    @property
    def is_well(self) -> bool:
        """Whether tasks can be given to it."""
        return self.healthy and self.runners != 0

    @property
    def words(self) -> str:
        """How it is, in words for people."""
        count = "an unknown number of" if self.runners is None else str(self.runners)
        noun = "runner" if self.runners == 1 else "runners"
        words = f"It answers (version {self.version or 'unknown'}, {count} {noun})."
        if self.runners == 0:
            return f"{words} No runner is registered there: start one."
        return words if self.healthy else f"{words} It says it is not healthy."


class RunnerInfo(Struct, frozen=True):
    """A runner registered at a manager."""

    id: str
    online: bool
