from typing import cast

import pytest

from poddispatchd.cli.daemon_state import State, reasons_of
from poddispatchd.cli.status import print_state

_FULL = {"words": "They wait for a free runner: gpu is full.", "remedy": ""}
_DOWN = {"words": "No runner manager can be used: gpu is down.", "remedy": "Mend what is told of it."}


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
    manager = {
        "id": 1,
        "name": "gpu",
        "priority": 1,
        "is_active": True,
        "paused": True,
        "state": "closed",
        "full_for": {},
        "paused_since": "2026-03-01T08:30Z",
        "paused_until": None,
        "pause_reason": "",
        "planned_pauses": [],
        "window": window,
    }
    entry = {"type": "encoding", "counts": {}, "oldest_pending": None, "why": None, "window": window}
    state = {
        "version": "1",
        "instance": "pod",
        "leader": True,
        "submissions_in_progress": 0,
        "imports_in_progress": 0,
        "pooling": "none",
        "shadow": None,
        "problems": [],
        "notices": [],
        "queue": [entry],
        "as_of": "2026-03-01T09:00Z",
        "running_on": {},
        "managers": [manager],
        "time_zone": "Indian/Reunion",
    }

    print_state(cast("State", state))

    said = capsys.readouterr().out
    assert "Tasks as of 2026-03-01 13:00:00 +04." in said
    assert "encoding: window 22:00-06:00: opens at 2026-03-01 22:00:00 +04 " in said
    assert "paused since 2026-03-01 12:30:00 +04" in said
