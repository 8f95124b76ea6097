"""The status page: one HTML file with nothing from elsewhere, that works without its script too."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from zoneinfo import ZoneInfo

from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.forecast import Interval
from poddispatchd.domain.pending_reasons import OWN_REASONS
from poddispatchd.domain.shadow import counted
from poddispatchd.domain.situation import Severity, breaker_words, duration_words, error_about
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.domain.timetable_words import TimetableWords
from poddispatchd.journal.ends import HourOfTasks
from poddispatchd.managers.state import ManagerReport
from poddispatchd.web.failures import failure_groups
from poddispatchd.web.overviews import Overview
from poddispatchd.web.state import DaemonState, WaitingState

if TYPE_CHECKING:
    from jinja2 import Template

_PLOT_HEIGHT = 110
_LEFT, _HOUR = 24, 30
_CLAUSE = re.compile(r"[:.] ")


Moment: TypeAlias = Callable[[str | datetime], str]
"""Writes a moment for people, in Pod's zone."""


_TEXTS = {
    path.name: path.read_text(encoding="utf-8") for path in Path(__file__).with_name("templates").iterdir()
}
"""Read at the start: when somebody looks, the files of another release may lie there."""


def resource(name: str) -> str:
    """A file of the page, as text."""
    return _TEXTS[name]


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def page_policy() -> str:
    """The Content-Security-Policy of the page: its own style and script, questions to its own listener."""
    return (
        f"default-src 'none'; style-src {_source(resource('status.css'))}; "
        f"script-src {_source(resource('status.js'))}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def _template() -> "Template":
    # Imported when somebody looks: a daemon at which nobody looks needs none of it.
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(resource("status.html.j2"))


def status_page(state: DaemonState | None, waiting: str, overview: Overview | None = None) -> str:
    """The page for a state.

    Args:
        state: the daemon's; None while it is starting and waits for something.
        waiting: what a daemon that is starting waits for.
        overview: the tasks one by one, as far as they were read.
    """
    from markupsafe import Markup  # noqa: PLC0415 - as the template

    zone = ZoneInfo("UTC" if state is None else state.time_zone)
    now = Clock().now()

    def moment(value: str | datetime) -> str:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"

    words = TimetableWords(now, moment)
    return _template().render(
        # Our own text, whose digest the policy names: escaping would change it.
        style=Markup(resource("status.css")),  # noqa: S704
        script=Markup(resource("status.js")),  # noqa: S704
        title=_title(state),
        state=state,
        waiting=waiting,
        overview=overview,
        role="" if state is None else _role(state),
        statuses=[status.value for status in TaskStatus],
        managers={} if state is None else {manager.id: manager.name for manager in state.managers},
        failures=[] if overview is None else failure_groups(overview),
        bars=None if overview is None else _bars(overview.hours, zone),
        pooling=None if state is None or state.pooling is Pooling.NONE else state.pooling.meaning,
        moment=moment,
        ago=lambda since: duration_words(now - since),
        number=_number,
        thousands=_thousands,
        counted=counted,
        expected=lambda interval: _expected(interval, now),
        colour=lambda severity: _COLOURS[severity],
        manager_state=_manager_state,
        manager_colour=_manager_colour,
        remarks=lambda manager: _remarks(manager, moment, words),
        why=lambda item: "" if state is None else _why(item, state),
        window=words.window,
    )


_COLOURS: Mapping[Severity, str] = {
    Severity.NORMAL: "dim",
    Severity.NOTICE: "warn",
    Severity.PROBLEM: "bad",
}


def _title(state: DaemonState | None) -> str:
    """For a tab among many: whether to look."""
    if state is None:
        return "… poddispatchd"
    return f"({len(state.problems)}) poddispatchd" if state.problems else "poddispatchd"


def _role(state: DaemonState) -> str:
    if state.shadow is not None:
        return "shadow: decides beside Pod, writes and sends nothing"
    if state.leader:
        return "schedules"
    if not state.database_up:
        return "cannot schedule: the database is away"
    return f"stands by ({state.scheduler} schedules)" if state.scheduler else "stands by"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _thousands(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")


def _expected(interval: Interval | None, now: datetime) -> str:
    return "unknown" if interval is None else interval.words(now)


def _why(item: WaitingState, state: DaemonState) -> str:
    """Why a task waits; what keeps all of its type, which the page has at length, in short."""
    of_type = next((entry.why for entry in state.queue if entry.type == item.type), None)
    if of_type is None or of_type.reason is not item.why.reason or item.why.reason in OWN_REASONS:
        return item.why.sentence
    return f"{_CLAUSE.split(item.why.words, maxsplit=1)[0].rstrip('.')}."


def _manager_state(manager: ManagerReport) -> str:
    if not manager.is_active:
        return "inactive"
    if manager.paused:
        return "paused"
    return "outside its window" if _is_shut(manager) else breaker_words(manager.state)


def _is_shut(manager: ManagerReport) -> bool:
    """Whether it works, and gets no tasks for its window is closed."""
    is_closed = manager.window is not None and not manager.window.is_open
    return is_closed and manager.state is BreakerState.CLOSED


def _manager_colour(manager: ManagerReport) -> str:
    if not manager.is_active or (_is_shut(manager) and not manager.paused):
        return "dim"
    if manager.paused:
        return "warn"
    return "good" if manager.state is BreakerState.CLOSED else "bad"


def _remarks(manager: ManagerReport, moment: Moment, words: TimetableWords) -> list[str]:
    remarks = [] if manager.error is None else [error_about(manager.name, manager.error)]
    remarks += manager.timetable.words(words)
    together: dict[str, list[TaskType]] = {}
    for kind in manager.full_for:
        since = manager.full_since.get(kind)
        together.setdefault("" if since is None else f" since {moment(since)}", []).append(kind)
    for full_since, kinds in together.items():
        soonest = min(manager.full_for[kind] for kind in kinds)
        remarks.append(f"full for {' and '.join(kinds)}{full_since}, asked again in {soonest:.0f} s")
    if manager.state is BreakerState.CLOSED and manager.retry_in is not None:
        remarks.append(f"limits our rate of requests, asked again in {manager.retry_in:.0f} s")
    if manager.paced_for is not None:
        remarks.append(f"paced: the next task in {manager.paced_for:.0f} s")
    return remarks


class PlotBar(Struct, frozen=True):
    """One bar of the plot."""

    kind: str
    x: int
    y: int
    height: int


class Label(Struct, frozen=True):
    """An hour or a date below a plot."""

    x: int
    text: str


class Bars(Struct, frozen=True):
    """The plot of a day, and what it shows in words."""

    rectangles: tuple[PlotBar, ...]
    labels: tuple[Label, ...]
    highest: int
    words: str


def _bars(hours: Iterable[HourOfTasks], zone: ZoneInfo) -> Bars | None:
    """The plot; None when nothing happened that could be seen."""
    shown = list(hours)
    highest = max((max(hour.submitted, hour.completed, hour.failed) for hour in shown), default=0)
    if not highest:
        return None
    rectangles = []
    for index, hour in enumerate(shown):
        for offset, (kind, count) in enumerate(
            (("bar-a", hour.submitted), ("bar-b", hour.completed), ("bar-c", hour.failed))
        ):
            height = max(1, round(count / highest * _PLOT_HEIGHT)) if count else 0
            rectangles.append(PlotBar(kind, _LEFT + index * _HOUR + offset * 9, 120 - height, height))
    totals = (sum(getattr(hour, name) for hour in shown) for name in ("submitted", "completed", "failed"))
    submitted, completed, failed = totals
    return Bars(
        tuple(rectangle for rectangle in rectangles if rectangle.height),
        tuple(
            Label(_LEFT + index * _HOUR, f"{hour.hour.astimezone(zone):%H:%M}")
            for index, hour in enumerate(shown)
            if index % 3 == 0
        ),
        highest,
        f"In the last 24 hours {submitted} tasks were submitted, {completed} completed and {failed} failed.",
    )
