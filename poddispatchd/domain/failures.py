"""What the words of a failed run mean: whether a new submission can cure it, and what a person can do.

The words are those of Esup-Runner, from 1.2 to the version after 1.7.1.
"""

import re

_CURABLE = re.compile(
    r"""
    runner\ is\ busy                                # the manager had no reservations yet (1.3.1 and older)
    | runner\ returned\ status\ (?!422)              # the order did not begin: only 422 is about the order
    | all\ connection\ attempts\ failed             # nor did it here: its runner went down, in httpx's words
    | server\ disconnected | peer\ closed\ connection | connection\ reset | connection\ refused
    | broken\ pipe | network\ is\ unreachable | no\ route\ to\ host
    | name\ or\ service\ not\ known | name\ resolution | no\ address\ associated
    | task\ process\ is\ no\ longer\ running       # the runner's host crashed
    | terminated\ by\ sig(?:hup|int|kill|term)\b    # or was shut down, or out of memory
    | failed\ (?:\(retry\ cpu\)\ )?rc=-(?:1|2|9|15)\b # the same, while a studio recording is mixed
    | error\ contacting\ runner
    | encoding\ incomplete:                         # newer runners find out themselves that files are missing
    | no\ space\ left\ on\ device                   # the runner's
    """,
    re.VERBOSE,
)
"""What stands in the error text of failures that are not the medium's fault."""

_PROGRAM_ENDED = re.compile(
    r"(?:error return code for type=[^\n]{0,200}? : | failed with return code |, rc=)(-?\d{1,10})\b",
    re.IGNORECASE,
)
"""How ffmpeg, or Whisper, ended inside a script that went on to tell of it."""

_KILLED = frozenset({-1, -2, -9, -15, 129, 130, 137, 143})
"""Ends by a hang-up, Ctrl-C, the kernel without memory, or a shut-down; from 129 on as a shell has them."""

_LOOKED_THROUGH = 20_000
"""Characters at the end of an output in which the end of a program is looked for."""

_NOT_FETCHED = re.compile(
    r"^impossible to download\b|^the\s+file was not found on the server"
    r"|urllib\.error\.|urlopen error|requests\.exceptions\."
)
"""The runner could not have the source, or what belongs to it."""

_REFUSED_TO_RUNNER = re.compile(
    r"returned http (?!408|425|429)[34]\d\d|http error (?!404|408|425|429)[34]\d\d"
)
"""Whoever has the source refuses it to the runner, and will again."""

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
    "exceeds the maximum allowed size",
)
"""Parts of the error text of failures that another run would have as well, whatever else it says."""

_WORD = re.compile(r"\S+")

_JUDGED = 20_000
"""Characters at either end of an error text that are judged: a megabyte tells no more, and takes a second."""

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
        re.compile(r"max_video_size|exceeds the maximum allowed size", re.IGNORECASE),
        "It is larger than the runner allows: raise MAX_VIDEO_SIZE_GB there, then restart the task.",
    ),
    (
        re.compile(r"^ValueError: No closing quotation", re.IGNORECASE),
        "Runners cannot encode a file with a quotation mark or an apostrophe in its name: rename it, then "
        "restart the task.",
    ),
    (
        re.compile(r"not point to a valid video file", re.IGNORECASE),
        "Runners do not take files of this kind: upload it in another format, such as MP4, MKV, MP3 or WAV.",
    ),
    (
        re.compile(_NOT_FETCHED.pattern, re.IGNORECASE),
        "Its runner could not fetch the source from Pod's web server: look there whether that address was "
        "asked for, and what was answered, then restart the task.",
    ),
)


def is_curable(error: str | None, *, ran: bool, output: str | None = None) -> bool:
    """Whether a failure may be gone with a new submission.

    Args:
        error: the error text of the runner manager.
        output: what the script wrote; its last words about a program that it ran count.
        ran: whether a script has run, as far as can be told: there is output of it, or the runner itself
            reported its end. An order that never reached its runner is ``failed`` with an empty error text,
            without output, and without a callback.
    """
    text = _judged(error)
    if not text:
        return not ran or _was_killed(output)
    if any(part in text for part in _FINAL):
        return False
    if _NOT_FETCHED.search(text) is not None:
        # Its source is there: it was looked at before it was submitted, and is again before the next time.
        return _REFUSED_TO_RUNNER.search(text) is None
    return _CURABLE.search(text) is not None or _was_killed(error) or _was_killed(output)


def _was_killed(text: str | None) -> bool:
    """Whether the last program whose end a script tells was killed: the kernel had no memory, mostly."""
    ends = _PROGRAM_ENDED.findall((text or "")[-_LOOKED_THROUGH:])
    return bool(ends) and int(ends[-1]) in _KILLED


def is_not_fetched(error: str | None) -> bool:
    """Whether the runner could not have the source: a web server, or the network, may be down for minutes."""
    return _NOT_FETCHED.search(_judged(error)) is not None


def is_over_time(error: str | None) -> bool:
    """Whether a run that its runner calls timed out may have met a limit of its time.

    Runners call so whatever has ``timeout`` in its error text: also a source that could not be fetched, or
    one with this word in its name.
    """
    text = _judged(error)
    is_in_address = "timeout" in _ends_of(error).casefold() and "timeout" not in text
    return not is_in_address and _NOT_FETCHED.search(text) is None


def advice(error: str | None) -> str | None:
    """What a person can do about a failure that another run would have as well, if that is known."""
    text = _without_addresses(_ends_of(error)).strip()
    for pattern, words in _ADVICE:
        if (match := pattern.search(text)) is not None:
            return words.format(*(group.strip() for group in match.groups()))
    return None


def _judged(error: str | None) -> str:
    return _without_addresses(_ends_of(error)).strip().casefold()


def _ends_of(error: str | None) -> str:
    text = error or ""
    return text if len(text) <= 2 * _JUDGED else f"{text[:_JUDGED]}\n{text[-_JUDGED:]}"


def _without_addresses(text: str) -> str:
    """A text without addresses and paths: what people called a file is in them, and tells of no failure."""
    # Word by word: a pattern that looks for the slash within takes hours for megabytes without one.
    return _WORD.sub(lambda word: "" if "/" in word[0] else word[0], text)
