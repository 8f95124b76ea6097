"""A report as one HTML file with nothing from elsewhere: its plots are drawn here."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from msgspec import Struct

from poddispatchd.domain.report import DayFigures, PeriodReport, seconds_words, share_words
from poddispatchd.web.page import Label, resource

if TYPE_CHECKING:
    from jinja2 import Template

_LEFT, _RIGHT, _BASE, _HEIGHT = 44, 744, 120, 110


class ReportBar(Struct, frozen=True):
    """One bar."""

    kind: str
    x: int
    y: int
    width: int
    height: int


class Plot(Struct, frozen=True):
    """Bars with their key, and what they show in words."""

    id: str
    title: str
    words: str
    key: tuple[tuple[str, str], ...]
    highest: str
    rectangles: tuple[ReportBar, ...]
    labels: tuple[Label, ...]


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only who wants this page needs it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(resource("report.html.j2"))


def report_page(report: PeriodReport) -> str:
    """The report for a browser."""
    from markupsafe import Markup  # noqa: PLC0415 - as the template

    return _template().render(
        style=Markup(resource("status.css")),  # noqa: S704 - our own text
        report=report,
        plots=_plots(report),
        day=lambda moment: f"{moment:%Y-%m-%d}",
        length=seconds_words,
        share=share_words,
    )


def _plots(report: PeriodReport) -> list[Plot]:
    days, weeks = report.days_of_period, report.weeks
    found = []
    if any(item.completed or item.failed for item in days):
        words = (
            f"In these {len(days)} days {report.completed} tasks were completed and {report.failed} failed."
        )
        found.append(
            _bars(
                Plot(
                    "days", "Tasks by day", words, (("bar-b", "completed"), ("bar-c", "failed")), "", (), ()
                ),
                days,
                [("bar-b", [item.completed for item in days]), ("bar-c", [item.failed for item in days])],
            )
        )
    hours = [round(item.ran / 3600) for item in weeks]
    if any(hours):
        words = f"Runners worked between {min(hours)} and {max(hours)} hours a week in {len(weeks)} weeks."
        plot = Plot("weeks", "Runner time by week", words, (("bar-a", "hours"),), "", (), ())
        found.append(_bars(plot, weeks, [("bar-a", hours)]))
    return found


def _bars(plot: Plot, days: Sequence[DayFigures], series: Sequence[tuple[str, Sequence[int]]]) -> Plot:
    """The plot with a group of bars for each day, one of each series."""
    highest = max(max(values) for _, values in series)
    group = (_RIGHT - _LEFT) / len(days)
    width = max(1, int((group - 2) / len(series)))
    rectangles = []
    for number in range(len(days)):
        for offset, (kind, values) in enumerate(series):
            if values[number]:
                height = max(1, round(values[number] / highest * _HEIGHT))
                x = int(_LEFT + number * group + offset * width)
                rectangles.append(ReportBar(kind, x, _BASE - height, width, height))
    step = -(-len(days) // 8)
    labels = [
        Label(int(_LEFT + number * group), f"{item.day:%m-%d}")
        for number, item in enumerate(days)
        if number % step == 0
    ]
    return Plot(plot.id, plot.title, plot.words, plot.key, str(highest), tuple(rectangles), tuple(labels))
