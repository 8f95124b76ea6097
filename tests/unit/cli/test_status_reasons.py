from typing import cast

import pytest

from poddispatchd.cli.daemon_state import State, reasons_of
from poddispatchd.cli.status import print_state

_FULL = {"words": "They wait for a free runner: gpu is full.", "remedy": ""}
_DOWN = {"words": "No runner manager can be used: gpu is down.", "remedy": "Mend what is told of it."}


_MANAGER = {
    "id": 1,
    "name": "gpu",
    "priority": 1,
    "is_active": True,
    "paused": False,
    "state": "closed",
    "full_for": {},
    "paused_since": None,
    "paused_until": None,
    "pause_reason": "",
    "planned_pauses": [],
    "window": None,
}

_STATE = {
    "version": "1",
    "instance": "pod",
    "leader": True,
    "submissions_in_progress": 0,
    "imports_in_progress": 0,
    "pooling": "none",
    "shadow": None,
    "problems": [],
    "notices": [],
    "queue": [],
    "as_of": None,
    "running_on": {},
    "managers": [],
    "time_zone": "Indian/Reunion",
}


def _state(**why: dict[str, str] | None) -> State:
    return cast("State", {"queue": [{"type": kind, "why": words} for kind, words in why.items()]})


def test_what_keeps_several_types_waiting_is_told_once() -> None:
    told = reasons_of(_state(encoding=_DOWN, studio=_FULL, transcription=_DOWN, other=None))

    assert told == {
        "No runner manager can be used: gpu is down. Mend what is told of it.": ["encoding", "transcription"],
        "They wait for a free runner: gpu is full.": ["studio"],
    }


def test_all_moments_of_status_are_in_pods_time_zone(capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons were in that one, when tasks were counted and windows open in the one of the machine."""
    window = {"hours": "22:00-06:00", "is_open": False, "opens_at": "2026-03-01T18:00Z", "closes_at": None}
    entry = {"type": "encoding", "counts": {}, "oldest_pending": None, "why": None, "window": window}
    manager = {**_MANAGER, "paused": True, "paused_since": "2026-03-01T08:30Z", "window": window}
    state = {**_STATE, "queue": [entry], "managers": [manager], "as_of": "2026-03-01T09:00Z"}

    print_state(cast("State", state))

    said = capsys.readouterr().out
    assert "Tasks as of 2026-03-01 13:00:00 +04." in said
    assert "encoding: window 22:00-06:00: opens at 2026-03-01 22:00:00 +04 " in said
    assert "paused since 2026-03-01 12:30:00 +04" in said


def test_a_reason_that_is_told_as_a_problem_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Where all managers are down the same three lines stood above the table and below it."""
    queue = [
        {"type": kind, "counts": {}, "oldest_pending": None, "why": why, "window": None}
        for kind, why in (("encoding", _DOWN), ("studio", _FULL))
    ]

    print_state(
        cast("State", {**_STATE, "problems": [f"{_DOWN['words']} {_DOWN['remedy']}"], "queue": queue})
    )

    said = capsys.readouterr().out
    assert said.count(_DOWN["words"]) == 1
    assert "encoding: as told above.\nstudio: They wait for a free runner: gpu is full.\n" in said
