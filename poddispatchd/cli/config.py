"""``config show`` and ``config import``."""

import os
import sys
from pathlib import Path, PurePosixPath

import click
import yaml

from poddispatchd.cli.common import (
    EXIT_FAILED,
    Context,
    config_option,
    json_option,
    pass_context,
    print_json,
    takes_utf8,
)
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.config.pod_settings import import_pod_settings, version_of_pod
from poddispatchd.config.showing import settings_as_dict, settings_as_yaml
from poddispatchd.errors import ConfigurationError


@click.group(cls=SuggestingGroup, short_help="Show the configuration, or make one from Pod's settings.")
def config() -> None:
    """The configuration: show the one in effect, or make one from Pod's settings."""


@config.command(short_help="Print the configuration.")
@config_option
@json_option
@pass_context
def show(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Print the configuration as a start would take it now, defaults included, without secrets.

    A daemon that runs goes by what it took at its start and at 'systemctl reload poddispatchd'; where that
    is something else, 'poddispatchd status' says so.
    """
    settings = context.settings(config_path)
    if as_json:
        print_json(settings_as_dict(settings))
    else:
        click.echo(settings_as_yaml(settings, unicode=takes_utf8()), nl=False)


@config.command("import", short_help="Make a config.yaml from Pod's settings.")
@click.argument("settings_file", metavar="SETTINGS_LOCAL.PY", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the file, secrets included, for its owner only; it must not exist yet.",
)
def import_(settings_file: Path, output: Path | None) -> None:
    """Print a config.yaml made from Pod's own settings, which are read and never executed.

    Pod's version is read from the settings.py of Pod in the directory above.

    Printed without secrets; --output writes them as well. What needs a look is told on standard error, with
    exit status 1.
    """
    path = settings_file.absolute()
    try:
        imported = import_pod_settings(path.read_bytes(), PurePosixPath(path), version=_version_beside(path))
    except OSError as error:
        raise ConfigurationError(f"{settings_file}: it cannot be read: {error.strerror}.") from None
    except (RecursionError, MemoryError):
        raise ConfigurationError(f"{settings_file}: it is nested too deeply to be read.") from None
    except (SyntaxError, ValueError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ConfigurationError(f"{settings_file}: it is no Python file{line}.") from None
    notes = list(imported.notes)
    if output is None:
        click.echo(_yaml(imported.without_secrets(), unicode=takes_utf8()), nl=False)
        if imported.secrets:
            notes.append(f"Left out: {', '.join(imported.secrets)} (the secret part): --output writes them.")
    else:
        _write(output, _yaml(imported.tree))
        # What follows on standard error, with status 1, must not look as if nothing had been written.
        click.echo(f"{output} is written. {_LOOK if notes else _NEXT}", err=True)
    for note in (*imported.remarks, *notes):
        click.echo(note, err=True)
    if imported.notes:
        sys.exit(EXIT_FAILED)


_LOOK = "Look at it:"
_NEXT = "Next: systemd-tmpfiles --create poddispatchd.conf"


def _version_beside(settings: Path) -> str | None:
    """The version of the Pod whose application these settings stand in: it is in the directory above."""
    own = settings.parent.parent / "settings.py"
    try:
        return version_of_pod(own.read_bytes(), PurePosixPath(own))
    except OSError:
        return None


def _yaml(tree: object, *, unicode: bool = True) -> str:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=unicode, default_flow_style=False, width=100)


def _write(path: Path, text: str) -> None:
    """Write a file for its owner only; one that is not whole would be in the way of the next try."""
    try:
        # With these rights from the beginning: there are secrets in it. A link in its place is not followed.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{path}: it is there already, and is not overwritten: what was changed in it would be lost. "
            "Write another file and compare the two, or move this one away."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: it cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
    except OSError as error:
        path.unlink()
        raise ConfigurationError(f"{path}: it cannot be written: {error.strerror}.") from None
