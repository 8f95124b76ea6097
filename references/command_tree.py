"""The commands of ``poddispatchd`` as its help has them."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import click

from poddispatchd.cli.common import EXIT_FAILED, EXIT_FINDINGS, EXIT_USAGE
from poddispatchd.cli.main import cli

STATUSES = (
    (0, "It went well."),
    (EXIT_FAILED, "It ran, and something failed."),
    (EXIT_USAGE, "The usage or the configuration is wrong; the daemon is not started again by systemd then."),
    (EXIT_FINDINGS, "check found a problem."),
)
"""Every exit status of the program's own, and what it means."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its whole name, how it is typed, what it does, its options with their help."""

    name: str
    usage: str
    paragraphs: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


def program_options() -> tuple[tuple[str, str], ...]:
    """The options that stand before a command."""
    return _options(cli, click.Context(cli, info_name="poddispatchd"))


def commands() -> Iterator[Command]:
    """Every command that does something, in the order of the help."""
    yield from _commands(cli, click.Context(cli, info_name=""))


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a docstring, each on one line."""
    for paragraph in re.split(r"\n\s*\n", textwrap.dedent(text).strip()):
        yield " ".join(paragraph.replace("\b", "").split())


def _commands(group: click.Group, context: click.Context) -> Iterator[Command]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _commands(command, inner)
        else:
            yield Command(
                inner.command_path.strip(),
                " ".join(command.collect_usage_pieces(inner)),
                tuple(paragraphs(command.help or command.short_help or "")),
                _options(command, inner),
            )


def _options(command: click.Command, context: click.Context) -> tuple[tuple[str, str], ...]:
    records = (
        parameter.get_help_record(context)
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
    )
    return tuple(record for record in records if record is not None)
