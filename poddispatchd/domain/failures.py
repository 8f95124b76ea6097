"""What the words of a failed run mean: whether a new submission can cure it, and what a person can do.

The words are those of Esup-Runner, from 1.2 to the version after 1.7.1.
"""

import re

_CURABLE = (
    "runner is busy",  # the manager had no reservations yet (1.3.1 and older)
    "runner returned status 5",
    "task process is no longer running",  # the runner's host crashed
    "error contacting runner",
    "encoding incomplete:",  # newer runners find out themselves that files are missing
)
"""Parts of the error text of failures that are not the medium's fault."""

_FINAL = (
    "invalid parameters",
    "invalid fields",
    "unsupported",
    "unknown task type",
    "not appear to be a valid",
    "no audio stream",
    "duration is 0 seconds",
    "cancelled by user",
    "max_video_size",
)
"""Parts of the error text of failures that another run would have as well, whatever else it says."""

_ADVICE = (
    (
        re.compile(r"invalid fields: ([\w, ]+)", re.IGNORECASE),
        "This runner is too old to know {0}: upgrade the runners of its manager, then restart the task.",
    ),
    (
        re.compile(r"duration is 0 seconds", re.IGNORECASE),
        "Runners cannot cut a video that has opening or ending credits, and a cut must leave something: "
        "change the cut or take the credits off, then restart the task.",
    ),
    (
        re.compile(r"not appear to be a valid", re.IGNORECASE),
        "The source cannot be read as a video: upload it again.",
    ),
    (
        re.compile(r"no audio stream", re.IGNORECASE),
        "There is no sound in it that could be transcribed.",
    ),
    (
        re.compile(r"script timeout after \d+", re.IGNORECASE),
        "It took longer than its runner allows: raise EXTERNAL_SCRIPT_TIMEOUT_SECONDS there.",
    ),
    (
        re.compile(r"max_video_size", re.IGNORECASE),
        "It is larger than the runner allows: raise MAX_VIDEO_SIZE_GB there, then restart the task.",
    ),
)


def is_curable(error: str | None, *, ran: bool) -> bool:
    """Whether a failure may be gone with a new submission.

    Args:
        error: the error text of the runner manager.
        ran: whether a script has run, as far as can be told: there is output of it, or the runner itself
            reported its end. An order that never reached its runner is ``failed`` with an empty error text,
            without output, and without a callback.
    """
    text = (error or "").strip().casefold()
    if not text:
        return not ran
    return any(part in text for part in _CURABLE) and not any(part in text for part in _FINAL)


def advice(error: str | None) -> str | None:
    """What a person can do about a failure that another run would have as well, if that is known."""
    for pattern, words in _ADVICE:
        if error and (match := pattern.search(error)) is not None:
            return words.format(*(group.strip() for group in match.groups()))
    return None
