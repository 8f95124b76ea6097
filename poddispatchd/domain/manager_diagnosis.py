"""What is wrong with runner managers, and why none of some sites takes a task of a type."""

import shlex
from collections.abc import Collection, Iterable, Sequence

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.situation import (
    Finding,
    ManagerView,
    Reason,
    Severity,
    Situation,
    breaker_words,
    error_about,
)
from poddispatchd.domain.task import SiteId, TaskType

_NAMED = 4
"""Runner managers or tasks named in one sentence."""


def manager_findings(situation: Situation) -> list[Finding]:
    """What a person should know of runner managers, one finding for each that does not work."""
    found = []
    for manager in situation.managers:
        if not manager.is_active:
            continue
        if manager.is_paused:
            found.append(
                Finding(
                    Reason.MANAGERS_PAUSED,
                    Severity.NOTICE,
                    f"Runner manager {manager.name} is {_paused(manager, situation)}.",
                    f"To give it tasks again: {_command('runners resume', manager)}.",
                )
            )
        elif manager.state is BreakerState.MISCONFIGURED:
            found.append(
                Finding(
                    Reason.MANAGERS_MISCONFIGURED,
                    Severity.PROBLEM,
                    f"Runner manager {manager.name} is misconfigured: {_error(manager)}",
                )
            )
        elif manager.error is not None:
            found.append(
                Finding(
                    Reason.MANAGERS_DOWN,
                    Severity.PROBLEM,
                    f"Runner manager {manager.name} is {breaker_words(manager.state)}: {_error(manager)}",
                    f"See to it that it runs and can be reached: {_command('runners test', manager)}.",
                )
            )
    return found


def why_managers(kind: TaskType, sites: Collection[SiteId], situation: Situation) -> Finding:
    """Why no runner manager of these sites takes a task of this type, or that one will."""
    if not situation.managers:
        return Finding(
            Reason.NO_MANAGER,
            Severity.PROBLEM,
            "There is no runner manager.",
            "Add one in Pod's administration.",
        )
    of_site = [manager for manager in situation.managers if manager.site in sites]
    place = _place(sites, situation)
    if not of_site:
        return Finding(
            Reason.NO_MANAGER_FOR_SITE,
            Severity.PROBLEM,
            f"No runner manager belongs to {place}.",
            "Add one for it in Pod's administration.",
        )
    active = [manager for manager in of_site if manager.is_active]
    if not active:
        return Finding(
            Reason.MANAGERS_INACTIVE,
            Severity.PROBLEM,
            f"Every runner manager of {place} is inactive ({_names(of_site)}).",
            "Activate one in Pod's administration.",
        )
    usable = [manager for manager in active if not manager.is_paused]
    if not usable:
        return _all_paused(active, place, situation)
    shut = [manager for manager in usable if kind in manager.opens_at]
    usable = [manager for manager in usable if kind not in manager.opens_at]
    if not usable:
        return _outside_windows(kind, shut, place, situation)
    asked = [m for m in usable if m.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN)]
    if not asked:
        return _none_works(usable, [m for m in active if m.is_paused], place, situation)
    full = [manager for manager in asked if kind in manager.full_until]
    held = [m for m in asked if m not in full and _held(m, situation)]
    if len(full) + len(held) < len(asked):
        return Finding(Reason.NEXT, Severity.NORMAL, "A runner manager has room: they are submitted now.")
    others = [manager for manager in of_site if manager not in asked]
    besides = "; ".join(
        f"{manager.name} is {'outside its window' if manager in shut else manager.state_words()}"
        for manager in others[:_NAMED]
    )
    more = [
        f"{len(some) - _NAMED} more {do}"
        for some, do in ((full, "are full"), (held, "wait"))
        if some[_NAMED:]
    ]
    told = [_full(m, kind, situation) for m in full[:_NAMED]]
    told += [_held(m, situation) for m in held[:_NAMED]]
    return Finding(
        Reason.MANAGERS_FULL if full else Reason.MANAGERS_LIMIT,
        Severity.NORMAL,
        f"They wait for a {'free runner' if full else 'runner manager'}: {'; '.join([*told, *more])}"
        + (f"; {besides}." if besides else "."),
    )


def _paused(manager: ManagerView, situation: Situation) -> str:
    until = "" if manager.paused_until is None else f" until {situation.countdown(manager.paused_until)}"
    return f"paused{until}" + (f": {manager.pause_reason.rstrip('.')}" if manager.pause_reason else "")


