"""The command ``poddispatchd``: every subcommand, and what errors and exit statuses look like."""

import sys
from pathlib import Path

import click

from poddispatchd import __version__
from poddispatchd.cli import config, db, demo, run, status, tasks
from poddispatchd.cli.common import EXIT_FAILED, EXIT_USAGE, Context
from poddispatchd.errors import ConfigurationError, PoddispatchdError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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


for _command in (run.run, run.once, run.check, config.config, db.db, tasks.tasks, status.status, demo.demo):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; errors become one clear sentence on standard error, never a traceback."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(EXIT_FAILED)
    except click.exceptions.Exit as ending:
        sys.exit(ending.exit_code)
    except ConfigurationError as error:
        for problem in error.problems or (str(error),):
            click.echo(f"poddispatchd: {problem}", err=True)
        sys.exit(EXIT_USAGE)
    except PoddispatchdError as error:
        click.echo(f"poddispatchd: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
