"""Draws the life of a task from the code that decides it, for ``docs/lifecycle.md``."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import assert_never

from poddispatchd.domain.lifecycle import Decision, decide
from poddispatchd.domain.stages import Stage, Step, after
from poddispatchd.domain.task import RunnerStatus, TaskStatus

_HEAD = """\
# The life of a task

Made from the code that decides (`make references`). Pod's five statuses are the states. The journal keeps
the stages inside *pending* and *running*; `poddispatchd tasks show` names a task's.

"""

_MEANINGS: Mapping[Decision, str] = {
    Decision.IMPORT: "Its result is fetched, checked and put in place; then it is completed.",
    Decision.RETRY: "It waits in the queue to be submitted again, which can cure it; some attempts are left.",
    Decision.FAIL: "It is failed, in the runner's words, or in ours where the runner has none.",
    Decision.TIME_OUT: "It is timed out: its script ran too long.",
    Decision.COMPLETE: "In place of *import*: its result, or that of a later request, is in Pod.",
    Decision.WAIT: "Its runner is at it: it is asked about again.",
    Decision.IGNORE: "Nothing changes.",
}


def text() -> str:
    """The whole document."""
    return "".join((_HEAD, *_diagram(), *_table(), *_legend()))


def _diagram() -> Iterator[str]:
    """Pod's statuses with their stages inside: no arrow may lead from a stage of one to one of another."""
    steps, reports = _steps(), _reports()
    begins = reports.pop((TaskStatus.RUNNING, TaskStatus.RUNNING))
    inside = [
        *((stage, target, words) for stage, target, words in steps if stage.status is target.status),
        (Stage.AT_WORK, Stage.IMPORTING, _reported(begins)),
    ]
    yield "```mermaid\nstateDiagram-v2\n"
    for status in (TaskStatus.PENDING, TaskStatus.RUNNING):
        yield f"    state {status} {{\n"
        own = [
            (_name(stage), _name(target), words) for stage, target, words in inside if stage.status is status
        ]
        yield from (f"    {arrow}" for arrow in _arrows(own))
        yield "    }\n"
    yield "    [*] --> pending: Pod, or a chained transcription\n"
    yield from _arrows(
        (stage.status, target.status, words)
        for stage, target, words in steps
        if stage.status is not target.status
    )
    yield from _arrows((*edge, _reported(told)) for edge, told in reports.items())
    yield "```\n\n"


def _name(stage: Stage) -> str:
    return stage.value.replace(" ", "_")


def _reported(told: Iterable[str]) -> str:
    return f"reported {', '.join(dict.fromkeys(told))}"


def _arrows(edges: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """One arrow from each to each, with all that leads there; Mermaid ends a text at a colon or semicolon."""
    together: dict[tuple[str, str], list[str]] = {}
    for source, target, words in edges:
        together.setdefault((source, target), []).append(words)
    for (source, target), all_words in together.items():
        yield f"    {source} --> {target}: {', or '.join(dict.fromkeys(all_words))}\n"


def _steps() -> list[tuple[Stage, Stage, str]]:
    """Everything that happens without a report."""
    found = []
    for step, stage in product(Step, Stage):
        again, never = (after(stage, step, may_submit_again=may) for may in (True, False))
        if again is not None and again is never:
            found.append((stage, again, step.value))
        elif again is not None and never is not None:
            found.append((stage, again, f"{step.value}, and attempts are left"))
            found.append((stage, never, f"{step.value}, too often"))
    return found


def _reports() -> dict[tuple[TaskStatus, TaskStatus], list[str]]:
    """Everything that reports do to rows."""
    edges: dict[tuple[TaskStatus, TaskStatus], list[str]] = {}
    for row, report in product(TaskStatus, RunnerStatus):
        for decision, condition in _decisions(row, report):
            target = _target(decision, row, report)
            if target is not None and (row, target) != (TaskStatus.PENDING, TaskStatus.PENDING):
                words = f"{report}{f' ({condition})' if condition else ''}"
                edges.setdefault((row, target), []).append(words)
    return edges


def _target(decision: Decision, row: TaskStatus, report: RunnerStatus) -> TaskStatus | None:
    match decision:
        case Decision.IMPORT:
            return TaskStatus.RUNNING
        case Decision.RETRY:
            return TaskStatus.PENDING
        case Decision.FAIL:
            return TaskStatus.FAILED
        case Decision.TIME_OUT:
            return TaskStatus.TIMEOUT
        case Decision.COMPLETE:
            return TaskStatus.COMPLETED
        case Decision.WAIT:
            # One that waits with an id runs after all.
            is_begun = report is RunnerStatus.RUNNING and row is TaskStatus.PENDING
            return TaskStatus.RUNNING if is_begun else None
        case Decision.IGNORE:
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
        ("nothing can be made of its result", decide(row, report, is_importable=False)),
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
    yield "A task that waits while its source is worked on for another one ends as that one does.\n"
    yield "One that a person completes by hand, before there is a result, ends no other one.\n"
