"""Stopping a run that nobody wants any more, and what the answer means."""

from typing import assert_never

from msgspec import Struct

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import RunnerManagerError
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runner.records import StopOutcome


class Stop(Struct, frozen=True):
    """How a request to stop ended.

    ``is_over``: there is nothing more to ask. ``words``: for people. ``error``: why there was no answer.
    """

    is_over: bool
    words: str
    error: RunnerManagerError | None = None


async def stop_run(client: RunnerClient, manager: RunnerManager, task_id: RunnerTaskId) -> Stop:
    """Ask a manager to stop a run."""
    try:
        outcome = await client.stop(manager, task_id)
    except RunnerManagerError as error:
        return Stop(False, f"It may still run: {error}", error)
    name = f"runner manager {manager.name}"
    match outcome:
        case StopOutcome.REQUESTED:
            return Stop(True, f"R{name[1:]} stops it.")
        case StopOutcome.NOT_RUNNING | StopOutcome.UNKNOWN:
            return Stop(True, f"R{name[1:]} was not running it any more.")
        case StopOutcome.NOT_YET:
            return Stop(False, f"It runs on for now: {name} cannot stop it while its source is fetched.")
        case StopOutcome.RUNNER_UNREACHABLE:
            return Stop(False, f"It may run on: {name} does not reach its runner.")
        case StopOutcome.UNSUPPORTED:
            return Stop(True, f"It runs on: {name} is older than Esup-Runner 1.6.0 and cannot stop tasks.")
        case _:
            assert_never(outcome)
