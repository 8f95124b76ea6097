"""What runners did for whom in a period, for those who must account for them; and the same as plain text."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta

from msgspec import Struct

from poddispatchd.domain.situation import duration_words


class TypeFigures(Struct, frozen=True):
    """Tasks of a type that ended. Times are in seconds, None where none was seen.

    ``wait_middle`` and ``run_middle`` are what half of the tasks stayed below, ``wait_long`` and ``run_long``
    nine of ten. ``source_seconds`` is the length of what was worked on, as far as it is known.
    """

    type: str
    completed: int
    failed: int
    wait_middle: float | None
    wait_long: float | None
    run_middle: float | None
    run_long: float | None
    ran: float
    source_seconds: float


class ManagerFigures(Struct, frozen=True):
    """A runner manager: ``ran`` seconds of work on ``slots`` runners, as many as were seen at work at once.

    ``utilisation`` is the share of the period for which they worked, None without a run.
    """

    name: str
    completed: int
    failed: int
    ran: float
    slots: int
    utilisation: float | None


class OwnerFigures(Struct, frozen=True):
    """For whom runners worked."""

    name: str
    tasks: int
    ran: float


class ReasonFigures(Struct, frozen=True):
    """Failures of one reason that nobody has restarted."""

    group: str
    reason: str
    tasks: int


class DayFigures(Struct, frozen=True):
    """Tasks that ended on a day, and the seconds for which runners worked on them."""

    day: date
    completed: int
    failed: int
    ran: float


class PeriodReport(Struct, frozen=True):
    """A period from ``since`` to ``until``, in Pod's time zone; ``days`` may reach further back."""

    since: datetime
    until: datetime
    types: tuple[TypeFigures, ...]
    managers: tuple[ManagerFigures, ...]
    reasons: tuple[ReasonFigures, ...]
    owners: tuple[OwnerFigures, ...]
    days: tuple[DayFigures, ...]

    @property
    def completed(self) -> int:
        """Tasks that were completed."""
        return sum(item.completed for item in self.types)

    @property
    def failed(self) -> int:
        """Tasks that failed or timed out."""
        return sum(item.failed for item in self.types)

    @property
    def weeks(self) -> tuple[DayFigures, ...]:
        """The days by weeks; each stands for the Monday it begins with."""
        sums: dict[date, DayFigures] = {}
        for item in self.days:
            monday = item.day - timedelta(days=item.day.weekday())
            before = sums.get(monday, DayFigures(monday, 0, 0, 0.0))
            sums[monday] = DayFigures(
                monday,
                before.completed + item.completed,
                before.failed + item.failed,
                before.ran + item.ran,
            )
        return tuple(sums[monday] for monday in sorted(sums))

    @property
    def days_of_period(self) -> tuple[DayFigures, ...]:
        """Every day of the period, those without tasks too."""
        known = {item.day: item for item in self.days}
        day, last = self.since.date(), self.until.date()
        found = []
        while day <= last:
            found.append(known.get(day, DayFigures(day, 0, 0, 0.0)))
            day += timedelta(days=1)
        return tuple(found)


def seconds_words(seconds: float | None) -> str:
    """A length of time for people; a dash for none."""
    return "-" if seconds is None else duration_words(timedelta(seconds=seconds))


def share_words(share: float | None) -> str:
    """A share in hundredths."""
    return "-" if share is None else f"{100 * share:.0f} %"


def report_text(report: PeriodReport) -> str:
    """The report as plain text, in 80 columns."""
    lines = [
        f"poddispatchd from {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M %Z}",
        f"{report.completed} tasks completed, {report.failed} failed.",
    ]
    lines += _section(
        "Tasks (of two times, half stayed below the first, nine of ten below the other)",
        ("type", "completed", "failed", "waited", "", "ran", "", "runner time"),
        [
            (
                item.type,
                str(item.completed),
                str(item.failed),
                seconds_words(item.wait_middle),
                seconds_words(item.wait_long),
                seconds_words(item.run_middle),
                seconds_words(item.run_long),
                seconds_words(item.ran),
            )
            for item in report.types
        ],
    )
    lines += _section(
        "Runner managers",
        ("name", "completed", "failed", "runners seen", "runner time", "utilisation"),
        [
            (
                item.name,
                str(item.completed),
                str(item.failed),
                str(item.slots),
                seconds_words(item.ran),
                share_words(item.utilisation),
            )
            for item in report.managers
        ],
    )
    lines += _section(
        "Failures that nobody has restarted",
        ("tasks", "group", "reason"),
        [(str(item.tasks), item.group, item.reason) for item in report.reasons],
    )
    lines += _section(
        "Busiest owners",
        ("owner", "tasks", "runner time"),
        [(item.name, str(item.tasks), seconds_words(item.ran)) for item in report.owners],
    )
    return "\n".join(lines) + "\n"


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    cells = [tuple(head), *rows]
    yield ""
    yield title
    if len(cells) == 1:
        yield "  none"
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
