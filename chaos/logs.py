"""The daemons' logs, line by line."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Line:
    """One line; ``at`` is in seconds of the epoch, ``event`` empty for what is no line of the daemon's."""

    at: float
    level: str
    event: str
    facts: dict[str, object]
    text: str

    @property
    def task(self) -> int | None:
        """The task it is about."""
        task = self.facts.get("task")
        return task if isinstance(task, int) else None


def read(path: Path) -> list[Line]:
    """Every line of a log; a kill may cut one short, which is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            facts = json.loads(text)
            at = datetime.fromisoformat(facts["timestamp"]).timestamp()
        except (ValueError, KeyError, TypeError):
            if text.strip() and not text.startswith("{"):
                lines.append(Line(0.0, "error", "", {}, text))
            continue
        lines.append(Line(at, str(facts.get("level", "")), str(facts.get("event", "")), facts, text))
    return lines
