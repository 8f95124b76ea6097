"""Why a runner manager refuses: from an answer that is not 2xx to the error that says what to do.

An answer as HTML comes from a reverse proxy in front of the manager and says nothing about tasks.
"""

import re
from urllib.parse import urlsplit

from poddispatchd.config.masking import MASK
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import (
    AnswerLostError,
    PayloadRefusedError,
    ResultGoneError,
    ResultNotReadyError,
    RunnerManagerBusyError,
    RunnerManagerError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    RunnerTaskUnknownError,
    RunnerUnreachableError,
)
from poddispatchd.observability.logs import without_secrets
from poddispatchd.runner.json_object import parsed
from poddispatchd.runner.transport import HttpAnswer

_LONGEST_WORDS = 300
_LONGEST_FINDINGS = 5


def refusal(manager: RunnerManager, answer: HttpAnswer) -> RunnerManagerError:
    """What an answer other than 2xx means on any route, in words that say what to change."""
    name = repr(manager.name)
    match answer.status:
        case 401 | 403:
            return RunnerManagerMisconfiguredError(
                f"Runner manager {name} refuses our token ({answer.status}): put one of its "
                "AUTHORIZED_TOKENS into Pod's administration."
            )
        case 404 | 405 | 410:
            return RunnerManagerMisconfiguredError(
                f"Runner manager {name} does not know the address asked for ({answer.status}): "
                "check its URL, with its path, in Pod's administration."
            )
        # A proxy, or a network, that was too slow: it passes.
        case 408:
            return RunnerManagerUnavailableError(
                f"The proxy before runner manager {name} did not get our request in time (408)."
            )
        case 429:
            return RunnerManagerBusyError(f"Runner manager {name} limits our rate of requests (429).")
        case status if 300 <= status < 400:
            return RunnerManagerMisconfiguredError(
                f"Runner manager {name} redirects ({status}){_target(answer)}, and a redirect is never "
                "followed with a token: put the final address into Pod's administration."
            )
        case status if 500 <= status < 600:
            return RunnerManagerUnavailableError(
                f"Runner manager {name} failed with status {status}{_because(manager, answer)}."
            )
        case status:
            return RunnerManagerMisconfiguredError(
                f"Runner manager {name} refuses our requests with status {status}"
                f"{_because(manager, answer)}: check its URL in Pod's administration."
            )


def submission_refusal(manager: RunnerManager, answer: HttpAnswer) -> RunnerManagerError:
    """Why ``POST /task/execute`` was refused."""
    name = repr(manager.name)
    match answer.status:
        # A proxy's own 503, a page or a line of text, means that nothing is behind it.
        case 503 if not answer.is_html and parsed(answer.body, is_cut=answer.is_cut) is not None:
            return RunnerManagerFullError(
                f"Runner manager {name} has no free runner{_because(manager, answer)}."
            )
        # Only a proxy answers so here, and it may have passed the task on before.
        case status if status in (408, 502, 504) or (status == 503 and _was_hung_up_on(answer)):
            whose = "our request in time" if answer.status == 408 else "its answer"
            return AnswerLostError(
                f"The proxy before runner manager {name} did not get {whose} ({answer.status})."
            )
        # A web server that is asked without TLS at its TLS port answers 400, too, some of them in plain text:
        # no task may fail for that.
        case 400 | 422 if answer.is_json:
            return _payload_refusal(manager, answer)
        case 413:
            # No manager says so by itself.
            return PayloadRefusedError(
                f"The web server before runner manager {name} takes no request as large as this task's "
                "(413): raise its limit (nginx: client_max_body_size), then restart the task."
            )
        case _:
            return refusal(manager, answer)


def result_refusal(
    manager: RunnerManager, answer: HttpAnswer, what: str
) -> RunnerManagerError | ResultGoneError:
    """Why the manifest or a file of a result is not given.

    A 500, 502 or 504 with the manager's own JSON means that the runner behind it does not answer; the
    manager itself is fine, and its breaker must not trip.

    Args:
        manager: who answered.
        answer: with a status that is not 2xx.
        what: what was asked for, to begin a sentence: ``The file 'x.mp4'``.
    """
    detail = detail_of(answer)
    if says_task_unknown(answer):
        return RunnerTaskUnknownError(f"Runner manager {manager.name!r} no longer knows this task.")
    words = _words(manager, detail) if detail else ""
    match answer.status:
        # A path that the framework does not serve tells nothing of the file: it is the address that is wrong.
        case 404 if detail and not is_no_route(detail):
            return ResultGoneError(f"{what} cannot be had from runner manager {manager.name!r}: {words}.")
        case 400 | 425 if not answer.is_html:
            return ResultNotReadyError(
                f"{what} is not given by runner manager {manager.name!r}: {words or answer.status}."
            )
        case 500 | 502 | 504 if detail:
            return RunnerUnreachableError(
                f"{what} cannot be had from runner manager {manager.name!r} now: {words}."
            )
        case _:
            return refusal(manager, answer)


