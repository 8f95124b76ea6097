"""The status page: plain HTML, no scripts, nothing from elsewhere."""

from html import escape

from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.task import TaskStatus
from poddispatchd.services.fleet import ManagerReport
from poddispatchd.services.state import DaemonState, QueueState

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --good: #2e7d32; --dim: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--bad); } .dim { color: var(--dim); }
ul.problems { border-left: 4px solid var(--bad); padding: .5rem 1rem .5rem 2rem; }
"""

_REFRESH_SECONDS = 10


def status_page(state: DaemonState | None, waiting: str) -> str:
    """The page for a state; None while the daemon is starting and waits for something."""
    body = f"<h1>poddispatchd</h1><p>{escape(waiting)}</p>" if state is None else _body(state)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>poddispatchd</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def _body(state: DaemonState) -> str:
    role = "schedules" if state.leader else "stands by (another daemon schedules)"
    well = '<p class="good">All is well.</p>'
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in state.problems)
    return (
        f"<h1>poddispatchd {escape(state.version)}</h1>"
        f"<p>{escape(state.instance)} {role}; "
        f"{state.submissions_in_progress} submissions, {state.imports_in_progress} imports in progress.</p>"
        + (f'<ul class="problems">{problems}</ul>' if problems else well)
        + _queue(state.queue)
        + _managers(state.managers)
        + '<p class="dim"><a href="/metrics">metrics</a> · <a href="/api/status">JSON</a> · '
        f"refreshed every {_REFRESH_SECONDS} s</p>"
    )


def _queue(queue: tuple[QueueState, ...]) -> str:
    head = "".join(f'<th class="n">{status.value}</th>' for status in TaskStatus)
    rows = "".join(
        f"<tr><th>{entry.type.value}</th>"
        + "".join(f'<td class="n">{entry.counts[status]}</td>' for status in TaskStatus)
        + f"<td>{escape(entry.oldest_pending or '-')}</td></tr>"
        for entry in queue
    )
    return f"<h2>Tasks</h2><table><tr><th>type</th>{head}<th>oldest pending since</th></tr>{rows}</table>"


def _managers(managers: tuple[ManagerReport, ...]) -> str:
    rows = "".join(
        f"<tr><td>{escape(manager.name)}</td><td class='n'>{manager.priority}</td>"
        f"<td>{_state(manager)}</td><td>{escape(manager.error or '')}</td></tr>"
        for manager in managers
    )
    return (
        "<h2>Runner managers</h2><table>"
        "<tr><th>name</th><th class='n'>priority</th><th>state</th><th></th></tr>"
        f"{rows}</table>"
    )


def _state(manager: ManagerReport) -> str:
    if not manager.is_active:
        return '<span class="dim">inactive</span>'
    if manager.paused:
        return '<span class="dim">paused</span>'
    if manager.state is not BreakerState.CLOSED:
        return f'<span class="bad">{manager.state.value.replace("_", " ")}</span>'
    if manager.full_for:
        full = ", ".join(f"{kind.value} for {seconds:.0f} s" for kind, seconds in manager.full_for.items())
        return f"up, full ({full})"
    return '<span class="good">up</span>'
