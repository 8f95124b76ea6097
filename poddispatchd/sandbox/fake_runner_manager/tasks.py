"""Submitting, asking about and stopping tasks."""

import asyncio
from math import floor
from typing import assert_never
from urllib.parse import urlsplit

from poddispatchd.domain.task import RunnerStatus
from poddispatchd.sandbox.fake_runner_manager.answers import ScriptedAnswer, json_answer, refusal
from poddispatchd.sandbox.fake_runner_manager.callbacks import ConnectTo
from poddispatchd.sandbox.fake_runner_manager.faults import Behaviour, RunOutcome
from poddispatchd.sandbox.fake_runner_manager.files import manifest, result_file
from poddispatchd.sandbox.fake_runner_manager.lifecycle import Lifecycle
from poddispatchd.sandbox.fake_runner_manager.payload import (
    Refusal,
    is_private,
    notify_problem,
    read_submission,
)
from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask, Runner, TaskRecord
from poddispatchd.sandbox.fake_runner_manager.routes import Action, Match
from poddispatchd.sandbox.fake_runner_manager.settings import FakeManagerSettings
from poddispatchd.sandbox.fake_runner_manager.store import Store

PING_TIMEOUT = 5.0
"""Seconds of the manager that it waits for the ping of each runner, one after the other."""


class TaskRoutes:
    """The answers about tasks."""

    def __init__(
        self, store: Store, lifecycle: Lifecycle, resolver: ConnectTo, settings: FakeManagerSettings
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._resolver = resolver
        self._settings = settings
        self._stopping: set[asyncio.Task[None]] = set()

    # --- POST /task/execute ---------------------------------------------------------------------------

    async def execute(self, content_type: str, body: bytes, token: str) -> ScriptedAnswer:
        """The checks in the manager's order: body, duplicate in flight, notify_url, quota, runners."""
        submission = read_submission(content_type, body)
        if isinstance(submission, Refusal):
            return refusal(submission.status, submission.detail)
        duplicate = self._store.duplicate(submission) if self._settings.deduplicate else None
        if duplicate is not None:
            return _accepted(duplicate)
        problem = await self._notify_problem(submission.notify_url)
        if problem is not None:
            return refusal(400, problem)
        if self._over_quota(submission):
            return refusal(503, "Non-priority domain rejected: maximum other-domain task quota reached")
        runner = await self._free_runner(submission.task_type)
        if runner is None:
            return refusal(503, "No runners available")
        record = self._lifecycle.accept(submission, token, runner)
        if record.behaviour.callback_before_answer:
            await self._lifecycle.finish(record, record.behaviour)
        else:
            self._lifecycle.begin(record)
        return _accepted(record)

    async def _notify_problem(self, url: str) -> str | None:
        problem = notify_problem(url, self._settings.notify_hosts)
        host = urlsplit(url).hostname
        if problem is not None or not host or self._resolver.knows(host):
            return problem
        unknown = "notify_url host cannot be resolved"
        if not self._settings.resolve_names:
            return unknown if host.endswith(".invalid") else None
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
        except OSError:
            return unknown
        if self._settings.allow_private_networks:
            return None
        if any(is_private(str(address[4][0])) for address in found):
            return "notify_url resolves to a private/loopback/link-local address"
        return None

    def _over_quota(self, submission: AcceptedTask) -> bool:
        if not self._settings.own_domains or self._is_own(submission):
            return False
        others = sum(not self._is_own(record.submission) for record in self._store.running())
        return others >= max(1, floor(len(self._store.listed()) * self._settings.other_share))

    def _is_own(self, submission: AcceptedTask) -> bool:
        host = urlsplit(submission.notify_url).hostname or ""
        return any(host == name or host.endswith(f".{name}") for name in self._settings.own_domains)

    async def _free_runner(self, task_type: str) -> Runner | None:
        """The first listed runner whose ping says it is free; the pings are not atomic with what follows."""
        for runner in self._store.listed():
            if not runner.alive:
                continue
            could = runner.free and task_type in runner.types
            await self._store.clock.sleep(min(runner.ping_delay, PING_TIMEOUT))
            if could and runner.free and runner.ping_delay < PING_TIMEOUT:
                return runner
        return None

    # --- everything under an id -----------------------------------------------------------------------

    def about(self, match: Match, wanted_range: str | None) -> ScriptedAnswer:
        """A route that names a task."""
        record = self._store.task(match.arguments[0])
        if record is None:
            return refusal(404, "Task not found")
        match match.route.action:
            case Action.STATUS:
                return json_answer(record.as_json())
            case Action.RESULT:
                return manifest(self._store, record, self._settings.mode)
            case Action.FILE:
                return result_file(self._store, record, match.arguments[1], self._settings.mode, wanted_range)
            case Action.STOP:
                return self._stop(record)
            case (
                Action.ROOT
                | Action.HEALTH
                | Action.VERSION
                | Action.RUNNERS
                | Action.TASKS
                | Action.TASK_LIST
                | Action.EXECUTE
            ):
                raise AssertionError(f"{match.route.action} names no task.")
            case _:
                assert_never(match.route.action)

    def _stop(self, record: TaskRecord) -> ScriptedAnswer:
        if record.status is not RunnerStatus.RUNNING:
            return refusal(409, "Task not running")
        runner = self._store.runner(record.runner_id)
        if runner is None:
            return refusal(404, "Runner not found")
        if not runner.alive:
            return refusal(502, "Error contacting runner: All connection attempts failed")
        if record.behaviour.unstoppable:
            return refusal(409, "Task is running but no killable external process found yet")
        cancelled = Behaviour(outcome=RunOutcome.FAILED, error="Cancelled by user.")
        stopping = asyncio.create_task(self._lifecycle.finish(record, cancelled))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        return json_answer(
            {
                "task_id": record.task_id,
                "status": "stop_requested",
                "runner_id": record.runner_id,
                "runner_status_code": 202,
            },
            202,
        )


def _accepted(record: TaskRecord) -> ScriptedAnswer:
    return json_answer({"task_id": record.task_id, "status": "running"})
