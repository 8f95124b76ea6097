"""``status``: the running daemon and the queue in short."""

import asyncio
import os
import sys
from datetime import datetime
from pathlib import Path

import click

from poddispatchd.cli.common import (
    EXIT_FAILED,
    EXIT_USAGE,
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    print_json,
)
from poddispatchd.cli.daemon_state import (
    DaemonAwayError,
    ShadowEntry,
    State,
    as_of_words,
    ask_daemon,
    drained_words,
    full_in_words,
    reasons_of,
    role_in_words,
    shown_in,
    state_in_words,
    timetable_of,
    window_of,
)
from poddispatchd.cli.endings import complain
from poddispatchd.cli.tables import print_table, say
from poddispatchd.cli.task_filter import age
from poddispatchd.clock import Clock
from poddispatchd.config.last_resort import listen_as_written
from poddispatchd.database.poolers import Pooling
from poddispatchd.domain.shadow import counted
from poddispatchd.domain.task import TaskStatus
from poddispatchd.domain.timetable_words import TimetableWords
from poddispatchd.errors import ConfigurationError

_BESIDE = " " * len("PROBLEM ")


@click.command()
@config_option
@json_option
@pass_context
@asynchronous
async def status(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Tell how the running daemon is. Exit status 1 when none answers, or when it has a problem."""
    try:
        address = context.settings(config_path).ops.listen
    except ConfigurationError as error:
        # Whatever is wrong with the file, a daemon that runs works on with what it has read before.
        state = await asyncio.to_thread(_ask_all_the_same, context.config_path, error)
        complain(error)
        _tell(state, as_json=as_json)
        sys.exit(EXIT_USAGE)
    state = await asyncio.to_thread(ask_daemon, address)
    _tell(state, as_json=as_json)
    if state["problems"]:
        sys.exit(EXIT_FAILED)


def _ask_all_the_same(path: Path | None, error: ConfigurationError) -> State:
    """What the daemon says, where the configuration is refused.

    Raises:
        ConfigurationError: none answers, so that the configuration is all there is to tell.
    """
    try:
        return ask_daemon(listen_as_written(path, environ=os.environ))
    except DaemonAwayError:
        raise error from None


def _tell(state: State, *, as_json: bool) -> None:
    if as_json:
        print_json(state)
    else:
        print_state(state)


def print_state(state: State) -> None:
    """Print the state of a daemon; moments are in Pod's time zone, as in the daemon's own words."""
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
    names, words = [item.value for item in TaskStatus], TimetableWords(Clock().now(), shown_in(state))
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
    for why, kinds in reasons_of(state).items():
        is_told = any(why in words for words in (*state["problems"], *state["notices"]))
        say(f"{', '.join(kinds)}: {'as told above.' if is_told else why}", rest="  ")
    for entry in state["queue"]:
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
