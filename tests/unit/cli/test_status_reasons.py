from typing import cast

from poddispatchd.cli.daemon_state import State, reasons_of

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
