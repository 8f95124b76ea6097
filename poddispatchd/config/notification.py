"""Settings of what tells people and other programs: mail, pushes, events."""

from typing import Annotated, Literal

from msgspec import field

from poddispatchd.config.section import AbsolutePath, MailAddress, Mailbox, Section, Subscription
from poddispatchd.config.units import Duration
from poddispatchd.config.validation import Means
from poddispatchd.domain.outgoing_events import Subscribable
from poddispatchd.domain.secret import SecretStr


class MailSettings(Section, frozen=True):
    """Mail about what was imported and what failed; best effort, it never decides about a task."""

    enabled: Annotated[bool, Means("Whether mail is sent at all")] = False
    host: Annotated[str, Means("The SMTP server (EMAIL_HOST)", min_length=1)] = "localhost"
    port: Annotated[int, Means("Its port (EMAIL_PORT): 25, 587 or 465", ge=1, le=65535)] = 25
    security: Annotated[
        Literal["none", "starttls", "tls"], Means("none, starttls (EMAIL_USE_TLS) or tls (EMAIL_USE_SSL)")
    ] = "none"
    ca_file: Annotated[
        AbsolutePath | None, Means("Certificates of the authorities trusted besides the system's (PEM)")
    ] = None
    username: Annotated[str, Means("EMAIL_HOST_USER; empty: no login")] = ""
    password: Annotated[SecretStr, Means("EMAIL_HOST_PASSWORD")] = SecretStr("")
    timeout: Annotated[Duration, Means("Longest wait for the SMTP server", gt=0, le=60)] = 30.0
    from_email: Annotated[Mailbox, Means("Sender of mail to owners (DEFAULT_FROM_EMAIL)")] = ""
    server_email: Annotated[
        Mailbox, Means("Sender of mail to admins and managers (SERVER_EMAIL); empty: as from_email")
    ] = ""
    subject_prefix: Annotated[
        str, Means("Begins the subjects of mail to admins and managers (EMAIL_SUBJECT_PREFIX)")
    ] = "[Django] "
    admins: Annotated[tuple[MailAddress, ...], Means("Addresses of ADMINS: told of failures")] = ()
    managers: Annotated[
        tuple[MailAddress, ...], Means("Addresses of MANAGERS: told of what was imported")
    ] = ()
    use_establishment: Annotated[
        bool,
        Means(
            "USE_ESTABLISHMENT_FIELD: a manager of the owner's establishment gets a blind copy of "
            "the owner's mail, and the managers none of their own"
        ),
    ] = False
    establishment_managers: Annotated[
        dict[str, tuple[MailAddress, ...]],
        Means("The entries of MANAGERS whose name is an establishment in lower case: their addresses"),
    ] = field(default_factory=dict)
    on_encoding_completion: Annotated[bool, Means("EMAIL_ON_ENCODING_COMPLETION")] = True
    on_transcripting_completion: Annotated[bool, Means("EMAIL_ON_TRANSCRIPTING_COMPLETION")] = True
    debug: Annotated[
        bool, Means("DEBUG: owners get no mail, but with a copy to their establishment's manager")
    ] = False


class PushSettings(Section, frozen=True):
    """Web push to the owner of an encoded video (USE_NOTIFICATIONS); wants the extra poddispatchd[push]."""

    enabled: Annotated[bool, Means("USE_NOTIFICATIONS")] = False
    vapid_public_key: Annotated[
        str, Means("VAPID_PUBLIC_KEY of WEBPUSH_SETTINGS; checked against the private one")
    ] = ""
    vapid_private_key: Annotated[SecretStr, Means("VAPID_PRIVATE_KEY of WEBPUSH_SETTINGS")] = SecretStr("")
    admin_email: Annotated[MailAddress, Means("VAPID_ADMIN_EMAIL of WEBPUSH_SETTINGS")] = ""


class EventsSettings(Section, frozen=True):
    """Telling other programs what happens: a chat room, a ticket system. Not in shadow mode."""

    url: Annotated[
        SecretStr,
        Means(
            "An http:// or https:// address that each event is posted to, as JSON; that of a chat "
            "room is a secret"
        ),
    ] = SecretStr("")
    secret: Annotated[
        SecretStr,
        Means(
            "Signs what is posted (Standard Webhooks: HMAC-SHA256 over id, time and body), 24 "
            "characters or more; empty: unsigned"
        ),
    ] = SecretStr("")
    ca_file: Annotated[
        AbsolutePath | None, Means("Certificates of the authorities trusted besides the system's (PEM)")
    ] = None
    command: Annotated[
        tuple[str, ...],
        Means(
            "Or a command run for each event, one at a time: a program (absolute path) and its "
            "arguments, without a shell; it reads the JSON"
        ),
    ] = ()
    timeout: Annotated[
        Duration, Means("Longest wait for the answer, or for the end of the command", gt=0, le=60)
    ] = 10.0
    types: Annotated[tuple[Subscription, ...], Means("What is told; all there is by default")] = Subscribable
    debounce: Annotated[
        Duration,
        Means(
            "How long a runner manager must be down, or up again, and how long nobody must schedule, "
            "until it is told",
            ge=0,
            le=3600,
        ),
    ] = 60.0

    @property
    def enabled(self) -> bool:
        """Whether anything is told."""
        return bool((self.url.get_secret_value() or self.command) and self.types)
