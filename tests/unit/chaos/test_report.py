"""The table of a fault campaign names its seed, what never happened, and figures that are missing."""

from dataclasses import replace

from chaos.campaign import Plan, Result
from chaos.effects import Effect
from chaos.recovery import Recovery
from chaos.report import text
from chaos.timeline import Kind
from chaos.violation import Violation


def _result(*violations: Violation, pooler: str | None = None) -> Result:
    return Result(
        plan=Plan(tasks=2, seed=7, minutes=1.0, pooler=pooler),
        violations=list(violations),
        effects=[
            Effect(Kind.DAEMON_KILL, 3, 2),
            Effect(Kind.DISK_FULL, 1, 0),
            Effect(Kind.RATE_LIMIT, 0, 0),
            Effect(Kind.POOLER_KILL, 0, 0),
            Effect(Kind.POOLER_END, 0, 0),
        ],
        spoilt={"file cut": 4},
        ends={"encoding completed": 2},
        recoveries=[Recovery("dead leader", (4.0, 8.0, 5.0), 10.0), Recovery("half-open link", ())],
        callbacks={200: 2},
        seconds=90.0,
        settled_in=5.0,
        notes=[],
    )


def _columns(report: str, begin: str) -> list[str]:
    [found] = [line for line in report.splitlines() if line.strip().startswith(begin)]
    return found.strip().removeprefix(begin).split()


def test_faults_are_told_by_what_was_caused_and_what_happened() -> None:
    report = text(_result())
    assert _columns(report, "daemon: kill -9") == ["3", "2"]
    assert _columns(report, "disk: full") == ["1", "0"]
    assert "faults that never happened: disk: full; manager: 429" in report.splitlines()


def test_the_faults_of_a_pooler_are_missed_only_where_there_is_one() -> None:
    report = text(_result(pooler="session")).splitlines()
    assert report[0] == "seed 7: 2 tasks in 90 s, behind a pooler in session mode"
    assert "faults that never happened: disk: full; manager: 429; pooler: kill -9" in report


def test_recoveries_are_told_by_median_and_worst_and_a_missing_one_is_not_hidden() -> None:
    report = text(_result())
    assert _columns(report, "dead leader") == ["3", "5.0", "8.0", "10.0"]
    assert _columns(report, "half-open link") == ["0", "-", "-", "-"]


def test_the_verdict_comes_last_and_names_the_seed() -> None:
    assert text(_result()).splitlines()[-1] == "no violation (seed 7)"
    bad = text(_result(Violation("twice", "task 1", 1, ("12.00 accepted",))))
    assert bad.splitlines()[-1] == "1 violation (seed 7)"
    assert "VIOLATION (twice): task 1\n    12.00 accepted" in bad


def test_what_this_machine_cannot_have_is_not_said_to_be_missing() -> None:
    made = replace(_result(), effects=[Effect(Kind.MEDIA_HUNG, 0, 0)])
    assert str(Kind.MEDIA_HUNG) in _never(made)
    assert str(Kind.MEDIA_HUNG) not in _never(replace(made, impossible=(Kind.MEDIA_HUNG,)))


def _never(result: Result) -> str:
    return next(line for line in text(result).splitlines() if line.startswith("faults that never happened"))
