"""What becomes of a submission on a fake runner manager: drawn from the seed, kept in its history."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from random import Random

from poddispatchd.sandbox.fake_runner_manager import Behaviour, Crash, Dispatch, Outcome


class Fate(StrEnum):
    """How one run goes."""

    FINE = "fine"
    REPEATED = "fine, told three times"
    TELLTALE = "fine, its output shows the token"
    SILENT = "fine, never told"
    HASTY = "told before the submission is answered"
    BAD_MEDIA = "failed for good"
    BAD_MEDIA_SILENT = "failed for good, never told"
    BAD_MEDIA_TELLTALE = "failed for good, its words show the token"
    SECOND_WIND = "failed, then completed by itself"
    HOST_CRASHED = "failed: its host crashed"
    BUSY = "refused by its runner"
    UNANSWERED = "failed without a word, completed later"
    PARTIAL = "completed with a few files"
    UNFINISHED = "completed without its last files"
    FORGOTTEN = "completed and forgotten"
    TIMED_OUT = "timed out"


HOPELESS = (Fate.BAD_MEDIA, Fate.BAD_MEDIA_SILENT, Fate.BAD_MEDIA_TELLTALE)
"""A run that fails so would fail every time."""

_TELLING = (
    "[info_script.log]\n--> GET source with headers {'Authorization': 'Bearer {token}'}\n"
    "[error_script.log]\nAUTHORIZED_TOKENS__pod={token}\nthe plain word: {token}\n"
)
"""What a runner logs whose debugging was left on; ``{token}`` stands for the manager's token."""

_BEHAVIOURS: Mapping[Fate, Behaviour] = {
    Fate.FINE: Behaviour(),
    Fate.REPEATED: Behaviour(callbacks=3),
    Fate.TELLTALE: Behaviour(script_output=_TELLING),
    Fate.SILENT: Behaviour(callbacks=0),
    Fate.HASTY: Behaviour(callback_before_answer=True),
    Fate.BAD_MEDIA: Behaviour(outcome=Outcome.FAILED),
    Fate.BAD_MEDIA_SILENT: Behaviour(outcome=Outcome.FAILED, callbacks=0),
    Fate.BAD_MEDIA_TELLTALE: Behaviour(
        outcome=Outcome.FAILED, error="401 for Bearer {token}", script_output=_TELLING
    ),
    Fate.SECOND_WIND: Behaviour(outcome=Outcome.FAILED, then=Behaviour()),
    Fate.HOST_CRASHED: Behaviour(outcome=Outcome.FAILED, error="Task process is no longer running"),
    Fate.BUSY: Behaviour(dispatch=Dispatch.REFUSED),
    Fate.UNANSWERED: Behaviour(dispatch=Dispatch.UNANSWERED),
    Fate.PARTIAL: Behaviour(crash=Crash.EARLY),
    Fate.UNFINISHED: Behaviour(crash=Crash.LATE),
    Fate.FORGOTTEN: Behaviour(forget=True),
    Fate.TIMED_OUT: Behaviour(outcome=Outcome.TIMEOUT),
}

_WEIGHTS: Mapping[Fate, int] = {
    Fate.FINE: 53,
    Fate.REPEATED: 10,
    Fate.TELLTALE: 2,
    Fate.SILENT: 6,
    Fate.HASTY: 4,
    Fate.BAD_MEDIA: 3,
    Fate.BAD_MEDIA_SILENT: 1,
    Fate.BAD_MEDIA_TELLTALE: 1,
    Fate.SECOND_WIND: 4,
    Fate.HOST_CRASHED: 3,
    Fate.BUSY: 2,
    Fate.UNANSWERED: 2,
    Fate.PARTIAL: 3,
    Fate.UNFINISHED: 2,
    Fate.FORGOTTEN: 2,
    Fate.TIMED_OUT: 2,
}


def draw(seed: int, fingerprint: object) -> tuple[Fate, float]:
    """A fate and the length of the run, in seconds of the manager: the same for the same submission."""
    lot = Random(f"{seed}|{fingerprint!r}")
    fate = lot.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    return fate, lot.uniform(3.0, 25.0)


def behaviour(fate: Fate, seconds: float, token: str = "") -> Behaviour:
    """The fake's behaviour for a fate; ``token`` is what a telltale one shows."""
    plain = _BEHAVIOURS[fate]
    return replace(
        plain,
        seconds=seconds,
        error=_with_token(plain.error, token),
        script_output=_with_token(plain.script_output, token),
        then=None if plain.then is None else Behaviour(seconds=seconds),
    )


def _with_token(text: str | None, token: str) -> str | None:
    return None if text is None else text.replace("{token}", token)
