"""The command ``poddispatchd``, with every subcommand."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from poddispatchd.build import FULL_VERSION
from poddispatchd.cli import import_structlog
from poddispatchd.cli.common import Context
from poddispatchd.cli.endings import exit_status
from poddispatchd.cli.file_names import begin_again_in_utf8
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.cli.terminal import open_closed_streams, safe_output
from poddispatchd.runtime.memory import uncollected

_COMMANDS = {
    "run": ("run", "Run the daemon."),
    "once": ("run", "Make one full pass and exit, as the CRON line of process_tasks."),
    "check": ("check", "Look for everything that can be wrong, and say it in words."),
    "status": ("status", "Tell how the running daemon is, and why tasks wait."),
    "tasks": ("tasks", "Pod's tasks: list, show, restart, cancel and watch them."),
    "runners": ("runners", "Pod's runner managers: list, test, pause and resume them."),
    "queues": ("queues", "What waits in the journal's queues, and what was set aside."),
    "failures": ("failures", "Tasks that failed, by reason: review, restart, dismiss them."),
    "campaigns": ("campaigns", "Encode or transcribe many videos anew, in idle times."),
    "events": ("events", "What other programs are told: send a test event."),
    "report": ("report", "What runners did for whom in a week: text, JSON or HTML."),
    "config": ("config", "Show the configuration, or make one from Pod's settings."),
    "db": ("db", "poddispatchd's own schema, and the rights of its role."),
    "demo": ("demo", "Try it all: PostgreSQL, fake runner managers, the daemon."),
}
"""Every command, by the module beside this one that holds it and its help, in the order of the help."""


_COMPLETE = "_PODDISPATCHD_COMPLETE"
"""The variable with which the shipped completions ask."""


class _LazyGroup(SuggestingGroup):
    """Imports a command when it is wanted: the daemon carries nothing of the others, and help is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        import_structlog()
        with uncollected():
            command = getattr(import_module(f"poddispatchd.cli.{_COMMANDS[cmd_name][0]}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above names commands
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The table of commands, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(FULL_VERSION, prog_name="poddispatchd")
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False, readable=False),
    help="config.yaml; else $PODDISPATCHD_CONFIG, else /etc/poddispatchd/config.yaml.",
)
@click.pass_context
def cli(context: click.Context, config_path: Path | None) -> None:
    """Dispatches Esup-Pod's tasks to Esup-Runner, and imports their results.

    Exit status: 0 fine; 1 it ran and something failed; 2 usage or configuration error; 3 `check` found a
    problem.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False
    context.obj = Context(config_path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors become one clear sentence on standard error, never a traceback.

    Args:
        arguments: those of the process when None.

    Raises:
        SystemExit: with the exit status, unless that is 0.
    """
    if arguments is None:
        begin_again_in_utf8()
    open_closed_streams()
    if _COMPLETE in os.environ:
        # A shell asks, in bytes; nothing of this is shown as it is.
        _run(arguments)
        return
    with safe_output():
        _run(arguments)


def _refuse_bytes(arguments: Sequence[str]) -> None:
    """Arguments are texts; which one is not is told by its number, for it may be a secret.

    Raises:
        UsageError: one holds bytes that are no text here.
    """
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise click.UsageError(
                f"Argument {number} is no text in UTF-8: type it in a terminal whose locale is one of UTF-8."
            ) from None


def _run(arguments: Sequence[str] | None) -> None:
    def command() -> object:
        _refuse_bytes(sys.argv[1:] if arguments is None else arguments)
        return cli(arguments, standalone_mode=False, complete_var=_COMPLETE)

    status = exit_status(command)
    if status:
        sys.exit(status)