def _was_hung_up_on(answer: HttpAnswer) -> bool:
    """Whether a proxy had passed the request on, or may have: so Varnish and Envoy say it, with 503."""
    if b"reset before headers" in answer.body:
        return b"connection failure" not in answer.body and b"connection timeout" not in answer.body
    return b"Backend fetch failed" in answer.body


def says_task_unknown(answer: HttpAnswer) -> bool:
    """Whether the manager itself says that it does not know the task: a 404 alone may be a proxy's."""
    detail = (detail_of(answer) or "").lower()
    return answer.status == 404 and "task" in detail and "not found" in detail


def is_no_route(detail: str) -> bool:
    """The web framework's own words for a path it does not serve."""
    return detail.strip().lower() == "not found"


def detail_of(answer: HttpAnswer) -> str | None:
    """The manager's own words in an error answer; None when it is not the manager's JSON."""
    data = None if answer.is_html else parsed(answer.body, is_cut=answer.is_cut)
    if data is None:
        return None
    # FastAPI says ``detail``, its rate limiter ``error``.
    detail = data.get("detail") or data.get("error")
    return detail if isinstance(detail, str) else None


def _payload_refusal(manager: RunnerManager, answer: HttpAnswer) -> RunnerManagerError:
    """A body the manager refuses: the task's fault, unless it is about where we are to be called back.

    The address of the source is refused with it when it is the site's domain that is wrong.
    """
    fields, words = _findings(manager, answer)
    name = repr(manager.name)
    if {"notify_url"} <= fields <= {"notify_url", "source_url"} or (
        not fields and words.startswith("notify_url")
    ):
        return RunnerManagerMisconfiguredError(
            f"Runner manager {name} refuses the address of our webhook ({answer.status}: {words}): check the "
            "site's domain in Pod, and NOTIFY_URL_ALLOWED_HOSTS and NOTIFY_URL_ALLOW_PRIVATE_NETWORKS there."
        )
    return PayloadRefusedError(
        f"Runner manager {name} refuses the task ({answer.status}{': ' if words else ''}{words})."
    )


def _findings(manager: RunnerManager, answer: HttpAnswer) -> tuple[set[str], str]:
    """The fields complained of, and the complaints in words; never the values, which 422 echoes."""
    data = parsed(answer.body)
    detail = None if data is None else data.get("detail")
    if isinstance(detail, str):
        return set(), _words(manager, detail)
    fields: set[str] = set()
    sentences: list[str] = []
    for entry in detail if isinstance(detail, list) else []:
        if not isinstance(entry, dict):
            continue
        location = entry.get("loc")
        parts = [str(part) for part in location if part != "body"] if isinstance(location, list) else []
        message = entry.get("msg")
        fields.update(parts[:1])
        sentences.append(f"{'.'.join(parts) or 'body'}: {message if isinstance(message, str) else 'refused'}")
    return fields, _words(manager, "; ".join(sentences[:_LONGEST_FINDINGS]))


def _because(manager: RunnerManager, answer: HttpAnswer) -> str:
    detail = detail_of(answer)
    return f" ({_words(manager, detail)})" if detail else ""


def _target(answer: HttpAnswer) -> str:
    """Where a redirect leads, without what may be secret in an address."""
    try:
        parts = urlsplit(answer.location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not host:
        return ""
    place = f"{parts.scheme}://{host}{f':{port}' if port else ''}"
    return f" to {place}" if place.isascii() and place.isprintable() and len(place) < 300 else ""


def _words(manager: RunnerManager, text: str) -> str:
    """Another machine's words, fit for a log: one short line without our token."""
    token = manager.token.get_secret_value().strip()
    if token:
        # As a word of its own: a short token stands inside others by chance.
        text = re.sub(rf"(?<!\w){re.escape(token)}(?!\w)", MASK, text)
    text = without_secrets(text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (line if len(line) <= _LONGEST_WORDS else line[: _LONGEST_WORDS - 1] + "…").rstrip(".")
