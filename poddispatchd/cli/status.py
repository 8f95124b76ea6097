"""``status``: the running daemon and the queue in short."""

import asyncio
import sys
from datetime import datetime
from pathlib import Path

import click

from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    print_json,
    shown,
)
from poddispatchd.cli.daemon_state import (
    ShadowEntry,
    State,
    as_of_words,
    ask_daemon,
    drained_words,
    full_in_words,
    role_in_words,
    state_in_words,
    timetable_of,
    window_of,
)
from poddispatchd.cli.tables import print_table, say
from poddispatchd.cli.task_filter import age
from poddispatchd.clock import Clock
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.shadow import counted
from poddispatchd.domain.task import TaskStatus
from poddispatchd.domain.timetable_words import TimetableWords

_BESIDE = " " * len("PROBLEM ")


@click.command()
@config_option
@json_option
@pass_context
@asynchronous
async def status(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Tell how the running daemon is. Exit status 1 when none answers, or when it has a problem."""
    settings = context.settings(config_path)
    state = await asyncio.to_thread(ask_daemon, settings.ops.listen)
    if as_json:
        print_json(state)
    else:
        _print(state)
    if state["problems"]:
        sys.exit(EXIT_FAILED)


def _print(state: State) -> None:
    say(
        f"poddispatchd {state['version']} ({state['instance']}) {role_in_words(state)}; "
        f"{state['submissions_in_progress']} submissions, {state['imports_in_progress']} imports in progress."
    )
    if (pooling := Pooling(state["pooling"])) is not Pooling.NONE:
        say(pooling.meaning)
    if state["shadow"] is not None:
        _print_shadow(state["shadow"])
    for problem in state["problems"]:
        say(problem, first=f"{click.style('PROBLEM', fg='red')} ", rest=_BESIDE)
    for notice in state["notices"]:
        say(notice, first=f"{click.style('note   ', fg='yellow')} ", rest=_BESIDE)
    names, words = [item.value for item in TaskStatus], TimetableWords(Clock().now(), shown)
    click.echo()
    print_table(
        ("type", *names, "oldest pending"),
        [
            (
                entry["type"],
                *(entry["counts"].get(name, 0) for name in names),
                _age(entry["oldest_pending"]),
            )
            for entry in state["queue"]
        ],
        empty="",
    )
    for entry in state["queue"]:
        if entry["why"] is not None:
            why = f"{entry['why']['words']} {entry['why']['remedy']}".rstrip()
            say(f"{entry['type']}: {why}", rest="  ")
        if entry["window"] is not None:
            say(f"{entry['type']}: {words.window(window_of(entry['window']))}", rest="  ")
    if (expected := drained_words(state)) is not None:
        say(expected, rest="  ")
    for campaign in state.get("campaigns", []):
        if campaign["state"] in ("active", "paused"):
            click.echo(
                f"Campaign {campaign['name']} ({campaign['type']}), {campaign['state']}: {campaign['bar']}"
            )
            for line in campaign["words"]:
                say(line, first="  ", rest="  ")
    click.echo(as_of_words(state))
    click.echo()
    print_table(
        ("runner manager", "priority", "state", "tasks", "full for"),
        [
            (
                manager["name"],
                manager["priority"],
                state_in_words(manager),
                state["running_on"].get(str(manager["id"]), 0),
                full_in_words(manager),
            )
            for manager in state["managers"]
        ],
        empty="There are no runner managers.",
        remarks=["; ".join(timetable_of(manager).words(words)) for manager in state["managers"]],
    )


def _age(moment: str | None) -> str | None:
    return None if moment is None else age(datetime.fromisoformat(moment))


def _print_shadow(shadow: ShadowEntry) -> None:
    click.echo(f"Would be done: {counted(shadow['decisions'])}.")
    click.echo(f"Pod agreed: {counted(shadow['agreements'])}; differed: {counted(shadow['differences'])}.")
    if shadow["waits"]:
        average, longest = shadow["waited"] / shadow["waits"], shadow["longest_wait"]
        click.echo(f"Tasks waited {average:.0f} s longer for Pod on average, {longest:.0f} s at most.")
