"""``status``: the running daemon and the queue at a glance."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TypedDict

import click

from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    print_json,
    print_table,
)
from poddispatchd.config.units import Address
from poddispatchd.domain.task import TaskStatus

_TIMEOUT = 5.0


class _Queue(TypedDict):
    type: str
    counts: dict[str, int]
    oldest_pending: str | None


class _Manager(TypedDict):
    name: str
    priority: int
    is_active: bool
    paused: bool
    state: str
    full_for: dict[str, float]
    error: str | None


class _State(TypedDict):
    version: str
    instance: str
    leader: bool
    submissions_in_progress: int
    imports_in_progress: int
    queue: list[_Queue]
    managers: list[_Manager]
    problems: list[str]


@click.command()
@config_option
@json_option
@pass_context
@asynchronous
async def status(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Tell how the running daemon is. Exit status 1 when none answers, or when it has a problem."""
    settings = context.settings(config_path)
    state = await asyncio.to_thread(_ask, settings.ops.listen)
    if as_json:
        print_json(state)
    else:
        _print(state)
    if state["problems"]:
        sys.exit(EXIT_FAILED)


def _ask(address: Address) -> _State:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - asked, not bound
    url = f"http://{Address(host, address.port)}/api/status"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            state: _State = json.load(answer)
            return state
    except urllib.error.HTTPError as error:
        if error.code == 503:
            click.echo("The daemon is starting.", err=True)
        else:
            click.echo(f"{url} answers {error.code}: is that poddispatchd?", err=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        click.echo(
            f"No daemon answers at {url} ({reason}). Look at 'systemctl status poddispatchd', "
            "and at ops.listen in the configuration.",
            err=True,
        )
    sys.exit(EXIT_FAILED)


def _print(state: _State) -> None:
    role = "schedules" if state["leader"] else "stands by"
    click.echo(
        f"poddispatchd {state['version']} ({state['instance']}) {role}; "
        f"{state['submissions_in_progress']} submissions, {state['imports_in_progress']} imports in progress."
    )
    for problem in state["problems"]:
        click.echo(f"{click.style('PROBLEM', fg='red')} {problem}")
    names = [item.value for item in TaskStatus]
    print_table(
        ("type", *names, "oldest pending since"),
        [
            (entry["type"], *(entry["counts"].get(name, 0) for name in names), entry["oldest_pending"])
            for entry in state["queue"]
        ],
        empty="",
    )
    print_table(
        ("runner manager", "priority", "state", "full for", "error"),
        [
            (
                manager["name"],
                manager["priority"],
                _state_of(manager),
                ", ".join(f"{kind} {seconds:.0f}s" for kind, seconds in manager["full_for"].items()) or None,
                manager["error"],
            )
            for manager in state["managers"]
        ],
        empty="There are no runner managers.",
    )


def _state_of(manager: _Manager) -> str:
    if not manager["is_active"]:
        return "inactive"
    if manager["paused"]:
        return "paused"
    return "up" if manager["state"] == "closed" else manager["state"].replace("_", " ")
