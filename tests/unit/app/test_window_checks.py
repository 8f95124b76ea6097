from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from poddispatchd.app.window_checks import window_findings
from poddispatchd.domain.availability import Availability
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.situation import Severity
from poddispatchd.domain.task import ManagerId, SiteId
from poddispatchd.domain.time_windows import TimeWindows, parse_windows

_PARIS = ZoneInfo("Europe/Paris")
_NOW = datetime(2026, 11, 30, 12, tzinfo=_PARIS)
_HERE = SiteId(1)
_MANAGERS = [
    RunnerManager(ManagerId(number), name, 1, f"http://{name}", SecretStr("token"), _HERE, is_active=True)
    for number, name in enumerate(("gpu-1", "gpu-2"), start=1)
]


def _windows(**texts: str) -> Mapping[str, TimeWindows]:
    return {name.replace("_", "-"): TimeWindows(parse_windows(text), _PARIS) for name, text in texts.items()}


def _found(availability: Availability) -> list[tuple[Severity, str]]:
    findings = window_findings(availability, _MANAGERS, {_HERE: "pod.example.org"}, [_HERE], _NOW)
    return [(finding.severity, finding.words) for finding in findings]


def test_without_windows_there_is_nothing_to_say() -> None:
    assert _found(Availability()) == []


def test_windows_that_fit_are_told_with_when_they_open_and_close() -> None:
    assert _found(Availability(_windows(transcription="20:00-07:00"), _windows(gpu_1="08:00-22:00"))) == [
        (Severity.NORMAL, "transcription: window 20:00-07:00: opens at 20:00:00 CET (in 8 h 00 min)."),
        (Severity.NORMAL, "gpu-1: window 08:00-22:00: open until 22:00:00 CET (in 10 h 00 min)."),
    ]


def test_a_type_that_is_never_submitted_anywhere_is_a_problem() -> None:
    never = Availability(
        _windows(transcription="20:00-07:00"), _windows(gpu_1="08:00-18:00", gpu_2="09:00-12:00")
    )

    assert _found(never) == [
        (
            Severity.PROBLEM,
            "No task of type transcription is ever submitted for pod.example.org: its window and those of "
            "the runner managers there (gpu-1, gpu-2) are never open together.",
        )
    ]


def test_one_manager_that_never_gets_a_type_is_worth_a_note() -> None:
    assert _found(Availability(_windows(studio="sat"), _windows(gpu_2="mon-fri 08:00-20:00"))) == [
        (
            Severity.NOTICE,
            "No task of type studio is ever submitted to gpu-2: windows are never open together.",
        )
    ]


def test_the_window_of_a_manager_that_pod_does_not_have_is_a_problem() -> None:
    assert _found(Availability({}, _windows(gpu_3="08:00-18:00"))) == [
        (
            Severity.PROBLEM,
            "windows.runner_managers: Pod has no runner manager 'gpu-3'; did you mean gpu-2?",
        )
    ]
