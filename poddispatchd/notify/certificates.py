"""When the certificates end of those who are told by a server: mail, and outgoing events.

A connection is made for it, as for a mail or an event, and nothing is sent: there may be none for weeks.
"""

from datetime import datetime
from urllib.parse import urlsplit

from poddispatchd.config.notification import EventsSettings, MailSettings
from poddispatchd.notify.event_post import reach
from poddispatchd.notify.smtp import mail_server


async def mail_certificate_end(settings: MailSettings) -> datetime | None:
    """When that of the mail server ends; None where mail goes without TLS, or nowhere.

    Raises:
        DeliveryError: the server cannot be used.
    """
    if not settings.enabled or settings.security == "none":
        return None
    # Nobody's password is needed for it.
    async with mail_server(settings, logs_in=False) as server:
        return server.certificate_end


async def event_certificate_end(settings: EventsSettings) -> datetime | None:
    """When that of ``events.url`` ends; None without TLS, for a command, and behind a proxy.

    Raises:
        DeliveryError: nobody answers there, or not as who is asked for.
    """
    is_secured = urlsplit(settings.url.get_secret_value()).scheme == "https"
    if not settings.enabled or settings.command or not is_secured:
        return None
    return await reach(settings)
