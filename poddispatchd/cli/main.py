"""The command ``poddispatchd``: every subcommand, and what errors and exit statuses look like."""

import os
import sys
from asyncio import CancelledError
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from poddispatchd import __version__
from poddispatchd.cli.common import EXIT_FAILED, EXIT_USAGE, Context
from poddispatchd.errors import ConfigurationError, PoddispatchdError
from poddispatchd.observability.logs import choose_format

_COMMANDS = {
    "run": "run",
    "once": "run",
    "check": "check",
    "status": "status",
    "tasks": "tasks",
    "runners": "runners",
    "config": "config",
    "db": "db",
    "demo": "demo",
}
"""Every command, by the module beside this one that holds it, in the order of the help."""


class _LazyGroup(click.Group):
    """Imports a command when it is wanted: the daemon carries nothing of the other ones."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"poddispatchd.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above names commands
        return command


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="poddispatchd")
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="config.yaml; else $PODDISPATCHD_CONFIG, else /etc/poddispatchd/config.yaml.",
)
@click.pass_context
def cli(context: click.Context, config_path: Path | None) -> None:
    """Dispatches Esup-Pod's tasks to Esup-Runner, and imports their results.

    Exit status: 0 fine; 1 it ran and something failed; 2 usage or configuration error; 3 `check` found a
    problem.
    """
    context.obj = Context(config_path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors become one clear sentence on standard error, never a traceback.

    Args:
        arguments: those of the process when None.

    Raises:
        SystemExit: with the exit status, unless that is 0.
    """
    try:
        cli(arguments, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(EXIT_FAILED)
    except click.exceptions.Exit as ending:
        sys.exit(ending.exit_code)
    except ConfigurationError as error:
        for problem in error.problems or (str(error),):
            _complain(problem)
        sys.exit(EXIT_USAGE)
    except PoddispatchdError as error:
        _complain(str(error))
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        # Whoever reads (head, a pager) has seen enough; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except (KeyboardInterrupt, CancelledError):
        sys.exit(130)


def _complain(words: str) -> None:
    """One line on standard error; the journal gets it as an error."""
    journald = choose_format("auto", environ=os.environ, stream=sys.stderr) == "journald"
    click.echo(f"{'<3>' if journald else ''}poddispatchd: {words}", err=True)
