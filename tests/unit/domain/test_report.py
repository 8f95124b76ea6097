"""A report says what runners did, in words and in plots, and lets nothing through that acts."""

from datetime import UTC, date, datetime, timedelta

from poddispatchd.domain.report import (
    DayFigures,
    ManagerFigures,
    OwnerFigures,
    PeriodReport,
    ReasonFigures,
    TypeFigures,
    report_text,
)
from poddispatchd.web.report import report_page

UNTIL = datetime(2026, 3, 10, 8, tzinfo=UTC)

REPORT = PeriodReport(
    since=UNTIL - timedelta(days=7),
    until=UNTIL,
    types=(
        TypeFigures("encoding", 412, 9, 12.0, 1900.0, 640.0, 5400.0, 400_000.0, 900_000.0),
        TypeFigures("transcription", 3, 0, None, None, None, None, 0.0, 0.0),
    ),
    managers=(
        ManagerFigures("encoders", 410, 9, 390_000.0, 2, 0.32),
        ManagerFigures("none", 5, 0, 0.0, 0, None),
    ),
    reasons=(ReasonFigures("8f2c41aa", "<b>Script</b> timeout after N seconds", 37),),
    owners=(OwnerFigures("anna", 31, 40_000.0),),
    days=tuple(DayFigures(date(2026, 2, 1) + timedelta(days=n), n, n % 3, n * 900.0) for n in range(38)),
)

EMPTY = PeriodReport(UNTIL - timedelta(days=7), UNTIL, (), (), (), (), ())


def test_every_day_of_the_period_is_there_and_weeks_begin_on_mondays() -> None:
    assert [item.day.day for item in REPORT.days_of_period] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert [item.completed for item in EMPTY.days_of_period] == [0] * 8
    assert {item.day.weekday() for item in REPORT.weeks} == {0}
    assert sum(item.ran for item in REPORT.weeks) == sum(item.ran for item in REPORT.days)


def test_the_text_has_every_figure() -> None:
    text = report_text(REPORT)

    assert "415 tasks completed, 9 failed." in text
    assert "encoding       412        9       12 s    31 min  10 min  1 h 30 min  4 d 15 h" in text
    assert "encoders  410        9       2             4 d 12 h     32 %" in text
    assert "37     8f2c41aa  <b>Script</b> timeout after N seconds" in text
    assert "anna   31     11 h 06 min" in text


def test_a_week_without_tasks_is_said_so() -> None:
    assert report_text(EMPTY).count("\n  none\n") == 4
    assert "<svg" not in report_page(EMPTY)


def test_the_page_draws_its_plots_and_escapes_what_comes_from_outside() -> None:
    page = report_page(REPORT)

    assert page.count("<svg") == 2
    assert 'aria-label="In these 8 days 415 tasks were completed and 9 failed."' in page
    assert "&lt;b&gt;Script&lt;/b&gt; timeout" in page
    assert "<b>" not in page
    assert page.count('class="bar-b"') == 8
    assert "http" not in page
