"""Why something does not move: one answer, computed from what is known, for every place that shows it.

The status page, ``status``, ``tasks show``, ``check`` and ``/api/status`` ask here. Nothing is looked up:
what is known comes in as values (``situation``), what it means goes out as findings.
"""

from datetime import timedelta

from msgspec.structs import replace

from poddispatchd.domain.manager_diagnosis import why_managers
from poddispatchd.domain.situation import (
    SEVEREST_FIRST,
    Backlog,
    Finding,
    Reason,
    Scheduling,
    Severity,
    Situation,
    WaitingTask,
    duration_words,
)
from poddispatchd.domain.task import SUBMITTABLE, TaskType

LONG_WAIT = timedelta(minutes=10)
"""A queue whose oldest task waits for longer is mentioned, however well everything works."""

_NOTHING_GOES = (Reason.DATABASE_AWAY, Reason.DATABASE_REFUSES)
"""What keeps a task waiting whatever else does."""

OWN_REASONS = (
    Reason.ROW_LOCKED,
    Reason.SOURCE_MISSING,
    Reason.TYPE_UNKNOWN,
    Reason.SITE_NOT_SERVED,
    Reason.SAME_SOURCE_RUNS,
    Reason.SAME_SOURCE_WAITS,
    Reason.RETRY_WAIT,
    Reason.GRACE,
    Reason.KEPT_FOR_OTHERS,
)
"""What concerns one task and no other one, as far as can be told."""

# --- what concerns everything ---------------------------------------------------------------------------


def general_findings(situation: Situation) -> list[Finding]:
    """What keeps every task waiting, the first cause first; none when nothing does."""
    found = []
    if situation.database_problem is not None:
        found.append(
            Finding(
                Reason.DATABASE_AWAY,
                Severity.PROBLEM,
                f"The database is away, so nothing is scheduled: {situation.database_problem}",
            )
        )
    elif situation.write_problem is not None:
        found.append(
            Finding(
                Reason.DATABASE_REFUSES,
                Severity.PROBLEM,
                f"The database does not take what is written, so nothing is scheduled: "
                f"{situation.write_problem}",
            )
        )
    elif situation.scheduling is Scheduling.NOBODY:
        found.append(
            Finding(
                Reason.NOBODY_SCHEDULES,
                Severity.PROBLEM,
                "Nobody schedules: no poddispatchd runs on this database.",
                "Start one: 'systemctl start poddispatchd'.",
            )
        )
    if situation.media_problem is not None:
        found.append(
            Finding(
                Reason.MEDIA_NOT_USABLE,
                Severity.PROBLEM,
                "The media tree cannot be used, so nothing is submitted and results wait: "
                f"{situation.media_problem}",
            )
        )
    return found


def nobody_takes_tasks(situation: Situation) -> Finding | None:
    """Why no runner manager of the served sites can be given any task, full ones apart; None if one can."""
    found = [why_managers(kind, frozenset(situation.served), situation) for kind in SUBMITTABLE]
    first = found[0]
    return first if first.severity is Severity.PROBLEM else None


# --- a type of task -------------------------------------------------------------------------------------


