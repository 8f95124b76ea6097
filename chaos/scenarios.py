"""How a run goes on a fake runner manager: drawn from the seed, kept in its history."""

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from random import Random

from poddispatchd.sandbox.fake_runner_manager import Behaviour, Crash, Dispatch, RunOutcome


class Scenario(StrEnum):
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


HOPELESS = (Scenario.BAD_MEDIA, Scenario.BAD_MEDIA_SILENT, Scenario.BAD_MEDIA_TELLTALE)
"""A run that fails so would fail every time."""

_TELLING = (
    "[info_script.log]\n--> GET source with headers {'Authorization': 'Bearer {token}'}\n"
    "[error_script.log]\nAUTHORIZED_TOKENS__pod={token}\nthe plain word: {token}\n"
)
"""What a runner logs whose debugging was left on; ``{token}`` stands for the manager's token."""

_BEHAVIOURS: Mapping[Scenario, Behaviour] = {
    Scenario.FINE: Behaviour(),
    Scenario.REPEATED: Behaviour(callbacks=3),
    Scenario.TELLTALE: Behaviour(script_output=_TELLING),
    Scenario.SILENT: Behaviour(callbacks=0),
    Scenario.HASTY: Behaviour(callback_before_answer=True),
    Scenario.BAD_MEDIA: Behaviour(outcome=RunOutcome.FAILED),
    Scenario.BAD_MEDIA_SILENT: Behaviour(outcome=RunOutcome.FAILED, callbacks=0),
    Scenario.BAD_MEDIA_TELLTALE: Behaviour(
        outcome=RunOutcome.FAILED, error="401 for Bearer {token}", script_output=_TELLING
    ),
    Scenario.SECOND_WIND: Behaviour(outcome=RunOutcome.FAILED, then=Behaviour()),
    Scenario.HOST_CRASHED: Behaviour(outcome=RunOutcome.FAILED, error="Task process is no longer running"),
    Scenario.BUSY: Behaviour(dispatch=Dispatch.REFUSED),
    Scenario.UNANSWERED: Behaviour(dispatch=Dispatch.UNANSWERED),
    Scenario.PARTIAL: Behaviour(crash=Crash.EARLY),
    Scenario.UNFINISHED: Behaviour(crash=Crash.LATE),
    Scenario.FORGOTTEN: Behaviour(forget=True),
    Scenario.TIMED_OUT: Behaviour(outcome=RunOutcome.TIMEOUT),
}

_WEIGHTS: Mapping[Scenario, int] = {
    Scenario.FINE: 53,
    Scenario.REPEATED: 10,
    Scenario.TELLTALE: 2,
    Scenario.SILENT: 6,
    Scenario.HASTY: 4,
    Scenario.BAD_MEDIA: 3,
    Scenario.BAD_MEDIA_SILENT: 1,
    Scenario.BAD_MEDIA_TELLTALE: 1,
    Scenario.SECOND_WIND: 4,
    Scenario.HOST_CRASHED: 3,
    Scenario.BUSY: 2,
    Scenario.UNANSWERED: 2,
    Scenario.PARTIAL: 3,
    Scenario.UNFINISHED: 2,
    Scenario.FORGOTTEN: 2,
    Scenario.TIMED_OUT: 2,
}


def draw(seed: int, fingerprint: object) -> tuple[Scenario, float]:
    """A scenario and the length of the run, in seconds of the manager: the same for the same submission."""
    lot = Random(f"{seed}|{fingerprint!r}")
    scenario = lot.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    return scenario, lot.uniform(3.0, 25.0)


def behaviour(scenario: Scenario, seconds: float, token: str = "") -> Behaviour:
    """The fake's behaviour for a scenario; ``token`` is what a telltale one shows."""
    plain = _BEHAVIOURS[scenario]
    return replace(
        plain,
        seconds=seconds,
        error=_with_token(plain.error, token),
        script_output=_with_token(plain.script_output, token),
        then=None if plain.then is None else Behaviour(seconds=seconds),
    )


def _with_token(text: str | None, token: str) -> str | None:
    return None if text is None else text.replace("{token}", token)
