"""``events``: what other programs are told, tried out."""

import sys
import uuid
from pathlib import Path

import click

from poddispatchd.cli.common import EXIT_FAILED, Context, asynchronous, config_option, pass_context, shown
from poddispatchd.cli.groups import SuggestingGroup
from poddispatchd.clock import Clock
from poddispatchd.config.masking import mask_text
from poddispatchd.domain.outgoing_events import trial_event
from poddispatchd.errors import DeliveryError
from poddispatchd.notify.event_post import hand_over
from poddispatchd.notify.event_words import wording_of
from poddispatchd.observability.logs import without_secrets

_SHOWN_LINES = 20


@click.group(cls=SuggestingGroup)
def events() -> None:
    """What other programs are told (the section events of the configuration)."""


@events.command(short_help="Send a test event, and print the answer.")
@config_option
@pass_context
@asynchronous
async def test(context: Context, config_path: Path | None) -> None:
    """Send a test event to events.url, or run events.command with it, and print the answer.

    It goes out at once, past the queue, and needs no daemon and no database.
    """
    settings = context.settings(config_path)
    if not settings.events.enabled:
        raise click.UsageError("Nobody is told: set events.url or events.command.")
    clock = Clock()
    event = trial_event(str(uuid.uuid4()), clock.now(), wording_of(settings.pod))
    try:
        answer = await hand_over(settings.events, event, now=clock.now())
    except DeliveryError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_FAILED)
    click.echo(answer.words, err=not answer.is_taken)
    for line in mask_text(without_secrets(answer.said)).splitlines()[:_SHOWN_LINES]:
        click.echo(f"  {shown(line)}")
    if not answer.is_taken:
        sys.exit(EXIT_FAILED)
