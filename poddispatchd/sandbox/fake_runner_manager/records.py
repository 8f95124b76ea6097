"""What the fake manager remembers: requests, tasks, runners."""

import asyncio
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from poddispatchd.domain.task import SUBMITTABLE, RunnerStatus, RunnerTaskId
from poddispatchd.sandbox.fake_runner_manager.faults import Behaviour

ALL_TYPES = frozenset(str(kind) for kind in SUBMITTABLE)

Fingerprint = tuple[str, str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived; ``json`` is None without a JSON body. Headers hold tokens: none is kept."""

    method: str
    path: str
    json: object = None


@dataclass(frozen=True, slots=True)
class AcceptedTask:
    """An accepted body of ``POST /task/execute``; optional fields hold their defaults."""

    etab_name: str
    app_name: str
    task_type: str
    source_url: str
    notify_url: str
    parameters: Mapping[str, object]
    app_version: str | None = None
    affiliation: str | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """What makes two submissions the same task: not the version, the affiliation or the token."""
        parameters = json.dumps(self.parameters, sort_keys=True, ensure_ascii=False)
        return (
            self.task_type,
            self.source_url,
            parameters,
            self.notify_url,
            self.app_name,
            self.etab_name,
        )

    @property
    def source_name(self) -> str:
        """The file name at the end of the source's path, percent-escapes undone."""
        return unquote(urlsplit(self.source_url).path).rpartition("/")[2]

    @property
    def source_stem(self) -> str:
        """The source's name without its extension."""
        return PurePosixPath(self.source_name).stem


def base_name(stem: str) -> str:
    """How a runner names an encoding's files: accents removed, white space as ``_``, the rest kept."""
    decomposed = unicodedata.normalize("NFKD", stem)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return re.sub(r"\s", "_", plain)


@dataclass(slots=True, eq=False)
class Runner:
    """One runner instance: one slot.

    Attributes:
        types: task types it takes.
        ping_delay: seconds of the manager it needs to answer a ping; from 5 on it counts as unresponsive.
        id: its name at the manager; given at registration when empty.
        task_id: the task that occupies it. It stays occupied until the client answered the first callback.
        alive: a dead runner refuses connections, and is dropped from the list 60 s after its last heartbeat.
        registered: an unregistered one is listed, but gets no task.
        died_at: the manager's time of its death.
    """

    types: frozenset[str] = ALL_TYPES
    ping_delay: float = 0.0
    id: str = ""
    task_id: RunnerTaskId | None = None
    alive: bool = True
    registered: bool = True
    died_at: float | None = None

    @property
    def free(self) -> bool:
        """Whether it can take a task now."""
        return self.alive and self.registered and self.task_id is None


@dataclass(slots=True, eq=False)
class TaskRecord:
    """A task as the manager stores it, and what the sandbox knows beside."""

    task_id: RunnerTaskId
    runner_id: str
    submission: AcceptedTask
    token: str = field(repr=False)
    run_id: str
    created_at: datetime
    updated_at: datetime
    behaviour: Behaviour
    status: RunnerStatus = RunnerStatus.RUNNING
    error: str | None = None
    script_output: str | None = None
    callback_warning: str | None = None
    callbacks: list[int | None] = field(default_factory=list)
    files: dict[str, bytes] | None = None
    manifest: Sequence[object] | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_flight(self) -> bool:
        """Whether an identical submission is answered with this task."""
        return self.status in (RunnerStatus.RUNNING, RunnerStatus.PENDING)

    @property
    def shown_error(self) -> str | None:
        """The error as status and results show it: the task's own, then what went wrong with the callback."""
        if self.callback_warning is None:
            return self.error
        if self.status in (RunnerStatus.FAILED, RunnerStatus.TIMEOUT):
            return f"{self.error or ''}\n\nNotify callback warning: {self.callback_warning}"
        return self.callback_warning

    def as_json(self) -> dict[str, object]:
        """The record as ``GET /task/status/{id}`` answers it: never the token."""
        submission = self.submission
        return {
            "task_id": self.task_id,
            "runner_id": self.runner_id,
            "status": str(self.status),
            "etab_name": submission.etab_name,
            "app_name": submission.app_name,
            "app_version": submission.app_version,
            "task_type": submission.task_type,
            "source_url": submission.source_url,
            "affiliation": submission.affiliation,
            "parameters": dict(submission.parameters),
            "notify_url": submission.notify_url,
            "completion_callback": None,
            "run_id": self.run_id,
            "created_at": self.created_at.isoformat(timespec="microseconds"),
            "updated_at": self.updated_at.isoformat(timespec="microseconds"),
            "error": self.shown_error,
            "script_output": self.script_output,
        }
