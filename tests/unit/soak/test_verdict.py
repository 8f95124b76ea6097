"""What the soak calls flat, and what it calls grown."""

from collections.abc import Callable

import pytest

from soak.verdict import LIMITS, Finding, Sample, findings


def _hour(
    rss: Callable[[float], float], tasks: Callable[[float], float] = lambda _: 30
) -> dict[str, Finding]:
    """What is found after an hour in which a daemon held so much at each minute."""
    samples = [Sample("A", minute, {"rss_kib": rss(minute), "tasks": tasks(minute)}) for minute in range(61)]
    return {one.name: one for one in findings(samples, warm_up=10)}


def test_memory_that_grows_only_while_it_warms_up_is_flat() -> None:
    found = _hour(lambda minute: 60_000 + 2_000 * min(minute, 10))

    assert found["rss_kib"].is_flat
    assert found["rss_kib"].last == found["rss_kib"].first == 80_000


def test_memory_that_grows_by_a_third_of_a_mib_a_minute_is_not() -> None:
    # 66 to 86 MiB over three quarters of an hour.
    found = _hour(lambda minute: 66_000 + 440 * minute)

    assert not found["rss_kib"].is_flat
    assert found["tasks"].is_flat


def test_a_peak_is_no_growth() -> None:
    found = _hour(lambda minute: 150_000 if 50 < minute < 54 else 80_000)

    assert found["rss_kib"].is_flat
    assert found["rss_kib"].most == 150_000


def test_a_task_that_never_ends_every_few_minutes_is_found() -> None:
    assert not _hour(lambda _: 80_000, tasks=lambda minute: 30 + minute // 3)["tasks"].is_flat


def test_each_daemon_is_judged_by_itself() -> None:
    samples = [Sample(name, minute, {"threads": 9}) for minute in range(20) for name in ("A", "B")]

    assert [(one.daemon, one.name) for one in findings(samples, warm_up=0)] == [
        ("A", "threads"),
        ("B", "threads"),
    ]


def test_the_memory_of_a_process_that_is_traced_is_not_judged_but_what_is_traced_is() -> None:
    samples = [
        Sample("B", minute, {"rss_kib": 70_000 + 1_000 * minute, "traced_kib": 2_000 + 100 * minute})
        for minute in range(20)
    ]

    [found] = findings(samples, warm_up=0)
    assert found.name == "traced_kib"
    assert not found.is_flat


def test_what_is_always_zero_was_not_measured() -> None:
    samples = [Sample("A", minute, dict.fromkeys(LIMITS, 0)) for minute in range(20)]

    assert findings(samples, warm_up=0) == []


def test_too_few_samples_are_no_verdict() -> None:
    with pytest.raises(ValueError, match="too few to tell"):
        findings([Sample("A", 1, {"threads": 9})], warm_up=0)


def test_daemons_that_tell_nothing_are_not_called_flat() -> None:
    with pytest.raises(ValueError, match="No daemon told"):
        findings([], warm_up=10)
