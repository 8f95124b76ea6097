"""Error lines of the daemons, and the faults that explain them."""

from collections.abc import Iterator

from chaos.evidence import Evidence
from chaos.logs import Line
from chaos.scenarios import Scenario
from chaos.stage import MAX_ATTEMPTS
from chaos.timeline import OF_STATEMENTS, OF_THE_DATABASE, OF_THE_MEDIA_TREE, Kind
from poddispatchd.errors import SessionEndedError

_AFTER = 80.0
"""Seconds after a fault of the database in which a daemon may still meet its consequences."""

_KEPT = 660.0
"""The same for sessions that could only read: PgBouncer lends one that began so until it has been idle for
ten minutes (server_idle_timeout)."""

_TRIED_FOR = 120.0
"""Seconds in which the attempts to import a result follow each other, at most."""

_LOST = (SessionEndedError().args[0], "The database cannot be reached: ")
"""What is told of an item over which sessions end, or the database is away, time and again: when faults come
so often that it meets several of them, nobody can tell that from an item at fault."""

_SPOILT = (Scenario.PARTIAL, Scenario.UNFINISHED, Scenario.FORGOTTEN)


def uncaused(evidence: Evidence) -> Iterator[tuple[str, Line]]:
    """Every error line that no fault explains, with its daemon; all that is no log line is one."""
    for name, lines in evidence.logs.items():
        for line in lines:
            if line.level in ("error", "critical") and not _is_caused(evidence, name, line):
                yield name, line


def _is_caused(evidence: Evidence, daemon: str, line: Line) -> bool:
    timeline = evidence.timeline
    row = None if line.task is None else evidence.rows.get(line.task)
    runs = [] if row is None else evidence.runs_of(row)
    match line.event:
        case "database.down":
            return any(
                one.covers(line.at, after=_AFTER)
                for one in timeline.of(*OF_THE_DATABASE, Kind.DAEMON_PAUSE)
                if one.target in ("database", "pooler", daemon)
            )
        case "task.failed":
            return any(run.had("failed", "timeout") for run in runs) or len(runs) >= MAX_ATTEMPTS
        case "import.failed":
            return any(run.scenario in _SPOILT for run in runs) or _was_spoilt(evidence, line)
        case "media.obstructed" | "media.slow":
            return any(one.covers(line.at, after=_AFTER) for one in timeline.of(*OF_THE_MEDIA_TREE))
        case "media.missing":
            return any(one.covers(line.at, after=_AFTER) for one in timeline.of(Kind.MEDIA_EMPTY))
        case "service.failed" | "service.crashed":
            is_question = line.facts.get("job") == "question about a running task"
            if is_question and _were_spoilt(evidence, line, "status", within=_AFTER):
                return True
            return any(
                f"({one.detail})" in line.text
                and one.covers(line.at, after=_KEPT if one.kind is Kind.READ_ONLY else _AFTER)
                for one in timeline.of(*OF_STATEMENTS)
            ) or (
                any(words in line.text for words in _LOST)
                and any(one.covers(line.at, after=_AFTER) for one in timeline.of(*OF_THE_DATABASE))
            )
        case "schema.changed":
            return any(one.covers(line.at, after=_AFTER) for one in timeline.of(Kind.MIGRATION))
        case "runner_manager.misconfigured":
            return any(
                one.target == f"manager {line.facts.get('runner_manager')}"
                and one.covers(line.at, after=_AFTER)
                for one in timeline.of(Kind.TOKEN_ROTATED)
            )
        case "config.invalid":
            return any(
                one.target == daemon and one.covers(line.at, after=5.0)
                for one in timeline.of(Kind.DAEMON_BAD_RELOAD)
            )
        case _:
            return False


def _was_spoilt(evidence: Evidence, line: Line) -> bool:
    """Whether a download met a fault, or a manager was gone, in the time that an import tries again."""
    return _were_spoilt(evidence, line, "file", "result", within=_TRIED_FOR) or any(
        one.covers(line.at, after=_TRIED_FOR) for one in evidence.timeline.of(Kind.MANAGER_KILL)
    )


def _were_spoilt(evidence: Evidence, line: Line, *endpoints: str, within: float) -> bool:
    """Whether answers of some endpoints met a fault in so many seconds before a line."""
    met = (
        float(str(entry["at"]))
        for entry in evidence.noted
        if entry["what"] == "met" and entry["endpoint"] in endpoints
    )
    return any(at <= line.at <= at + within for at in met)
