"""What the running daemon says of itself at ``/api/status``."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import NotRequired, TypedDict, cast
from zoneinfo import ZoneInfo

from poddispatchd.cli.common import shown
from poddispatchd.cli.local_http import ask
from poddispatchd.config.units import Address
from poddispatchd.domain.availability import Pause, WindowNow
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.forecast import Interval
from poddispatchd.domain.situation import breaker_words
from poddispatchd.errors import PoddispatchdError
from poddispatchd.managers.timetable import Timetable

PATH = "/api/status"

_ALWAYS = {"version", "instance", "queue", "managers", "problems"}
"""What every release tells: whatever tells none of it is no daemon."""


class FindingEntry(TypedDict):
    """Why something does not move."""

    reason: str
    severity: str
    words: str
    remedy: str


class WaitingEntry(TypedDict):
    """One of the first tasks of the queue."""

    task: int
    type: str
    rank: int | None
    why: FindingEntry


class WindowEntry(TypedDict):
    """Windows, of a type of task or of a runner manager."""

    hours: str
    is_open: bool
    opens_at: str | None
    closes_at: str | None


class QueueEntry(TypedDict):
    """Tasks of one type."""

    type: str
    counts: dict[str, int]
    oldest_pending: str | None
    why: FindingEntry | None
    window: WindowEntry | None


class PauseEntry(TypedDict):
    """A time in which a runner manager gets no tasks."""

    begins: str
    ends: str | None
    reason: str


class ManagerEntry(TypedDict):
    """One runner manager."""

    id: int
    name: str
    priority: int
    is_active: bool
    paused: bool
    state: str
    retry_in: float | None
    full_for: dict[str, float]
    paced_for: NotRequired[float | None]
    error: str | None
    site: int
    paused_since: str | None
    full_since: dict[str, str]
    paused_until: str | None
    pause_reason: str
    planned_pauses: list[PauseEntry]
    window: WindowEntry | None
    opens_at: dict[str, str | None]


class ShadowEntry(TypedDict):
    """What a shadow has found out."""

    decisions: dict[str, int]
    agreements: dict[str, int]
    differences: dict[str, int]
    waits: int
    waited: float
    longest_wait: float


class IntervalEntry(TypedDict):
    """Between two moments, in eight of ten cases."""

    low: str
    high: str


class ExpectedEntry(TypedDict):
    """What is expected of the queue."""

    as_of: str
    begins: dict[str, IntervalEntry]
    ends: dict[str, IntervalEntry]
    drained: dict[str, IntervalEntry]


class CampaignEntry(TypedDict):
    """A campaign; ``words`` are for people."""

    name: str
    type: str
    state: str
    bar: str
    words: list[str]


class State(TypedDict):
    """All of it."""

    version: str
    instance: str
    leader: bool
    database_up: bool
    pooling: str
    submissions_in_progress: int
    imports_in_progress: int
    queue: list[QueueEntry]
    managers: list[ManagerEntry]
    problems: list[str]
    shadow: ShadowEntry | None
    notices: list[str]
    not_ready: list[str]
    dispatch_problems: NotRequired[list[str]]
    as_of: str | None
    scheduler: str | None
    running_on: dict[str, int]
    waiting: list[WaitingEntry]
    expected: NotRequired[ExpectedEntry | None]
    time_zone: str
    campaigns: NotRequired[list[CampaignEntry]]


class DaemonAwayError(PoddispatchdError):
    """No daemon answers."""


def ask_daemon(address: Address, *, seconds: float | None = None) -> State:
    """The state of the daemon that listens there; it blocks for a few seconds at most, or as many as given.

    Raises:
        DaemonAwayError: in words that help to find out why.
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - asked, not bound
    url = f"http://{Address(host, address.port)}{PATH}"
    try:
        status, body = ask(Address(host, address.port), PATH, seconds=seconds)
        if status == HTTPStatus.OK:
            return _state(body)
    except OSError as error:
        raise DaemonAwayError(
            f"No daemon answers at {url} ({error.strerror or error}). "
            "Look at 'systemctl status poddispatchd', and at ops.listen in the configuration. Where CRON "
            "runs 'poddispatchd once' instead, 'poddispatchd check' tells how the queue is."
        ) from None
    except (ValueError, RecursionError, HTTPException):
        raise DaemonAwayError(f"What answers at {url} is no poddispatchd: look at ops.listen.") from None
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise DaemonAwayError(_waiting(body))
    raise DaemonAwayError(f"{url} answers {status}: is that poddispatchd?")


