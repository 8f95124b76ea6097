"""Draws the life of a task from the code that decides it, for ``docs/lifecycle.md``.

``python -m poddispatchd.domain.lifecycle_chart > docs/lifecycle.md``
"""

import sys
from collections.abc import Iterator, Mapping
from itertools import product
from typing import assert_never

from poddispatchd.domain.lifecycle import Decision, decide
from poddispatchd.domain.task import RunnerStatus, TaskStatus

_HEAD = """\
# The life of a task

Generated from `poddispatchd/domain/lifecycle.py` by `python -m poddispatchd.domain.lifecycle_chart`; a test
holds the two together. Pod's five statuses are the states. What happens inside *pending* (an intent that is
open) and inside *running* (a result that is being imported) is kept in the journal.

"""

_MEANINGS: Mapping[Decision, str] = {
    Decision.IMPORT: "Its result is fetched, checked and put in place; then it is completed.",
    Decision.RETRY: "It goes back into the queue: a new submission can cure the failure, and some are left.",
    Decision.FAIL: "It is failed, in the runner's words.",
    Decision.TIME_OUT: "It is timed out: its script ran too long.",
    Decision.WAIT: "Its runner is at it: it is asked about again.",
    Decision.IGNORE: "Nothing changes.",
}

_OUTSIDE = """\
    [*] --> pending: Pod, or a chained transcription
    pending --> running: a manager takes it
    pending --> failed: no runner could ever run it
    running --> completed: its result is imported
    running --> pending: lost, or its result is spoilt, and attempts are left
    running --> failed: lost, or its result is spoilt, too often
    completed --> pending: a person restarts it
    failed --> pending: a person restarts it
    timeout --> pending: a person restarts it
"""
"""What happens without a report."""


def text() -> str:
    """The whole document."""
    return "".join((_HEAD, *_diagram(), *_table(), *_legend()))


def _diagram() -> Iterator[str]:
    yield "```mermaid\nstateDiagram-v2\n"
    yield _OUTSIDE
    edges: dict[tuple[TaskStatus, TaskStatus], list[str]] = {}
    for row, report in product(TaskStatus, RunnerStatus):
        for decision, condition in _decisions(row, report):
            target = _target(decision)
            if target is not None and (row, target) != (TaskStatus.PENDING, TaskStatus.PENDING):
                words = f"{report}{f' ({condition})' if condition else ''}"
                edges.setdefault((row, target), []).append(words)
    for (row, target), reports in edges.items():
        yield f"    {row} --> {target}: reported {', '.join(dict.fromkeys(reports))}\n"
    yield "```\n\n"


def _target(decision: Decision) -> TaskStatus | None:
    match decision:
        case Decision.IMPORT:
            return TaskStatus.RUNNING
        case Decision.RETRY:
            return TaskStatus.PENDING
        case Decision.FAIL:
            return TaskStatus.FAILED
        case Decision.TIME_OUT:
            return TaskStatus.TIMEOUT
        case Decision.WAIT | Decision.IGNORE:
            return None
        case _:
            assert_never(decision)


def _decisions(row: TaskStatus | None, report: RunnerStatus) -> list[tuple[Decision, str]]:
    """What a report can mean for a row: first what it means plainly, then what changes it."""
    plain = decide(row, report)
    found = [(plain, "")]
    for condition, decision in (
        ("curable, attempts left", decide(row, report, may_retry=True)),
        ("repeated", decide(row, report, is_repeated=True)),
        ("late, a result is being imported", decide(row, report, is_contradicted=True)),
    ):
        if decision is not plain:
            found.append((decision, condition))
    return found


def _table() -> Iterator[str]:
    yield "| row | " + " | ".join(f"reported {report}" for report in RunnerStatus) + " |\n"
    yield "|---|" + "---|" * len(RunnerStatus) + "\n"
    for row in (*TaskStatus, None):
        cells = []
        for report in RunnerStatus:
            first, *others = _decisions(row, report)
            words = [str(first[0]), *(f"{condition}: {decision}" for decision, condition in others)]
            cells.append("; ".join(words))
        yield f"| {'(unknown)' if row is None else row} | " + " | ".join(cells) + " |\n"


def _legend() -> Iterator[str]:
    yield "\n"
    for decision in Decision:
        yield f"- **{decision}**: {_MEANINGS[decision]}\n"
    yield "\nA report counts only while the row carries the id it is about.\n"
    yield "A completed row is never reopened by a report, only by a person.\n"


if __name__ == "__main__":
    sys.stdout.write(text())
