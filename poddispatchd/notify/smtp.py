"""Mail as it travels: from values to a message, to the journal and back, and to the SMTP server."""

import asyncio
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import aiosmtplib
from aiosmtplib.errors import (
    SMTPException,
    SMTPRecipientRefused,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)
from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.config.certificate_files import trust
from poddispatchd.config.notification import MailSettings
from poddispatchd.domain.certificate_ends import end_of_peer
from poddispatchd.domain.certificates import Remedies, words_of
from poddispatchd.domain.display import escaped
from poddispatchd.domain.mail_addresses import address_of, domain_of, sender_of
from poddispatchd.domain.notices import Mail
from poddispatchd.errors import DeliveryError, DeliveryRefusedError
from poddispatchd.notify.mail_words import (
    error_words,
    line_of,
    named_answers,
    unnamed_answers,
    without_people,
)

_POLICY = SMTP.clone(cte_type="7bit")
"""Every server takes plain ASCII."""

_REMEDIES = Remedies(name="put a name that it holds into mail.host", authority="set mail.ca_file to")

_LONGEST_SEND = 120.0
"""Seconds for one mail: each of its recipients may cost the time of an answer."""
_LONGEST_CONNECT = 60.0
"""Seconds until it takes mail: connecting, TLS, greetings and login, each of which has ``mail.timeout``."""
_QUIT_WITHIN = 5.0
_NAME_WITHIN = 5.0
_ABOUT_US = (530, 534, 535, 538)
"""Answers that want a login, or an encrypted connection: the configuration is wrong, not the mail."""


class Envelope(Struct, frozen=True):
    """A mail on its way. ``left`` are the recipients that no server has accepted it for yet.

    The message id is chosen once: a server, or a mailbox, that got it although its answer was lost can tell
    that it is the same.
    """

    mail: Mail
    message_id: str
    left: tuple[str, ...]

    @classmethod
    def of(cls, mail: Mail) -> "Envelope":
        """A mail that nobody has been sent yet."""
        domain = domain_of(mail.sender) or "localhost"
        return cls(mail, f"<{uuid.uuid4()}.poddispatchd@{domain}>", mail.recipients)

    def to_content(self) -> dict[str, object]:
        """Plain data for the journal."""
        mail = self.mail
        return {
            "sender": mail.sender,
            "to": list(mail.to),
            "bcc": list(mail.bcc),
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "message_id": self.message_id,
            "left": list(self.left),
        }

    @classmethod
    def from_content(cls, content: Mapping[str, object]) -> "Envelope":
        """The same from the journal."""
        mail = Mail(
            sender=str(content["sender"]),
            to=_texts(content["to"]),
            subject=str(content["subject"]),
            text=str(content["text"]),
            html=str(content["html"]),
            bcc=_texts(content["bcc"]),
        )
        return cls(mail, str(content["message_id"]), _texts(content["left"]))

    def only_to(self, left: tuple[str, ...]) -> "Envelope":
        """The same, for those who have not got it."""
        return replace(self, left=left)

    def message(self, date: datetime) -> EmailMessage:
        """What is sent: both forms of the text; blind copies are in no header."""
        mail = self.mail
        message = EmailMessage(policy=_POLICY)
        message["From"] = sender_of(mail.sender) or mail.sender
        message["To"] = ", ".join(mail.to)
        # "=?" would begin an encoded word, which may stand for line breaks and what comes behind them; ids of
        # runner managers are in subjects.
        message["Subject"] = mail.subject.replace("=?", "= ?")
        message["Date"] = format_datetime(date)
        # The one of the journal: sent again after a lost answer, it is the same mail.
        message["Message-ID"] = self.message_id
        # No absence notes in return.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(escaped(mail.text))
        message.add_alternative(escaped(mail.html), subtype="html")
        return message


class Sent(Struct, frozen=True):
    """What became of a mail that the server took: for whom to try again, and who never gets it."""

    left: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    words: str = ""


