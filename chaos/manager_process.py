"""A fake runner manager in a process of its own that can be killed and started again with its history.

``python -m chaos.manager_process SETTINGS.json``; orders come as JSON lines on standard input.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaos.history import History, Run
from chaos.scenarios import Scenario, behaviour, draw
from poddispatchd.domain.task import RunnerStatus, RunnerTaskId
from poddispatchd.sandbox.fake_runner_manager import (
    AcceptedTask,
    AnswerFault,
    Behaviour,
    Crash,
    Endpoint,
    FakeRunnerManager,
    FaultKind,
    Faults,
    Runner,
    TaskRecord,
    result_files,
)

_SLOW_FOR_ALL = "slow"
_MUTE_FOR_ALL = "mute"


class NotedFaults(Faults):
    """Writes down every fault that a request really met.

    Attributes:
        slowness: seconds of the manager by which all other answers are late as well.
        is_mute: whether nothing is answered at all, although it is done.
    """

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history
        self.slowness: float | None = None
        self.is_mute = False

    def take(self, endpoint: Endpoint, path: str) -> AnswerFault | None:
        """The fault of this request."""
        fault, name = super().take(endpoint, path), str(endpoint)
        if self.is_mute:
            fault, name = AnswerFault(kind=FaultKind.LOSE_ANSWER), _MUTE_FOR_ALL
        if fault is None and self.slowness is not None:
            fault, name = AnswerFault(kind=FaultKind.SLOW, seconds=self.slowness), _SLOW_FOR_ALL
        if fault is not None:
            status = fault.status if fault.kind is FaultKind.STATUS else None
            self._history.write(
                {"what": "met", "at": time.time(), "endpoint": name, "kind": fault.kind, "status": status}
            )
        return fault


_CRASHES = {Scenario.PARTIAL: Crash.EARLY, Scenario.UNFINISHED: Crash.LATE}


class ManagerProcess:
    """One manager with its history."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._seed = int(settings["seed"])
        self._calm = False
        self._history = History(Path(settings["history"]), settings["name"])
        self._known: dict[str, tuple[str, str | None]] = {}
        self._drawn: dict[int, tuple[Scenario, float]] = {}
        self.faults = NotedFaults(self._history)
        self.faults.script = self._script
        self.manager = FakeRunnerManager(
            token=settings["token"],
            port=settings["port"],
            runners=[Runner(types=frozenset(types)) for types in settings["runners"]],
            time_scale=settings["time_scale"],
            task_seconds=10.0,
            connect_to=settings["connect_to"],
            mode=settings["mode"],
            faults=self.faults,
        )

    def _script(self, submission: AcceptedTask) -> Behaviour:
        scenario, seconds = draw(self._seed, submission.fingerprint)
        if self._calm:
            scenario = Scenario.FINE
        self._drawn[id(submission)] = (scenario, seconds)
        return behaviour(scenario, seconds, self.manager.token)

    # --- history ---------------------------------------------------------------------------------------

    def _note(self) -> bool:
        """Write down what has changed; never satisfied, so that it is asked at every change."""
        for task_id, record in self.manager.tasks.items():
            now = (str(record.status), record.error)
            known = self._known.get(task_id)
            if known is None:
                scenario, seconds = self._drawn.pop(id(record.submission), (Scenario.FINE, 10.0))
                self._history.write(
                    {
                        "what": "accepted",
                        "at": time.time(),
                        "id": task_id,
                        "scenario": str(scenario),
                        "seconds": seconds,
                        "runner": record.runner_id,
                        "token": record.token,
                        "submission": {
                            **asdict(record.submission),
                            "parameters": dict(record.submission.parameters),
                        },
                    }
                )
                known = ("running", None)
                self._known[task_id] = known
            if now != known:
                self._known[task_id] = now
                self._write_status(task_id, *now)
        for gone in self._known.keys() - self.manager.tasks.keys():
            if self._known[gone][0] != "":
                self._known[gone] = ("", None)
                self._write_status(gone, None, None)
        return False

    def _write_status(self, task_id: str, status: str | None, error: str | None) -> None:
        self._history.write(
            {"what": "status", "at": time.time(), "id": task_id, "status": status, "error": error}
        )

    def _restore(self) -> None:
        """Take up the records of an earlier process; what ran is run again by its runner."""
        runners = {runner.id: runner for runner in self.manager.runners}
        for run in self._history.runs().values():
            if run.final is None:
                self._known[run.task_id] = ("", None)
                continue
            record = self._record(run)
            self._known[run.task_id] = (str(run.final), record.error)
            self.manager.tasks[record.task_id] = record
            planned = behaviour(run.scenario, run.seconds, run.token)
            runner = runners.get(run.runner)
            if run.final == "running":
                if runner is not None and runner.task_id is None:
                    runner.task_id = record.task_id
                self.manager.rerun(run.task_id, planned)
            elif run.final == "failed" and planned.then is not None:
                self.manager.rerun(run.task_id, planned.then)

    def _record(self, run: Run) -> TaskRecord:
        now = self.manager.clock.wall()
        planned = behaviour(run.scenario, run.seconds, run.token)
        record = TaskRecord(
            task_id=RunnerTaskId(run.task_id),
            runner_id=run.runner,
            submission=run.submission,
            token=run.token,
            run_id="restored",
            created_at=now,
            updated_at=now,
            behaviour=planned,
            status=RunnerStatus(str(run.final)),
            error=run.changes[-1].error if run.changes else None,
        )
        if run.final in ("completed", "warning"):
            record.script_output = (
                planned.script_output or "[info_script.log]\n--> completed by the sandbox\n"
            )
            record.files = result_files(
                run.submission, task_id=record.task_id, when=now, crash=_CRASHES.get(run.scenario)
            )
        elif run.final != "running":
            record.script_output = (
                planned.script_output or f"[info_script.log]\n--> {run.final} by the sandbox\n"
            )
            if run.scenario in (Scenario.UNANSWERED, Scenario.BUSY):
                record.script_output = None
        return record

    # --- orders ----------------------------------------------------------------------------------------

    async def obey(self, order: dict[str, Any]) -> None:
        """Do what the campaign wants."""
        match order["do"]:
            case "inject":
                kind = FaultKind(order["kind"])
                fault = AnswerFault(
                    kind=kind,
                    status=order.get("status", 500),
                    seconds=order.get("seconds"),
                    length=order.get("length", 100),
                    match=order.get("match", ""),
                    body=order.get("body"),
                )
                self.faults.inject(Endpoint(order["endpoint"]), fault, times=order.get("times", 1))
            case "slow":
                self.faults.slowness = order["seconds"]
            case "mute":
                self.faults.is_mute = order["on"]
            case "token":
                self.manager.token = order["token"]
                self.manager.take_only(order["token"])
            case "calm":
                self._calm, self.faults.slowness, self.faults.is_mute = True, None, False
                self.faults.clear()
            case "kill_runner":
                runner = self.manager.runners[order["index"]]
                if runner.alive:
                    self._history.write(
                        {"what": "runner died", "at": time.time(), "runner": runner.id, "id": runner.task_id}
                    )
                    await self.manager.kill_runner(runner)
            case "revive_runner":
                runner = self.manager.runners[order["index"]]
                if not runner.alive:
                    record = self.manager.tasks.get(runner.task_id) if runner.task_id else None
                    self.manager.revive_runner(runner, None if record is None else record.behaviour)
            case other:
                raise ValueError(f"{other!r} is no order.")

    async def run(self) -> None:
        """Serve until standard input ends."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        async with self.manager:
            self._restore()
            noting = asyncio.create_task(self.manager.wait_for(self._note, 1e6))
            print("ready", flush=True)
            try:
                while line := await reader.readline():
                    await self.obey(json.loads(line))
            finally:
                noting.cancel()
                await asyncio.gather(noting, return_exceptions=True)
                self._note()


if __name__ == "__main__":
    asyncio.run(ManagerProcess(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).run())
