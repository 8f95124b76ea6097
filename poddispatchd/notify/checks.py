"""What can be wrong with mail, pushes and commands, as the configuration names them."""

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit

from poddispatchd.config.model import ImportsSettings
from poddispatchd.config.notification import EventsSettings, MailSettings, PushSettings
from poddispatchd.database.pool import Database
from poddispatchd.errors import ConfigurationError, DeliveryError
from poddispatchd.notify.event_post import reach
from poddispatchd.notify.smtp import mail_server
from poddispatchd.notify.webpush import check_keys
from poddispatchd.pod import recipients

_SHOWN = 10
"""Establishments that are named."""


async def check_mail(settings: MailSettings) -> str:
    """Connect to the mail server, log in, and rehearse a mail of each sender; what was found, in words.

    No mail is sent. Owners are not known here: the people who are stand for them.

    Raises:
        ConfigurationError: mail cannot be sent, or would reach nobody who should know.
    """
    if not settings.enabled:
        return "It is disabled (mail.enabled): nobody is told of what is imported or fails."
    try:
        async with mail_server(settings) as server:
            people = tuple(dict.fromkeys((*settings.admins, *settings.managers, *_copied(settings))))
            for sender in dict.fromkeys((settings.server_email or settings.from_email, settings.from_email)):
                await server.rehearse(sender, people)
    except DeliveryError as error:
        raise ConfigurationError(str(error)) from error
    login = f", logged in as {settings.username}" if settings.username else ""
    told = f"{len(settings.admins)} admins and {len(settings.managers)} managers are told"
    if not settings.admins:
        told += "; mail.admins is empty, so that nobody learns of failures"
    if settings.use_establishment:
        named = len(settings.establishment_managers)
        told += f", and of {named} establishments theirs (mail.establishment_managers)"
    elif settings.establishment_managers:
        told += "; mail.establishment_managers count for nothing, for mail.use_establishment is off"
    return f"{settings.host}:{settings.port} answers ({settings.security}{login}); {told}."


def _copied(settings: MailSettings) -> tuple[str, ...]:
    """The managers of establishments, as far as they are sent anything."""
    if not settings.use_establishment:
        return ()
    return tuple(address for each in settings.establishment_managers.values() for address in each)


async def check_establishments(settings: MailSettings, database: Database) -> str | None:
    """The establishments with managers of which no owner is, in words; None when there are none such.

    Raises:
        DatabaseError: nobody knows.
    """
    if not (settings.enabled and settings.use_establishment):
        return None
    there = await recipients.establishments(database)
    unknown = sorted(name for name in settings.establishment_managers if name.lower() not in there)
    if not unknown:
        return None
    return (
        f"No owner in Pod is of {', '.join(map(repr, unknown))} (mail.establishment_managers): nobody "
        f"there is told. Pod's owners are of {', '.join(map(repr, sorted(there)[:_SHOWN])) or 'none'}."
    )


async def check_push(settings: PushSettings) -> str:
    """Sign something with the configured keys; what was found, in words.

    Raises:
        ConfigurationError: no push can be sent.
    """
    if not settings.enabled:
        return "It is disabled (push.enabled)."
    await asyncio.to_thread(check_keys, settings)
    return "Pushes can be signed with Pod's key."


def check_hook(settings: ImportsSettings) -> str:
    """Whether the command can be run; what was found, in words.

    Raises:
        ConfigurationError: it cannot.
    """
    if not settings.after:
        return "There is none (imports.after)."
    program = _runnable(settings.after[0], "imports.after")
    return f"{program} is run after each import."


async def check_events(settings: EventsSettings) -> str:
    """Whether other programs can be told, as far as can be known without telling them; in words.

    A connection is made, with its TLS; nothing is posted.

    Raises:
        ConfigurationError: they cannot.
    """
    if not settings.enabled:
        return "No other program is told (events.url, events.command)."
    if settings.command:
        program = await asyncio.to_thread(_runnable, settings.command[0], "events.command")
        return f"{program} is run for each event."
    try:
        await reach(settings)
    except DeliveryError as error:
        raise ConfigurationError(f"events.url: {error}") from error
    address = urlsplit(settings.url.get_secret_value())
    words = [f"Events are posted to {address.hostname} ({address.scheme})"]
    if not settings.secret.get_secret_value():
        words.append("unsigned, for events.secret is empty")
    return ", ".join(words) + ". Try it with 'poddispatchd events test'."


def _runnable(name: str, setting: str) -> Path:
    program = Path(name)
    try:
        is_file = program.is_file()
    except OSError as error:
        words = f"{setting}: {program} cannot be reached by this user: {error.strerror}."
        raise ConfigurationError(words) from error
    if not is_file:
        raise ConfigurationError(f"{setting}: {program} does not exist.")
    if not os.access(program, os.X_OK):
        raise ConfigurationError(f"{setting}: {program} cannot be executed by this user.")
    return program