def why_type(backlog: Backlog, situation: Situation) -> Finding | None:
    """Why tasks of a type wait; None when none does."""
    if not backlog.pending:
        return None
    if backlog.type is TaskType.OTHER:
        return Finding(
            Reason.TYPE_UNKNOWN,
            Severity.PROBLEM,
            "poddispatchd does not know their type, and nothing submits them.",
            "Look at them with 'poddispatchd tasks list --type other', and cancel them.",
        )
    for finding in general_findings(situation):
        return finding
    if (elsewhere := _not_scheduled_here(situation)) is not None:
        return elsewhere
    sites = backlog.sites if backlog.sites is not None else frozenset(situation.served)
    if not sites:
        return Finding(
            Reason.SITE_NOT_SERVED,
            Severity.NOTICE,
            "They belong to no site that is served here (dispatch.sites).",
            "Add the site to dispatch.sites, or let a daemon that serves it run.",
        )
    # Each site by itself: managers of one take no task of another, and one with room must not hide that
    # another has none.
    found = [why_managers(backlog.type, {site}, situation) for site in sorted(sites)]
    if len({finding.reason for finding in found}) <= 1:
        finding = why_managers(backlog.type, sites, situation)
    else:
        finding = min(found, key=lambda item: SEVEREST_FIRST.index(item.severity))
    if finding.reason is Reason.NEXT and situation.scheduling is Scheduling.PASSES:
        finding = _with_the_next_pass("They are submitted", situation)
    elif finding.reason is Reason.NEXT and situation.dispatch_problems:
        words = "A runner manager has room, and they are submitted as far as that does not fail."
        problems = (*situation.dispatch_problems, *situation.source_problems)
        finding = Finding(Reason.NEXT, Severity.NORMAL, " ".join((words, *problems)))
    elif finding.reason is Reason.NEXT and situation.source_problems:
        words = "A runner manager has room: those whose sources are there are submitted now."
        finding = Finding(Reason.NEXT, Severity.NORMAL, " ".join((words, *situation.source_problems)))
    return _weighed(finding, backlog, situation)


def _not_scheduled_here(situation: Situation) -> Finding | None:
    match situation.scheduling:
        case Scheduling.ANOTHER:
            who = f" ({situation.scheduler})" if situation.scheduler else ""
            return Finding(
                Reason.ANOTHER_SCHEDULES,
                Severity.NORMAL,
                f"Another daemon schedules{who}: its status says why they wait.",
            )
        case Scheduling.SHADOW:
            return Finding(Reason.SHADOW, Severity.NORMAL, "A shadow submits nothing: Pod does.")
        case _:
            return None


def _with_the_next_pass(what: str, situation: Situation, place: str = "") -> Finding:
    at = "a while ago" if situation.scheduled_at is None else f"at {situation.clock(situation.scheduled_at)}"
    return Finding(
        Reason.NEXT,
        Severity.NOTICE,
        f"{what} by the next pass of 'poddispatchd once': no daemon runs now, and the last one, or the last "
        f"pass, began {at}.{place}",
        "Where no CRON line runs it, start the daemon: 'systemctl start poddispatchd'.",
    )


def _weighed(finding: Finding, backlog: Backlog, situation: Situation) -> Finding:
    """A normal reason that has lasted for long is worth a word, and a type that stands still is a problem."""
    if finding.severity is Severity.PROBLEM or backlog.oldest is None:
        return finding
    if finding.reason is Reason.WINDOW_CLOSED:
        return finding  # it waits as long as somebody wanted it to
    waited = situation.now - backlog.oldest
    could_go = situation.now - max(backlog.oldest, situation.opened_at.get(backlog.type, backlog.oldest))
    severity: Severity = finding.severity
    words, remedy = finding.words, finding.remedy
    if could_go.total_seconds() > situation.stalled_after and not backlog.running:
        severity = Severity.PROBLEM
        words += f" None runs, and the oldest has been waiting for {duration_words(waited)}."
        remedy = remedy or "See 'poddispatchd runners list', and whether the runners take this type."
    elif could_go > LONG_WAIT:
        severity = Severity.NOTICE
        words += f" The oldest has been waiting for {duration_words(waited)}."
    return Finding(finding.reason, severity, words, remedy)


# --- one task -------------------------------------------------------------------------------------------


