"""Why results cannot be written under MEDIA_ROOT, for people."""

from structlog.testing import capture_logs

from poddispatchd.domain.task import TaskPk
from poddispatchd.runtime.media_health import MediaHealth


def _told(*words: str) -> tuple[str, ...]:
    health = MediaHealth()
    for number, text in enumerate(words):
        health.obstructed(text, TaskPk(number))
    return health.problems


def test_each_reason_for_which_results_wait_is_told_with_how_many_it_keeps() -> None:
    """A directory of another owner was told alone, while the disk was full for all the others."""
    denied = "videos/abc/0007 cannot be opened: Permission denied."
    full = "videos/abc/000{}/360p.mp4 cannot be written: No space left on device ('df' tells)."

    assert _told(denied, full.format(1), full.format(2), full.format(3)) == (
        denied,
        f"{full.format(1)} 2 more wait for the same reason.",
    )


def test_each_of_the_first_reasons_is_logged_once() -> None:
    """A directory of another owner was in the log, and the disk that ran full an hour later was not."""
    denied, full, gone, slow = (
        f"videos/{{}} cannot be opened: {why}." for why in ("denied", "full", "gone", "slow")
    )

    with capture_logs() as logs:
        told = _told(
            *(text.format(number) for text in (denied, full, denied, gone, slow) for number in (1, 2))
        )

    assert [entry["reason"] for entry in logs] == [denied.format(1), full.format(1), gone.format(1)]
    assert len(told) == 4


def test_however_many_reasons_there_are_a_few_lines_tell_of_them() -> None:
    *first, last = _told(*(f"0007/{number} cannot be opened: reason {number}." for number in range(9)))

    assert [words[-9:] for words in first] == ["reason 0.", "reason 1.", "reason 2."]
    assert last == "6 more, for other reasons: the log has them (import.retried)."
