"""Mail as it travels: from values to a message, and to the journal and back."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.domain.display import escaped
from poddispatchd.domain.mail_addresses import domain_of
from poddispatchd.domain.notices import Mail

_POLICY = SMTP.clone(cte_type="7bit")
"""Every server takes plain ASCII."""


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
        message["From"] = mail.sender
        message["To"] = ", ".join(mail.to)
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(date)
        message["Message-ID"] = self.message_id
        # No absence notes in return.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(escaped(mail.text))
        message.add_alternative(escaped(mail.html), subtype="html")
        return message


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(text) for text in value) if isinstance(value, list) else ()