def why_task(task: WaitingTask, situation: Situation) -> Finding:
    """Why one pending task is not submitted right now, or that it is next."""
    general, own = general_findings(situation), _why_this_task(task, situation)
    is_own_problem = own is not None and own.severity is Severity.PROBLEM
    if general and (general[0].reason in _NOTHING_GOES or not is_own_problem):
        return general[0]
    if own is not None:
        return own
    if (elsewhere := _not_scheduled_here(situation)) is not None:
        return elsewhere
    assert task.site is not None  # noqa: S101 - told above
    finding = why_managers(task.type, {task.site}, situation)
    place = "" if task.rank is None else f" It has place {task.rank} in the queue."
    if finding.reason is Reason.NEXT and (kept := _why_kept(task, situation)) is not None:
        return kept
    if finding.reason is Reason.NEXT and situation.scheduling is Scheduling.PASSES:
        return _with_the_next_pass("It is submitted", situation, place)
    if finding.reason is Reason.NEXT:
        words = "It is submitted next" if task.rank in (None, 1) else "It is submitted when its turn comes"
        doubts = ["its source is there"] if situation.source_problems else []
        doubts += ["that does not fail"] if situation.dispatch_problems else []
        if doubts:
            words += f", if {' and '.join(doubts)}"
            place = " ".join((place, *situation.source_problems, *situation.dispatch_problems))
        return Finding(Reason.NEXT, Severity.NORMAL, f"{words}.{place}")
    words = finding.words.replace("They wait for their", "It waits for its", 1)
    words = words.replace("They wait for", "It waits for", 1)
    return Finding(finding.reason, finding.severity, words + place, finding.remedy)


def _why_kept(task: WaitingTask, situation: Situation) -> Finding | None:
    """Whether those with room have lost its runs, and another one is to have the last (``routing``)."""
    if not task.is_last_run or task.site is None:
        return None
    spoilt = [manager.name for manager in situation.managers if manager.id in task.lost_by]
    others = tuple(manager for manager in situation.managers if manager.id not in task.lost_by)
    finding = why_managers(task.type, {task.site}, replace(situation, managers=others))
    if finding.reason not in (Reason.MANAGERS_FULL, Reason.MANAGERS_LIMIT):
        return None
    return Finding(
        Reason.KEPT_FOR_OTHERS,
        Severity.NOTICE,
        f"Its runs at {' and '.join(spoilt)} came to nothing: the last one is kept until another runner "
        "manager has room, for an hour at most.",
    )


def _why_this_task(task: WaitingTask, situation: Situation) -> Finding | None:
    """What concerns this task and no other one."""
    if task.locked_by is not None:
        return Finding(
            Reason.ROW_LOCKED,
            Severity.PROBLEM,
            f"Its row is locked by {task.locked_by}: nothing can be written to it.",
            "End that transaction.",
        )
    if task.source_problem is not None:
        return Finding(Reason.SOURCE_MISSING, Severity.PROBLEM, task.source_problem)
    if task.site is None:
        names = " and ".join(task.site_names) or "no site"
        return Finding(
            Reason.SITE_NOT_SERVED,
            Severity.NOTICE,
            f"It belongs to {names}, which is not served here (dispatch.sites).",
            "Add the site to dispatch.sites, or let a daemon that serves it run.",
        )
    if task.behind is not None:
        if task.behind_runs:
            return Finding(
                Reason.SAME_SOURCE_RUNS,
                Severity.NORMAL,
                f"Task {task.behind} works on the same source: this one ends with it.",
                f"If that one hangs: 'poddispatchd tasks cancel {task.behind}'.",
            )
        return Finding(
            Reason.SAME_SOURCE_WAITS,
            Severity.NORMAL,
            f"Task {task.behind} waits for the same source and stands first: this one ends with it.",
        )
    if task.waits_until is not None and task.waits_until > situation.now:
        return Finding(
            Reason.RETRY_WAIT,
            Severity.NORMAL,
            f"It was put back into the queue, and waits until {situation.clock(task.waits_until)} "
            "before it is tried again.",
        )
    if task.grace > 0 and task.visible_at is not None:
        end = task.visible_at + timedelta(seconds=task.grace)
        if task.visible_at <= situation.now < end:
            return Finding(
                Reason.GRACE,
                Severity.NORMAL,
                f"It is new: until {situation.clock(end)} Pod itself may submit it (dispatch.grace).",
            )
    return None
