"""The fake managers' own records, line by line on disk: they survive a kill, and they are the truth."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chaos.scenarios import Scenario
from poddispatchd.sandbox.fake_runner_manager import AcceptedTask


@dataclass(frozen=True, slots=True)
class Change:
    """A status that a run had from a moment (seconds of the epoch) on; None: the manager forgot the task."""

    at: float
    status: str | None
    error: str | None = None


@dataclass(slots=True)
class Run:
    """What a manager accepted under one id, and what became of it; ``token`` submitted it."""

    manager: str
    task_id: str
    scenario: Scenario
    seconds: float
    runner: str
    at: float
    submission: AcceptedTask
    changes: list[Change] = field(default_factory=list)
    token: str = field(default="", repr=False)

    @property
    def source(self) -> tuple[str, str]:
        """What it works on: type and address."""
        return self.submission.task_type, self.submission.source_url

    @property
    def final(self) -> str | None:
        """The status now; None when the manager does not know the task any more."""
        return self.changes[-1].status if self.changes else "running"

    @property
    def is_good(self) -> bool:
        """Whether a complete result is there to be fetched."""
        return self.final in ("completed", "warning") and self.scenario not in (
            Scenario.PARTIAL,
            Scenario.UNFINISHED,
        )

    def had(self, *statuses: str) -> bool:
        """Whether the run ever had one of these."""
        return any(change.status in statuses for change in self.changes)

    def live_until(self) -> float:
        """When it was in flight for the last time."""
        ends = [change.at for change in self.changes if change.status not in ("running", "pending")]
        return ends[0] if ends else float("inf")


class History:
    """Appends to and reads the history of one manager."""

    def __init__(self, path: Path, manager: str) -> None:
        self.path = path
        self.manager = manager

    def write(self, entry: Mapping[str, object]) -> None:
        """Append one line; a kill may cut it short, never one before it."""
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(entry).encode() + b"\n")

    def runs(self) -> dict[str, Run]:
        """Every run, by id."""
        found: dict[str, Run] = {}
        if not self.path.exists():
            return found
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            match entry.get("what"):
                case "accepted":
                    found[entry["id"]] = Run(
                        manager=self.manager,
                        task_id=entry["id"],
                        scenario=Scenario(entry["scenario"]),
                        seconds=entry["seconds"],
                        runner=entry["runner"],
                        at=entry["at"],
                        submission=AcceptedTask(**entry["submission"]),
                        token=entry["token"],
                    )
                case "status":
                    run = found.get(entry["id"])
                    if run is not None:
                        run.changes.append(Change(entry["at"], entry["status"], entry.get("error")))
        return found

    def others(self) -> list[dict[str, object]]:
        """The lines that are not about runs: what happened to runners, and which faults were met."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.get("what") not in ("accepted", "status"):
                found.append({**entry, "manager": self.manager})
        return found
