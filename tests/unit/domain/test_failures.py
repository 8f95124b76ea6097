"""Which failures are run again, and what people are told about the others."""

import pytest

from poddispatchd.domain.failures import advice, is_curable, is_over_time
from poddispatchd.domain.task import RunnerStatus
from poddispatchd.tasks.run_report import RunReport

_FILM = "http://pod.example.org/media/videos/a/basket-timeout-unsupported.mp4"
_FETCH = f"Impossible to download {_FILM} file, "


@pytest.mark.parametrize(
    "error",
    [
        'Runner returned status 400: {"detail":"Runner is busy"}',
        "Runner returned status 503: none",
        "Task process is no longer running",
        "Error contacting runner: timeout",
        "Encoding incomplete: 720p_film.mp4 is missing",
        'Runner returned status 401: {"detail":"Invalid or expired token"}',
        "All connection attempts failed",
        "Server disconnected without sending a response.",
        "Encoding process was terminated by SIGTERM (return code -15)",
        "Studio generation failed rc=-9 :: Killed",
        "ERROR RETURN CODE for type=encode and format=mp4 : -9",
        "ERROR RETURN CODE for type=encode and format=mp4 : 137",
        "[Errno 28] No space left on device",
    ],
)
def test_what_may_pass_is_run_again(error: str) -> None:
    assert is_curable(error, ran=True)
    assert advice(error) is None


_GPU_KILLED = "ERROR RETURN CODE for type=encode and format=mp4 : -9"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("ffmpeg extraction failed with return code -9\n", True),
        ("whisper CLI failed with return code 137\n", True),
        ("Whisper chunk extraction failed (chunk 2/7, rc=-15)\n", True),
        (f"{_GPU_KILLED}\nEncode file in 3.1s.\n", True),
        # The medium: ffmpeg gave up by itself, or crashed over it.
        ("ffmpeg extraction failed with return code 1\n", False),
        ("ERROR RETURN CODE for type=encode and format=mp4 : -11", False),
        (f"{_GPU_KILLED}\nERROR RETURN CODE for type=encode and format=mp4 : 1\n", False),
        ("a line that speaks of signal 9\n", False),
        (None, False),
    ],
)
def test_a_program_that_was_killed_inside_a_script_is_no_fault_of_the_medium(
    output: str | None, expected: bool
) -> None:
    """A runner without memory kills ffmpeg, or Whisper, and its script tells that as any failure."""
    said = [
        RunReport(RunnerStatus.FAILED, error, output).is_curable for error in ("Transcription failed", "")
    ]
    assert said == [expected, expected or output is None]
    assert not RunReport(RunnerStatus.FAILED, "Cancelled by user.", output).is_curable


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


@pytest.mark.parametrize(
    "error",
    [
        f"The {_FILM} file was not found on the server.",
        _FETCH + "server returned HTTP 503.",
        _FETCH + "server returned HTTP 429.",
        _FETCH + "with error: ConnectTimeoutError(host='pod', 'timed out. (connect timeout=10)').",
        _FETCH + "with error: Incomplete download (1/2 bytes).",
        "Studio generation failed rc=1 :: urllib.error.HTTPError: HTTP Error 502: Bad Gateway",
        "Studio generation failed rc=1 :: urllib.error.URLError: <urlopen error timed out>",
    ],
)
def test_a_source_that_could_not_be_fetched_is_fetched_again(error: str) -> None:
    """A web server that was restarted failed every task whose source was asked for meanwhile, for good."""
    assert is_curable(error, ran=True)
    assert "could not fetch the source" in (advice(error) or "")


@pytest.mark.parametrize(
    "error",
    [
        _FETCH + "server returned HTTP 403.",
        "Studio generation failed rc=1 :: urllib.error.HTTPError: HTTP Error 401: Unauthorized",
    ],
)
def test_a_source_that_is_refused_to_its_runner_is_not_asked_for_again(error: str) -> None:
    assert not is_curable(error, ran=True)
    assert "could not fetch the source" in (advice(error) or "")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("Script timeout after 18000 seconds", RunnerStatus.TIMEOUT),
        ("Task timeout after 24 hours", RunnerStatus.TIMEOUT),
        ("", RunnerStatus.TIMEOUT),
        (None, RunnerStatus.TIMEOUT),
        ("It took too long", RunnerStatus.TIMEOUT),
        (_FETCH + "server returned HTTP 403.", RunnerStatus.FAILED),
        (_FETCH + "with error: (connect timeout=10).", RunnerStatus.FAILED),
        (f"Source URL does not point to a valid video file: {_FILM}", RunnerStatus.FAILED),
    ],
)
def test_a_word_in_an_address_does_not_make_a_time_out(error: str | None, status: RunnerStatus) -> None:
    """Runners call each failure with this word in its text a time-out, for which there was no second run."""
    assert is_over_time(error) == (status is RunnerStatus.TIMEOUT)
    assert RunReport(RunnerStatus.TIMEOUT, error).status is status


def test_what_a_file_is_called_says_nothing_about_its_failure() -> None:
    assert not is_curable("Cannot encode /videos/runner-is-busy/terminated-by-sigkill.mp4", ran=True)
    assert advice("Cannot encode /videos/not-appear-to-be-a-valid.mp4") is None


@pytest.mark.parametrize("unit", ["a", "a/", "a ", " "])
def test_a_megabyte_of_an_error_keeps_nobody_waiting(unit: str) -> None:
    """One word kept the event loop for two hours; the watchdog ended the daemon, and the next one met it."""
    error = "all connection attempts failed " + unit * (2**20 // len(unit)) + " invalid fields: a"
    assert not is_curable(error, ran=True, output=error)
    assert is_over_time(error)
    assert advice(error) is not None
    assert is_curable(error.removesuffix(" invalid fields: a"), ran=True)


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
        ("The file size (3.0 GB) exceeds the maximum allowed size of 2 GB.", "MAX_VIDEO_SIZE_GB"),
        ("Source URL does not point to a valid video file: http://pod/a.m4a", "another format"),
        ("ValueError: No closing quotation", "apostrophe in its name"),
    ],
)
def test_people_are_told_what_can_be_done(error: str, words: str) -> None:
    assert words in (advice(error) or "")
