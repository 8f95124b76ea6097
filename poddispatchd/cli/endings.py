"""How a command ends: errors become one clear sentence on standard error, and an exit status."""

import os
import sys
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from poddispatchd.cli import import_structlog
from poddispatchd.cli.common import EXIT_FAILED, EXIT_USAGE
from poddispatchd.cli.terminal import OutputError, UnreadError, leave
from poddispatchd.errors import ConfigurationError, PoddispatchdError, RowLockedError, SchemaChangedError

_INTERRUPTED = 130


def exit_status(command: Callable[[], object]) -> int:
    """Run a command; the exit status with which the process is to end.

    Args:
        command: returns its exit status; whatever is no number is none.

    Raises:
        SystemExit: it has chosen its status itself.
    """
    try:
        return _status(command)
    except UnreadError:
        # Whoever reads (head, a pager) has seen enough, perhaps of both.
        leave(sys.stdout, sys.stderr)
        return EXIT_FAILED


def _status(command: Callable[[], object]) -> int:
    try:
        status = command()
    except click.ClickException as error:
        with _heard_or_not():
            error.show()
        return error.exit_code
    except click.Abort as abort:
        # click says so of Ctrl-C too; of an answer that is none it gives no cause.
        return _INTERRUPTED if isinstance(abort.__cause__, KeyboardInterrupt) else EXIT_FAILED
    except ConfigurationError as error:
        complain(error)
        return EXIT_USAGE
    except UnreadError:
        raise
    except OutputError as error:
        leave(sys.stdout)
        _complain(str(error))
        return EXIT_FAILED
    except RowLockedError as error:
        _complain(f"{error} Try again; 'poddispatchd check' tells who.")
        return EXIT_FAILED
    except SchemaChangedError as error:
        _complain(f"{error} 'poddispatchd check' tells what is wrong, and who can mend it.")
        return EXIT_FAILED
    except PoddispatchdError as error:
        _complain(str(error))
        return EXIT_FAILED
    except (KeyboardInterrupt, CancelledError):
        return _INTERRUPTED
    return status if isinstance(status, int) else 0


def complain(error: ConfigurationError) -> None:
    """Say what is wrong with the configuration, a line for each problem."""
    for problem in error.problems or (str(error),):
        _complain(problem)


def _complain(words: str) -> None:
    """One line on standard error; the journal gets it as an error."""
    import_structlog()
    from poddispatchd.observability.logs import choose_format

    journald = choose_format("auto", environ=os.environ, stream=sys.stderr) == "journald"
    with _heard_or_not():
        click.echo(f"{'<3>' if journald else ''}poddispatchd: {words}", err=True)


@contextmanager
def _heard_or_not() -> Iterator[None]:
    """Say why a command fails; that nobody hears it changes nothing of the status.

    systemd would try a daemon again and again whose configuration is refused.
    """
    try:
        yield
    except OutputError:
        leave(sys.stderr)