def _state(body: bytes) -> State:
    found: object = json.loads(body)
    if not isinstance(found, dict) or not found.keys() >= _ALWAYS:
        raise ValueError("it is no state")
    told = (([found], State), (found["managers"], ManagerEntry), (found["queue"], QueueEntry))
    if not all(isinstance(some, list) and all(isinstance(each, dict) for each in some) for some, _ in told):
        raise ValueError("it is no state")
    if not all(each.keys() >= kind.__required_keys__ for some, kind in told for each in some):
        raise DaemonAwayError(
            f"The daemon that runs is of another release ({found['version']}) and tells other things: "
            "restart it ('systemctl restart poddispatchd')."
        )
    return cast("State", found)


def _waiting(body: bytes) -> str:
    try:
        return f"The daemon is not ready. {json.loads(body)['error']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "The daemon is not ready."


def window_of(entry: WindowEntry) -> WindowNow:
    """Windows as the daemon tells them."""
    return WindowNow(
        entry["hours"], entry["is_open"], _moment(entry["opens_at"]), _moment(entry["closes_at"])
    )


def timetable_of(entry: ManagerEntry) -> Timetable:
    """What windows and pauses say of a runner manager."""
    since, window = _moment(entry["paused_since"]), entry["window"]
    return Timetable(
        pause=None if since is None else Pause(since, _moment(entry["paused_until"]), entry["pause_reason"]),
        planned=tuple(
            Pause(datetime.fromisoformat(pause["begins"]), _moment(pause["ends"]), pause["reason"])
            for pause in entry["planned_pauses"]
        ),
        window=None if window is None else window_of(window),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def shown_in(state: State) -> Callable[[object], str]:
    """What writes a moment as the daemon's own sentences have it: in Pod's time zone."""
    return partial(shown, zone=ZoneInfo(state["time_zone"]))


def state_in_words(manager: ManagerEntry) -> str:
    """How a runner manager is, in a word or two."""
    if not manager["is_active"]:
        return "inactive"
    if manager["paused"]:
        return "paused"
    if manager["state"] != "closed":
        return breaker_words(BreakerState(manager["state"]))
    if manager["window"] is not None and not manager["window"]["is_open"]:
        return "outside its window"
    if manager["retry_in"] is not None:
        return "up, limits our rate"
    return "up" if manager.get("paced_for") is None else "up, paced"


def full_in_words(manager: ManagerEntry) -> str | None:
    """For which tasks a runner manager has no room, and how long that is believed; None when it has."""
    return ", ".join(f"{kind} {seconds:.0f}s" for kind, seconds in manager["full_for"].items()) or None


def role_in_words(state: State) -> str:
    """What a daemon is to the queue."""
    if state["shadow"] is not None:
        return "is a shadow: it writes and sends nothing"
    if state["leader"]:
        return "schedules"
    if not state["database_up"]:
        return "cannot schedule: the database is away"
    return f"stands by, {state['scheduler']} schedules" if state["scheduler"] else "stands by"


def as_of_words(state: State) -> str:
    """When the tasks were counted."""
    if state["as_of"] is None:
        return "Tasks have not been counted yet."
    return f"Tasks as of {shown_in(state)(datetime.fromisoformat(state['as_of']))}."


def reasons_of(state: State) -> dict[str, list[str]]:
    """Why tasks wait, with what to do, and of which types: what holds for several is told once."""
    reasons: dict[str, list[str]] = {}
    for entry in state["queue"]:
        if (why := entry["why"]) is not None:
            reasons.setdefault(f"{why['words']} {why['remedy']}".rstrip(), []).append(entry["type"])
    return reasons


def drained_words(state: State) -> str | None:
    """When what waits and runs will be done, by type; None when nothing does or nobody knows."""
    expected = state.get("expected")
    if not expected or not expected["drained"]:
        return None
    now = datetime.fromisoformat(expected["as_of"])
    said = [f"{kind} {_interval(each).words(now)}" for kind, each in sorted(expected["drained"].items())]
    return f"Expected to be done, in eight of ten cases: {'; '.join(said)}."


def _interval(entry: IntervalEntry) -> Interval:
    return Interval(datetime.fromisoformat(entry["low"]), datetime.fromisoformat(entry["high"]))
