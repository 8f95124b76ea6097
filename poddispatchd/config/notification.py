"""Settings of what tells people and other programs: mail, pushes, events."""

from typing import Literal

from pydantic import Field, SecretStr

from poddispatchd.config.section import AbsolutePath, MailAddress, Mailbox, Section, Subscription
from poddispatchd.config.units import Duration
from poddispatchd.domain.outgoing_events import Subscribable


class MailSettings(Section):
    """Mail about what was imported and what failed; best effort, it never decides about a task."""

    enabled: bool = Field(default=False, description="Whether mail is sent at all")
    host: str = Field(default="localhost", min_length=1, description="The SMTP server (EMAIL_HOST)")
    port: int = Field(default=25, ge=1, le=65535, description="Its port (EMAIL_PORT): 25, 587 or 465")
    security: Literal["none", "starttls", "tls"] = Field(
        default="none", description="none, starttls (EMAIL_USE_TLS) or tls (EMAIL_USE_SSL)"
    )
    ca_file: AbsolutePath | None = Field(
        default=None, description="Certificates of the authorities trusted besides the system's (PEM)"
    )
    username: str = Field(default="", description="EMAIL_HOST_USER; empty: no login")
    password: SecretStr = Field(default=SecretStr(""), description="EMAIL_HOST_PASSWORD")
    timeout: Duration = Field(default=30.0, gt=0, le=60, description="Longest wait for the SMTP server")
    from_email: Mailbox = Field(default="", description="Sender of mail to owners (DEFAULT_FROM_EMAIL)")
    server_email: Mailbox = Field(
        default="",
        description="Sender of mail to admins and managers (SERVER_EMAIL); empty: as from_email",
    )
    subject_prefix: str = Field(
        default="[Django] ",
        description="Begins the subjects of mail to admins and managers (EMAIL_SUBJECT_PREFIX)",
    )
    admins: tuple[MailAddress, ...] = Field(default=(), description="Addresses of ADMINS: told of failures")
    managers: tuple[MailAddress, ...] = Field(
        default=(), description="Addresses of MANAGERS: told of what was imported"
    )
    use_establishment: bool = Field(
        default=False,
        description="USE_ESTABLISHMENT_FIELD: a manager of the owner's establishment gets a blind copy of "
        "the owner's mail, and the managers none of their own",
    )
    establishment_managers: dict[str, tuple[MailAddress, ...]] = Field(
        default_factory=dict,
        description="The entries of MANAGERS whose name is an establishment in lower case: their addresses",
    )
    on_encoding_completion: bool = Field(default=True, description="EMAIL_ON_ENCODING_COMPLETION")
    on_transcripting_completion: bool = Field(default=True, description="EMAIL_ON_TRANSCRIPTING_COMPLETION")
    debug: bool = Field(
        default=False,
        description="DEBUG: owners get no mail, but with a copy to their establishment's manager",
    )


class PushSettings(Section):
    """Web push to the owner of an encoded video (USE_NOTIFICATIONS); wants the extra poddispatchd[push]."""

    enabled: bool = Field(default=False, description="USE_NOTIFICATIONS")
    vapid_public_key: str = Field(
        default="", description="VAPID_PUBLIC_KEY of WEBPUSH_SETTINGS; checked against the private one"
    )
    vapid_private_key: SecretStr = Field(
        default=SecretStr(""), description="VAPID_PRIVATE_KEY of WEBPUSH_SETTINGS"
    )
    admin_email: MailAddress = Field(default="", description="VAPID_ADMIN_EMAIL of WEBPUSH_SETTINGS")


class EventsSettings(Section):
    """Telling other programs what happens: a chat room, a ticket system. Not in shadow mode."""

    url: SecretStr = Field(
        default=SecretStr(""),
        description="An http:// or https:// address that each event is posted to, as JSON; that of a chat "
        "room is a secret",
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="Signs what is posted (Standard Webhooks: HMAC-SHA256 over id, time and body), 24 "
        "characters or more; empty: unsigned",
    )
    ca_file: AbsolutePath | None = Field(
        default=None, description="Certificates of the authorities trusted besides the system's (PEM)"
    )
    command: tuple[str, ...] = Field(
        default=(),
        description="Or a command run for each event, one at a time: a program (absolute path) and its "
        "arguments, without a shell; it reads the JSON",
    )
    timeout: Duration = Field(
        default=10.0, gt=0, le=60, description="Longest wait for the answer, or for the end of the command"
    )
    types: tuple[Subscription, ...] = Field(
        default=Subscribable, description="What is told; all there is by default"
    )
    debounce: Duration = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="How long a runner manager must be down, or up again, and how long nobody must schedule, "
        "until it is told",
    )

    @property
    def enabled(self) -> bool:
        """Whether anything is told."""
        return bool((self.url.get_secret_value() or self.command) and self.types)
