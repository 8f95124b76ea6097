"""What can be wrong with mail, pushes and commands, as the configuration names them."""

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit

from poddispatchd.config.model import ImportsSettings
from poddispatchd.config.notification import EventsSettings, MailSettings, PushSettings
from poddispatchd.errors import ConfigurationError, DeliveryError
from poddispatchd.notify.smtp import mail_server
from poddispatchd.notify.webpush import check_keys


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
            people = tuple(dict.fromkeys((*settings.admins, *settings.managers)))
            for sender in dict.fromkeys((settings.server_email or settings.from_email, settings.from_email)):
                await server.rehearse(sender, people)
    except DeliveryError as error:
        raise ConfigurationError(str(error)) from error
    login = f", logged in as {settings.username}" if settings.username else ""
    told = f"{len(settings.admins)} admins and {len(settings.managers)} managers are told"
    if not settings.admins:
        told += "; mail.admins is empty, so that nobody learns of failures"
    return f"{settings.host}:{settings.port} answers ({settings.security}{login}); {told}."


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


def check_events(settings: EventsSettings) -> str:
    """Whether other programs can be told, as far as can be known without telling them; in words.

    Raises:
        ConfigurationError: they cannot.
    """
    if not settings.enabled:
        return "No other program is told (events.url, events.command)."
    if settings.command:
        return f"{_runnable(settings.command[0], 'events.command')} is run for each event."
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
