"""Which failures are run again, and what people are told about the others."""

import pytest

from poddispatchd.domain.failures import advice, is_curable


@pytest.mark.parametrize(
    "error",
    [
        'Runner returned status 400: {"detail":"Runner is busy"}',
        "Runner returned status 503: none",
        "Task process is no longer running",
        "Error contacting runner: timeout",
        "Encoding incomplete: 720p_film.mp4 is missing",
    ],
)
def test_what_may_pass_is_run_again(error: str) -> None:
    assert is_curable(error, ran=True)
    assert advice(error) is None


@pytest.mark.parametrize(
    "error",
    [
        "Invalid parameters for task type: encoding (invalid fields: source_language)",
        'Runner returned status 500: {"detail": "Unsupported media"}',
        "Encoding aborted: source file does not appear to be a valid video file.",
        "Cancelled by user.",
        "Transcription failed",
        "Input media contains no audio stream: film.mp4",
    ],
)
def test_what_another_run_would_meet_as_well_ends_at_once(error: str) -> None:
    assert not is_curable(error, ran=True)
    assert not is_curable(error, ran=False)


def test_a_failure_without_a_word_is_run_again_only_if_nothing_ran() -> None:
    assert is_curable("", ran=False)
    assert not is_curable(None, ran=True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            "Invalid parameters for task type: transcription (invalid fields: source_language)",
            "too old to know source_language: upgrade the runners",
        ),
        ("effective video duration is 0 seconds", "change the cut or take the credits off"),
        ("Script timeout after 18000 seconds", "EXTERNAL_SCRIPT_TIMEOUT_SECONDS"),
        ("Input media contains no audio stream: a.mp4", "no sound"),
    ],
)
def test_people_are_told_what_can_be_done(error: str, words: str) -> None:
    assert words in (advice(error) or "")
