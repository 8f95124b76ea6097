"""``config show``."""

from pathlib import Path

import click

from poddispatchd.cli.common import Context, config_option, json_option, pass_context, print_json
from poddispatchd.config.showing import settings_as_dict, settings_as_yaml


@click.group()
def config() -> None:
    """The configuration."""


@config.command()
@config_option
@json_option
@pass_context
def show(context: Context, config_path: Path | None, *, as_json: bool) -> None:
    """Print the configuration in effect, defaults included, without secrets."""
    settings = context.settings(config_path)
    if as_json:
        print_json(settings_as_dict(settings))
    else:
        click.echo(settings_as_yaml(settings), nl=False)
