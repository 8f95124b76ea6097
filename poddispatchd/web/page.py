"""The status page: plain HTML, no scripts, nothing from elsewhere."""

from datetime import datetime
from html import escape

from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.shadow import ShadowState, counted
from poddispatchd.domain.task import TaskStatus
from poddispatchd.managers.state import ManagerReport
from poddispatchd.web.state import DaemonState, QueueState

_STYLE = """
:root { color-scheme: light dark;
  --page: #f4f5f7; --card: #fff; --ink: #1c2128; --dim: #656d76; --line: #d8dee4;
  --good: #1a7f37; --bad: #cf222e; --warn: #9a6700; --link: #0969da; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0d1117; --card: #161b22; --ink: #e6edf3; --dim: #8d96a0; --line: #30363d;
    --good: #3fb950; --bad: #f85149; --warn: #d29922; --link: #4493f8; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.35rem; margin: 0; } h1 small { font-weight: normal; color: var(--dim); font-size: 1rem; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.25rem;
  margin-top: 1rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem 1.25rem .4rem 0;
  border-top: 1px solid var(--line); }
tr:first-child th { border-top: 0; color: var(--dim); font-weight: normal; white-space: nowrap; }
tbody th { font-weight: 600; } th:last-child, td:last-child { padding-right: 0; width: 100%; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.zero { color: var(--dim); }
.nowrap { white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.dim { color: var(--dim); } table + p { margin-top: .5rem; }
.mark::before { content: "\\25cf\\00a0"; }
.problems { border-left: 4px solid var(--bad); } .well { border-left: 4px solid var(--good); }
.problems ul { margin: 0; padding-left: 1.1rem; } section p { margin: 0; }
a { color: var(--link); } footer { color: var(--dim); margin-top: 1rem; }
"""

_REFRESH_SECONDS = 10


def status_page(state: DaemonState | None, waiting: str) -> str:
    """The page for a state; None while the daemon is starting and waits for something."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_title(state)}</title><style>{_STYLE}</style></head><body><main>"
        + (_starting(waiting) if state is None else _body(state))
        + '<footer><a href="/metrics">metrics</a> · <a href="/api/status">JSON</a> · '
        f"refreshed every {_REFRESH_SECONDS} s</footer></main></body></html>"
    )


def _title(state: DaemonState | None) -> str:
    """For a tab among many: whether to look."""
    if state is None:
        return "… poddispatchd"
    return f"({len(state.problems)}) poddispatchd" if state.problems else "poddispatchd"


def _starting(waiting: str) -> str:
    return f'<h1>poddispatchd</h1><section><p class="warn mark">{escape(waiting)}</p></section>'


def _body(state: DaemonState) -> str:
    problems = "".join(f"<li>{escape(problem)}</li>" for problem in state.problems)
    verdict = (
        f'<section class="problems"><ul>{problems}</ul></section>'
        if problems
        else '<section class="well"><p class="good">All is well.</p></section>'
    )
    return (
        f"<h1>poddispatchd <small>{escape(state.version)} · {escape(state.instance)} · "
        f"{escape(_role(state))}</small></h1>"
        + verdict
        + ("" if state.shadow is None else _shadow(state.shadow))
        + _queue(state)
        + _managers(state.managers)
        + _pooling(state.pooling)
    )


def _pooling(pooling: Pooling) -> str:
    if pooling is Pooling.NONE:
        return ""
    return f"<section><h2>Database</h2><p>{escape(pooling.meaning)}</p></section>"


def _role(state: DaemonState) -> str:
    if state.shadow is not None:
        return "shadow: decides beside Pod, writes and sends nothing"
    return "schedules" if state.leader else "stands by (another daemon schedules)"


def _shadow(shadow: ShadowState) -> str:
    rows = "".join(
        f'<tr><th class="nowrap">{what}</th><td>{escape(counted(counts))}</td></tr>'
        for what, counts in (
            ("would be done", shadow.decisions),
            ("Pod agreed", shadow.agreements),
            ("Pod differed", shadow.differences),
        )
    )
    return (
        f"<section><h2>Compared with Pod</h2><table>{rows}</table>"
        f'<p class="dim">{_number(shadow.waits, "task")} waited {shadow.average_wait:.0f} s longer for Pod '
        f"on average, {shadow.longest_wait:.0f} s at most</p></section>"
    )


def _queue(state: DaemonState) -> str:
    head = "".join(f'<th class="n">{status.value}</th>' for status in TaskStatus)
    rows = "".join(
        f"<tr><th>{entry.type.value}</th>"
        + "".join(_count(entry, status) for status in TaskStatus)
        + f'<td class="nowrap">{_since(entry)}</td></tr>'
        for entry in state.queue
    )
    return (
        f"<section><h2>Tasks</h2><table><tr><th>type</th>{head}<th>oldest pending since</th></tr>"
        f"{rows}</table>"
        f'<p class="dim">{_number(state.submissions_in_progress, "submission")} and '
        f"{_number(state.imports_in_progress, 'import')} in progress</p></section>"
    )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _count(entry: QueueState, status: TaskStatus) -> str:
    count = entry.counts[status]
    return f'<td class="n{"" if count else " zero"}">{count:,}</td>'.replace(",", "&#8239;")


def _since(entry: QueueState) -> str:
    if entry.oldest_pending is None:
        return '<span class="dim">none</span>'
    return f"{datetime.fromisoformat(entry.oldest_pending):%Y-%m-%d %H:%M:%S %Z}"


def _managers(managers: tuple[ManagerReport, ...]) -> str:
    rows = "".join(
        f'<tr><th class="nowrap">{escape(manager.name)}</th><td class="n">{manager.priority}</td>'
        f'<td class="nowrap">{_state(manager)}</td><td>{_remark(manager)}</td></tr>'
        for manager in managers
    )
    if not rows:
        return "<section><h2>Runner managers</h2><p>There are none.</p></section>"
    return (
        "<section><h2>Runner managers</h2><table>"
        '<tr><th>name</th><th class="n">priority</th><th>state</th><th>remarks</th></tr>'
        f"{rows}</table></section>"
    )


def _state(manager: ManagerReport) -> str:
    if not manager.is_active:
        return '<span class="dim mark">inactive</span>'
    if manager.paused:
        return '<span class="warn mark">paused</span>'
    if manager.state is not BreakerState.CLOSED:
        return f'<span class="bad mark">{manager.state.value.replace("_", " ")}</span>'
    return '<span class="good mark">up</span>'


def _remark(manager: ManagerReport) -> str:
    remarks = [] if manager.error is None else [escape(manager.error)]
    remarks += [f"full for {kind.value}: {seconds:.0f} s" for kind, seconds in manager.full_for.items()]
    if manager.paced_for is not None:
        remarks.append(f"paced: the next task in {manager.paced_for:.0f} s")
    return "<br>".join(remarks)
