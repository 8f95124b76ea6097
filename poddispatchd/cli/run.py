"""``run``, ``once`` and ``check``."""

import sys
from pathlib import Path

import click

from poddispatchd.checks import Severity, run_checks
from poddispatchd.cli.common import (
    EXIT_FINDINGS,
    EXIT_USAGE,
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    print_json,
)
from poddispatchd.config.model import Settings
from poddispatchd.daemon import Daemon
from poddispatchd.errors import ConfigurationError
from poddispatchd.events import Event
from poddispatchd.once import run_once


@click.command()
@config_option
@pass_context
@asynchronous
async def run(context: Context, config_path: Path | None) -> None:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
    import structlog  # noqa: PLC0415 - only here a problem belongs into the log as well

    settings = context.settings(config_path)
    try:
        await Daemon(settings, config_path=context.config_path).run()
    except ConfigurationError as error:
        for problem in error.problems or (str(error),):
            structlog.get_logger(__name__).error(Event.CONFIG_INVALID, problem=problem)
        sys.exit(EXIT_USAGE)


@click.command()
@click.option("--max-tasks", type=click.IntRange(min=0), help="Submit at most so many tasks.")
@click.option("--site", "sites", multiple=True, help="Serve only the site with this domain (repeatable).")
@config_option
@pass_context
@asynchronous
async def once(
    context: Context, config_path: Path | None, max_tasks: int | None, sites: tuple[str, ...]
) -> None:
    """Make one full pass and exit: reconcile, submit, import what is ready, ranks, purge.

    A drop-in for the CRON line of `manage.py process_tasks`. While a daemon schedules, it does nothing.
    """
    settings = context.settings(config_path)
    if sites:
        settings = _with_sites(settings, sites)
    result = await run_once(settings, max_tasks=max_tasks)
    if result.scheduled:
        click.echo(f"{result.pending} pending, {result.running} running.")
    else:
        click.echo("A poddispatchd daemon schedules already; there is nothing to do.")


@click.command()
@config_option
@json_option
@pass_context
@asynchronous
async def check(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Look for everything that can be wrong, and say it in words. Exit status 3 if something is."""
    settings = context.settings(config_path)
    findings = [finding async for finding in run_checks(settings)]
    if as_json:
        print_json(
            [{"severity": item.severity, "subject": item.subject, "words": item.words} for item in findings]
        )
    else:
        for item in findings:
            mark, color = _MARKS[item.severity]
            click.echo(f"{click.style(mark, fg=color)} {item.subject}: {item.words}")
    problems = sum(item.severity is Severity.PROBLEM for item in findings)
    if problems:
        if not as_json:
            click.echo(f"{problems} problem{'s' if problems > 1 else ''} found.", err=True)
        sys.exit(EXIT_FINDINGS)


_MARKS = {
    Severity.FINE: ("ok     ", "green"),
    Severity.NOTE: ("note   ", "yellow"),
    Severity.PROBLEM: ("PROBLEM", "red"),
}


def _with_sites(settings: Settings, sites: tuple[str, ...]) -> Settings:
    return settings.model_copy(update={"dispatch": settings.dispatch.model_copy(update={"sites": sites})})
