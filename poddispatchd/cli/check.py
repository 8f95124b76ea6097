"""``check``: everything that can be wrong."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from poddispatchd.app.checks import run_checks
from poddispatchd.app.findings import Severity, problem
from poddispatchd.cli.common import (
    EXIT_FINDINGS,
    Context,
    asynchronous,
    config_option,
    json_option,
    pass_context,
    print_json,
)
from poddispatchd.cli.situation import daemon_state
from poddispatchd.config.model import Settings


@click.command()
@config_option
@json_option
@pass_context
@asynchronous
async def check(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Look for everything that can be wrong, and say it in words. Exit status 3 if something is."""
    settings = context.settings(config_path)
    findings = [finding async for finding in run_checks(settings, context.config_path)]
    findings += [problem("daemon", words) for words in await _not_ready(settings)]
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


async def _not_ready(settings: Settings) -> Sequence[str]:
    """Why the daemon of this machine cannot do its work: it may meet what no look from here does."""
    state = await daemon_state(settings)
    return () if state is None else state["not_ready"]


_MARKS = {
    Severity.FINE: ("ok     ", "green"),
    Severity.NOTE: ("note   ", "yellow"),
    Severity.PROBLEM: ("PROBLEM", "red"),
}