def _all_paused(managers: Sequence[ManagerView], place: str, situation: Situation) -> Finding:
    """Planned maintenance ends by itself; what a person has paused a person must resume."""
    moments = [manager.paused_until for manager in managers if manager.paused_until is not None]
    ends = f" The first pause ends at {situation.countdown(min(moments))}." if moments else ""
    return Finding(
        Reason.MANAGERS_PAUSED,
        Severity.NOTICE if moments else Severity.PROBLEM,
        f"Every active runner manager of {place} is paused ({_names(managers)}).{ends}",
        f"Resume one: {_command('runners resume', managers[0])}.",
    )


def _outside_windows(
    kind: TaskType, managers: Sequence[ManagerView], place: str, situation: Situation
) -> Finding:
    moments = [moment for manager in managers if (moment := manager.opens_at[kind]) is not None]
    if not moments:
        return Finding(
            Reason.WINDOW_NEVER_OPEN,
            Severity.PROBLEM,
            f"No window for tasks of type {kind} is ever open at a runner manager of {place}.",
            "Correct windows in the configuration: 'poddispatchd check' names them.",
        )
    return Finding(
        Reason.WINDOW_CLOSED,
        Severity.NORMAL,
        f"They wait for their window, which opens at {situation.countdown(min(moments))}.",
    )


def _none_works(
    managers: Sequence[ManagerView], resting: Sequence[ManagerView], place: str, situation: Situation
) -> Finding:
    """Those that are not paused do not work; to resume one that rests may be the quickest remedy."""
    misconfigured = all(manager.state is BreakerState.MISCONFIGURED for manager in managers)
    told = "; ".join(
        f"{manager.name} is {manager.state_words()}"
        + (f" ({_error(manager).rstrip('.')})" if manager.error else "")
        + (f", asked again at {situation.clock(manager.retry_at)}" if manager.retry_at else "")
        for manager in managers[:_NAMED]
    )
    told += "".join(f"; {manager.name} is {_paused(manager, situation)}" for manager in resting[:_NAMED])
    resume = f" Or resume {_names(resting[:1])}: {_command('runners resume', resting[0])}." if resting else ""
    return Finding(
        Reason.MANAGERS_MISCONFIGURED if misconfigured else Reason.MANAGERS_DOWN,
        Severity.PROBLEM,
        f"No runner manager of {place} can be used: {told}.",
        (
            "Mend what is told of it; whether it is well then tells 'poddispatchd runners test'."
            if misconfigured
            else "See to it that it runs and can be reached: 'poddispatchd runners test'."
        )
        + resume,
    )


def _command(name: str, manager: ManagerView) -> str:
    return typed_command(name, manager.name)


def typed_command(command: str, name: str) -> str:
    """A command about something with a name, as it is typed: the name may hold anything."""
    text = f"poddispatchd {command} {shlex.quote(name)}"
    return f"'{text}'" if _is_plain(name) else text


def _is_plain(name: str) -> bool:
    return shlex.quote(name) == name


def _error(manager: ManagerView) -> str:
    return error_about(manager.name, manager.error or "")


def _full(manager: ManagerView, kind: TaskType, situation: Situation) -> str:
    since = manager.full_since.get(kind)
    until = manager.full_until.get(kind)
    return (
        f"{manager.name} is full"
        + (f" since {situation.clock(since)}" if since else "")
        + (f", asked again at {situation.clock(until)}" if until else "")
    )


def _held(manager: ManagerView, situation: Situation) -> str:
    """Why one that works gets no task of any type for a moment; empty when it does."""
    if manager.state is BreakerState.CLOSED and manager.retry_at is not None:
        return (
            f"{manager.name} limits our rate of requests, asked again at {situation.clock(manager.retry_at)}"
        )
    if manager.paced_until is not None:
        return (
            f"{manager.name} has got as many as runners.submissions_per_minute allows, the next one at "
            f"{situation.clock(manager.paced_until)}"
        )
    return ""


def _place(sites: Collection[SiteId], situation: Situation) -> str:
    names = [situation.sites.get(site, f"site {site}") for site in sorted(sites)]
    if not names or len(names) == len(situation.sites):
        return "this Pod"
    return " and ".join(names)


def _names(managers: Iterable[ManagerView]) -> str:
    names = list(dict.fromkeys(manager.name for manager in managers))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
