"""When something is expected of the queue at all."""

from typing import cast

import pytest

from poddispatchd.cli.daemon_state import State
from poddispatchd.cli.forecast import is_submitted
from poddispatchd.cli.situation import JournalRows
from poddispatchd.journal.scheduling import Scheduler


def _state(reason: str) -> State:
    why = {"reason": reason, "severity": "problem", "words": "", "remedy": ""}
    return cast("State", {"queue": [{"why": None}, {"why": why}]})


@pytest.mark.parametrize("reason", ["media_not_usable", "database_refuses", "database_away"])
def test_nothing_is_expected_to_begin_while_the_daemon_cannot_submit(reason: str) -> None:
    """`tasks list` said "begins at once" while the media tree was not mounted."""
    assert not is_submitted(JournalRows(), _state(reason))
    assert is_submitted(JournalRows(), _state("managers_full"))


@pytest.mark.parametrize("held", [True, False])
def test_without_a_daemon_here_it_depends_on_whether_one_schedules_elsewhere(held: bool) -> None:
    assert is_submitted(JournalRows(Scheduler("there", None, is_held=held)), None) is held
    assert not is_submitted(JournalRows(), None)
