"""A stand-in for an Esup-Runner manager: its API, its habits and its failures, with real media as results.

async with FakeRunnerManager(token="…", task_seconds=2) as manager:
    ... post to f"{manager.url}/task/execute" ...
"""

from poddispatchd.sandbox.fake_runner_manager.clock import Clock, ManualClock, ScaledClock
from poddispatchd.sandbox.fake_runner_manager.faults import (
    Behaviour,
    Crash,
    Dispatch,
    Endpoint,
    Fault,
    FaultKind,
    Faults,
    Outcome,
)
from poddispatchd.sandbox.fake_runner_manager.files import Mode
from poddispatchd.sandbox.fake_runner_manager.manager import FakeRunnerManager
from poddispatchd.sandbox.fake_runner_manager.records import Received, Runner, Submission, TaskRecord
from poddispatchd.sandbox.fake_runner_manager.results import RESULTS, SAMPLES, result_files
from poddispatchd.sandbox.fake_runner_manager.routes import Health

__all__ = [
    "RESULTS",
    "SAMPLES",
    "Behaviour",
    "Clock",
    "Crash",
    "Dispatch",
    "Endpoint",
    "FakeRunnerManager",
    "Fault",
    "FaultKind",
    "Faults",
    "Health",
    "ManualClock",
    "Mode",
    "Outcome",
    "Received",
    "Runner",
    "ScaledClock",
    "Submission",
    "TaskRecord",
    "result_files",
]
