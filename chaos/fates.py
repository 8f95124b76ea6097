"""What becomes of a submission on a fake runner manager: drawn from the seed, kept in its history."""

from collections.abc import Mapping
from enum import StrEnum
from random import Random

from poddispatchd.sandbox.fake_runner_manager import Behaviour, Crash, Dispatch, Outcome


class Fate(StrEnum):
    """How one run goes."""

    FINE = "fine"
    REPEATED = "fine, told three times"
    SILENT = "fine, never told"
    HASTY = "told before the submission is answered"
    BAD_MEDIA = "failed for good"
    BAD_MEDIA_SILENT = "failed for good, never told"
    SECOND_WIND = "failed, then completed by itself"
    HOST_CRASHED = "failed: its host crashed"
    BUSY = "refused by its runner"
    UNANSWERED = "failed without a word, completed later"
    PARTIAL = "completed with a few files"
    UNFINISHED = "completed without its last files"
    FORGOTTEN = "completed and forgotten"
    TIMED_OUT = "timed out"


_BEHAVIOURS: Mapping[Fate, Behaviour] = {
    Fate.FINE: Behaviour(),
    Fate.REPEATED: Behaviour(callbacks=3),
    Fate.SILENT: Behaviour(callbacks=0),
    Fate.HASTY: Behaviour(callback_before_answer=True),
    Fate.BAD_MEDIA: Behaviour(outcome=Outcome.FAILED),
    Fate.BAD_MEDIA_SILENT: Behaviour(outcome=Outcome.FAILED, callbacks=0),
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
    Fate.FINE: 56,
    Fate.REPEATED: 10,
    Fate.SILENT: 6,
    Fate.HASTY: 4,
    Fate.BAD_MEDIA: 3,
    Fate.BAD_MEDIA_SILENT: 1,
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


def behaviour(fate: Fate, seconds: float) -> Behaviour:
    """The fake's behaviour for a fate."""
    plain = _BEHAVIOURS[fate]
    then = None if plain.then is None else Behaviour(seconds=seconds)
    return Behaviour(
        outcome=plain.outcome,
        seconds=seconds,
        error=plain.error,
        dispatch=plain.dispatch,
        crash=plain.crash,
        callbacks=plain.callbacks,
        callback_before_answer=plain.callback_before_answer,
        forget=plain.forget,
        then=then,
    )
