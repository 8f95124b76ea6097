"""``check``: everything that can be wrong."""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import click

from poddispatchd.app.checks import run_checks
from poddispatchd.app.findings import CheckLevel, CheckResult, fine, note, problem
from poddispatchd.cli.common import (
    EXIT_FINDINGS,
    Context,
    config_option,
    json_option,
    pass_context,
    print_json,
    run_async,
)
from poddispatchd.cli.endings import exit_status
from poddispatchd.cli.situation import daemon_state
from poddispatchd.cli.tables import say
from poddispatchd.cli.unit import Unit, run_as
from poddispatchd.config.model import PodSettings, Settings
from poddispatchd.errors import MediaSlowError
from poddispatchd.pod.media.directory import real_path
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree


@click.command()
@config_option
@json_option
@pass_context
def check(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Look for everything that can be wrong, and say it in words. Exit status 3 if something is.

    Root looks as the user of the unit, whom rights of files and of the database concern.
    """
    settings = context.settings(config_path)
    unit = context.unit
    account = None if unit is None else unit.account

    def look() -> int:
        return run_async(_check(settings, context.config_path, unit, as_json=as_json))

    # Root asks already.
    if unit is None or account is None or account.pw_uid == 0:
        status = look()
    else:
        status = run_as(account, lambda: exit_status(look), groups=unit.groups, umask=unit.umask)
    if status:
        sys.exit(status)


async def _check(settings: Settings, path: Path | None, unit: Unit | None, *, as_json: bool) -> int:
    """Look, print what was found, and return the exit status."""
    findings = [] if unit is None else [finding async for finding in _unit_findings(settings, unit)]
    findings += [finding async for finding in run_checks(settings, path)]
    findings += [problem("daemon", words) for words in await _met_by_the_daemon(settings, findings)]
    if as_json:
        print_json(
            [{"severity": item.severity, "subject": item.subject, "words": item.words} for item in findings]
        )
    else:
        for item in findings:
            mark, color = _MARKS[item.severity]
            say(f"{item.subject}: {item.words}", first=f"{click.style(mark, fg=color)} ", rest=" " * 8)
    problems = sum(item.severity is CheckLevel.PROBLEM for item in findings)
    if problems and not as_json:
        click.echo(f"{problems} problem{'s' if problems > 1 else ''} found.", err=True)
    return EXIT_FINDINGS if problems else 0


async def _unit_findings(settings: Settings, unit: Unit) -> AsyncIterator[CheckResult]:
    """Whether all this was asked as the daemon will ask, and may write where it has to."""
    if unit.account is None:
        who = f"{unit.user}:{unit.group}" if unit.group else unit.user
        yield problem("unit", f"{unit.name} runs as {who}, and this machine has no such user or group.")
    elif os.geteuid() == unit.account.pw_uid:
        yield fine("unit", f"All this was asked as {unit.user}, the user of {unit.name}.")
    if unit.is_down:
        yield problem(
            "unit",
            f"{unit.name} is enabled, and does not run: nothing is submitted or imported by it. "
            f"'journalctl -u {unit.name} -p warning' says why it ended, if not by hand; "
            f"'systemctl reset-failed {unit.name}' and 'systemctl start {unit.name}' start it.",
        )
    if unit.is_forgotten_at_boot:
        yield note(
            "unit",
            f"{unit.name} runs and is not enabled: after a restart of this machine nobody would start it. "
            f"'systemctl enable {unit.name}' has it started.",
        )
    # A media tree that does not answer is told by whoever looks at it.
    with suppress(MediaSlowError):
        tree = MediaTree(settings.pod.media_root)
        for place in await tree.look(Look.ACCESS, _closed_places, settings.pod, unit):
            yield problem(
                "unit",
                f"{unit.name} may not write to {place}: name it in ReadWritePaths= of a drop-in "
                f"(media.conf), then 'systemctl daemon-reload' and 'systemctl restart {unit.name}'.",
            )


def _closed_places(pod: PodSettings, unit: Unit) -> list[str]:
    """Where the sandbox of the unit keeps results from being written (blocking)."""
    if not unit.may_write(pod.media_root):
        return [str(pod.media_root)]
    # What is linked on the first level lies elsewhere.
    names = dict.fromkeys(path.partition("/")[0] for path in (pod.videos_dir, pod.files_dir, "tasks"))
    places = [pod.media_root / name for name in names]
    return [f"{real_path(place)} ({place} leads there)" for place in places if not unit.may_write(place)]


async def _met_by_the_daemon(settings: Settings, findings: Sequence[CheckResult]) -> Sequence[str]:
    """What the daemon of this machine suffers from, and no look from here has met.

    Its sandbox may see another tree than this command does, for example. Where something was found here
    already, it is most likely the same in other words: only why it cannot work at all is added then.
    """
    state = await daemon_state(settings)
    if state is None:
        return ()
    is_sound = all(item.severity is not CheckLevel.PROBLEM for item in findings)
    told = dict.fromkeys([*state["not_ready"], *(state["problems"] if is_sound else ())])
    known = {item.words for item in findings}
    return [words for words in told if words not in known]


_MARKS = {
    CheckLevel.FINE: ("ok     ", "green"),
    CheckLevel.NOTE: ("note   ", "yellow"),
    CheckLevel.PROBLEM: ("PROBLEM", "red"),
}