class MailServer:
    """A connection to the SMTP server."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client

    @property
    def is_connected(self) -> bool:
        """Whether another mail can be tried on this connection."""
        return self._client.is_connected

    @property
    def certificate_end(self) -> datetime | None:
        """When the server's certificate ends; None without TLS."""
        transport = self._client.transport
        return None if transport is None else end_of_peer(transport.get_extra_info("ssl_object"))

    async def rehearse(self, sender: str, recipients: Sequence[str]) -> None:
        """Find out whether it would take a mail, as far as it says so before it gets one; none is sent.

        Whom it wants to be asked about again later (4xx: greylisting) it may well take.

        Raises:
            DeliveryError: it never would; the words name each address with its answer.
        """
        refused: dict[str, tuple[int, str]] = {}
        try:
            await self._client.mail(address_of(sender))
            for recipient in recipients:
                try:
                    await self._client.rcpt(recipient)
                except SMTPRecipientRefused as error:
                    if error.code >= 500:
                        refused[recipient] = (error.code, error.message)
            await self._client.rset()
        except SMTPSenderRefused as error:
            if error.code >= 500:
                refused[error.sender] = (error.code, error.message)
            with suppress(SMTPException, OSError):
                await self._client.rset()
        except (SMTPException, OSError) as error:
            raise DeliveryError(error_words(error)) from error
        if refused:
            raise DeliveryError(named_answers(refused))

    async def send(self, envelope: Envelope, date: datetime) -> Sent:
        """Send a mail to those who have not got it.

        Raises:
            DeliveryRefusedError: the server wants it for nobody, now or ever.
            DeliveryError: it took it for nobody; or it did not say whether it did.
        """
        message, people = envelope.message(date).as_bytes(), list(envelope.left)
        try:
            async with asyncio.timeout(_LONGEST_SEND):
                refused, _ = await self._client.sendmail(address_of(envelope.mail.sender), people, message)
        except SMTPRecipientsRefused as error:
            answers = {each.recipient: (each.code, each.message) for each in error.recipients}
            sent = _sorted_out(answers, of=len(people))
            if not sent.left:
                raise DeliveryRefusedError(sent.words) from error
            if not sent.refused:
                raise DeliveryError(sent.words) from error
            return sent
        except SMTPResponseException as error:
            # Whatever comes next on this connection would meet the same.
            if error.code in _ABOUT_US:
                self._client.close()
            kind = DeliveryRefusedError if _is_final(error.code) else DeliveryError
            raise kind(line_of(f"{error.code} {without_people(error.message, people)}")) from error
        except (SMTPException, OSError) as error:
            # Nobody knows how far it came.
            self._client.close()
            raise DeliveryError(without_people(error_words(error), people)) from error
        answers = {who: (answer.code, answer.message) for who, answer in refused.items()}
        return _sorted_out(answers, of=len(people))


@asynccontextmanager
async def mail_server(settings: MailSettings, *, logs_in: bool = True) -> AsyncIterator[MailServer]:
    """A connection to the configured server, logged in if a user is configured, and ``logs_in``.

    Raises:
        DeliveryError: there is none to be had; the words say why, and hold no password.
    """
    where = f"The mail server {settings.host}:{settings.port} cannot be used"
    try:
        context = None if settings.security == "none" else _tls(settings)
    except (OSError, ValueError) as error:
        raise DeliveryError(f"{where}: mail.ca_file {settings.ca_file}: {error_words(error)}") from error
    has_user = logs_in and bool(settings.username)
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        local_hostname=await _own_name(),
        timeout=settings.timeout,
        use_tls=settings.security == "tls",
        start_tls=settings.security == "starttls",
        username=settings.username if has_user else None,
        password=settings.password.get_secret_value() if has_user else None,
        tls_context=context,
    )
    try:
        async with asyncio.timeout(_LONGEST_CONNECT):
            await client.connect()
    except (SMTPException, OSError, ValueError) as error:
        client.close()
        found = _certificate_error(error)
        words = error_words(error) if found is None else f"its certificate {words_of(found, _REMEDIES)}"
        raise DeliveryError(f"{where}: {words}") from error
    try:
        yield MailServer(client)
    finally:
        try:
            with suppress(SMTPException, OSError):
                await client.quit(timeout=_QUIT_WITHIN)
        finally:
            # Also of whoever gives up on the farewell: the library keeps the connection then.
            client.close()


async def _own_name() -> str:
    """The name under which this machine greets a mail server, with its domain if that can be found out.

    Looked up as every other name is: the library would do it in a thread of the event loop's pool, where name
    servers that do not answer keep everybody else from working, and the process from ending.
    """
    name = socket.gethostname()
    if "." not in name:
        with suppress(OSError, ValueError):
            async with asyncio.timeout(_NAME_WITHIN):
                found = await asyncio.get_running_loop().getaddrinfo(name, None, flags=socket.AI_CANONNAME)
            name = next((known for _, _, _, known, _ in found if "." in known), name)
    return name


def _tls(settings: MailSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        trust(context, settings.ca_file)
    return context


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The one behind an error of the library."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _is_final(code: int) -> bool:
    return code >= 500 and code not in _ABOUT_US


def _sorted_out(answers: Mapping[str, tuple[int, str]], *, of: int) -> Sent:
    if not answers:
        return Sent()
    return Sent(
        left=tuple(who for who, (code, _) in answers.items() if not _is_final(code)),
        refused=tuple(who for who, (code, _) in answers.items() if _is_final(code)),
        words=unnamed_answers(answers, of=of),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(text) for text in value) if isinstance(value, list) else ()
