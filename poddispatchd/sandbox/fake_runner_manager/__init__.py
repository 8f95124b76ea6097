"""A stand-in for an Esup-Runner manager: its API, its habits and its failures, with real media as results.

async with FakeRunnerManager(token="…", task_seconds=2) as manager:
    ... post to f"{manager.url}/task/execute" ...
"""

from poddispatchd.sandbox.fake_runner_manager.clock import ManagerClock, ManualClock, ScaledClock
from poddispatchd.sandbox.fake_runner_manager.faults import (
    AnswerFault,
    Behaviour,
    Crash,
    Dispatch,
    Endpoint,
    FaultKind,
    Faults,
    RunOutcome,
)
from poddispatchd.sandbox.fake_runner_manager.files import Mode
from poddispatchd.sandbox.fake_runner_manager.manager import FakeRunnerManager
from poddispatchd.sandbox.fake_runner_manager.records import AcceptedTask, Received, Runner, TaskRecord
from poddispatchd.sandbox.fake_runner_manager.results import RESULTS, SAMPLES, result_files
from poddispatchd.sandbox.fake_runner_manager.routes import HealthRoute

__all__ = [
    "RESULTS",
    "SAMPLES",
    "AcceptedTask",
    "AnswerFault",
    "Behaviour",
    "Crash",
    "Dispatch",
    "Endpoint",
    "FakeRunnerManager",
    "FaultKind",
    "Faults",
    "HealthRoute",
    "ManagerClock",
    "ManualClock",
    "Mode",
    "Received",
    "RunOutcome",
    "Runner",
    "ScaledClock",
    "TaskRecord",
    "result_files",
]
