"""``run`` and ``once``."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import click
from msgspec.structs import replace

from poddispatchd.app.daemon import Daemon
from poddispatchd.app.once import run_once
from poddispatchd.app.pass_summary import summary_line
from poddispatchd.cli.common import (
    EXIT_FAILED,
    EXIT_USAGE,
    Context,
    asynchronous,
    config_option,
    of_its_address,
    pass_context,
)
from poddispatchd.cli.unit import work_as_its_user
from poddispatchd.clock import Clock
from poddispatchd.config.model import Settings
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError
from poddispatchd.observability.events import Event
from poddispatchd.observability.logs import configure_logging, log_only_tracebacks
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runtime.descriptors import raise_limit
from poddispatchd.runtime.hardening import forbid_dumps
from poddispatchd.runtime.memory import keep_heap_small


@click.command(short_help="Run the daemon.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Shadow mode, beside Pod's CRON: decide, log what would be done and where Pod does otherwise; "
    "write and send nothing.",
)
@config_option
@pass_context
@asynchronous
async def run(context: Context, config_path: Path | None, *, dry_run: bool) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reloads the configuration.

    With --dry-run it needs no more than to read Pod's tables. Runner managers are asked about running tasks
    and for their runners, which changes nothing there; the webhook stays closed. Root works as the user of
    the unit.
    """
    import structlog

    # Before the settings are read: they hold secrets.
    forbid_dumps()
    keep_heap_small()
    settings = context.settings(config_path)
    await _leave_root(context, settings)
    try:
        raise_limit()
        await Daemon(settings, config_path=context.config_path, is_shadow=dry_run).run()
    except ConfigurationError as error:
        for problem in error.problems or (str(error),):
            structlog.get_logger(__name__).error(Event.CONFIG_INVALID, problem=problem)
        sys.exit(EXIT_USAGE)


@click.command(short_help="Make one full pass and exit, as the CRON line of process_tasks.")
@click.option(
    "--max-tasks", type=click.IntRange(0, 1_000_000), help="Submit at most so many tasks of each type."
)
@click.option("--site", "sites", multiple=True, help="Serve only the site with this domain (repeatable).")
@click.option("--verbose", is_flag=True, help="Log each event on standard error as well.")
@click.option(
    "-v",
    "--verbosity",
    type=click.IntRange(0, 3),
    default=1,
    show_default=True,
    help="0: print nothing; 1: one line with the counts of each site; 2: as --verbose; 3: debugging, too.",
)
@config_option
@pass_context
@asynchronous
async def once(
    context: Context,
    config_path: Path | None,
    max_tasks: int | None,
    sites: tuple[str, ...],
    verbosity: int,
    *,
    verbose: bool,
) -> None:
    """Make one full pass and exit: reconcile, submit, import what is ready, ranks, purge.

    A drop-in for the CRON line of `manage.py process_tasks`: it prints one line with the time and the counts
    of each site. While a daemon schedules, it does nothing. Root works as the user of the unit.
    """
    forbid_dumps()
    settings = context.settings(config_path)
    await _leave_root(context, settings)
    if sites:
        settings = _with_sites(settings, sites)
    _log_as_asked(settings, max(verbosity, 2) if verbose else verbosity)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        result = await run_once(settings, max_tasks=max_tasks, stop=stop)
    except DatabaseUnavailableError as error:
        raise of_its_address(error, settings) from error
    now = Clock().now().astimezone()
    if result.stopped:
        click.echo(f"{now:{_TIME}} The pass was stopped; the next one goes on.", err=True)
        sys.exit(EXIT_FAILED)
    if verbosity == 0 and not verbose:
        return
    if result.scheduled:
        click.echo(summary_line(now, result.sites))
    else:
        click.echo(f"{now:{_TIME}} Another poddispatchd schedules; there is nothing to do.")


async def _leave_root(context: Context, settings: Settings) -> None:
    if (words := await work_as_its_user(context.unit, MediaTree(settings.pod.media_root))) is not None:
        click.echo(f"poddispatchd: {words}", err=True)


_TIME = "%Y-%m-%d %H:%M:%S %Z"


def _log_as_asked(settings: Settings, verbosity: int) -> None:
    """Log nothing but bugs unless more is asked for: CRON mails every line."""
    if verbosity < 2:
        log_only_tracebacks()
    elif verbosity > 2:
        configure_logging(replace(settings.log, level="debug"), environ=os.environ)


def _with_sites(settings: Settings, sites: tuple[str, ...]) -> Settings:
    return replace(settings, dispatch=replace(settings.dispatch, sites=sites))
