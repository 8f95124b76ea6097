"""Who is told what: the mail and the pushes that follow from an import or a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from poddispatchd.domain import notice_texts
from poddispatchd.domain.mail_addresses import is_address
from poddispatchd.domain.notice_texts import Body, Failure, NotedVideo, Owner, Uploaded, one_line
from poddispatchd.domain.task import TaskType

__all__ = [
    "Failure",
    "Mail",
    "MailRules",
    "NotedVideo",
    "Owner",
    "PushMessage",
    "completion_mails",
    "completion_push",
    "failure_mails",
    "warning_mails",
]


class MailRules(Struct, frozen=True):
    """Pod's settings about mail; ``establishment_managers`` are addresses by establishment in lower case.

    ``title_site`` is TITLE_SITE, ``language`` LANGUAGE_CODE: everything but French is written in English.
    """

    from_email: str
    server_email: str
    title_site: str
    language: str
    subject_prefix: str = "[Django] "
    admins: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()
    establishment_managers: Mapping[str, tuple[str, ...]] = {}
    on_encoding: bool = True
    on_transcripting: bool = True
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to be sent; nobody sees who is in ``bcc``."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    bcc: tuple[str, ...] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Everybody it goes to, each once."""
        return tuple(dict.fromkeys((*self.to, *self.bcc)))


class PushMessage(Struct, frozen=True):
    """What a browser shows; the names are those that Pod's service worker reads.

    ``icon`` is Pod's own, at the address that the service worker fetches it from when it is installed.
    """

    head: str
    body: str
    url: str
    icon: str = "/static/img/icon_x1024.png"


def completion_mails(rules: MailRules, task_type: TaskType, video: NotedVideo, link: str) -> tuple[Mail, ...]:
    """The mail about a video that was encoded or transcribed, in Pod's order: managers, then the owner.

    As Pod does: with a manager for the owner's establishment there is one mail, to the owner with a blind
    copy. Otherwise the managers get theirs, and the owner one too unless ``debug``. Addresses that no mail
    can be sent to are left out.
    """
    is_transcription = task_type is TaskType.TRANSCRIPTION
    if not (rules.on_transcripting if is_transcription else rules.on_encoding):
        return ()
    subject = one_line(
        f"[{rules.title_site}] " + notice_texts.completion_subject(rules.language, task_type, video.id)
    )
    to_owner = (video.owner.email,) if is_address(video.owner.email) else ()
    copies = rules.establishment_managers.get(video.owner.establishment.lower(), ())
    plain = notice_texts.completion_body(rules.language, task_type, video, link, rules.title_site)
    if copies and to_owner:
        return (_mail(rules.from_email, to_owner, subject, plain, bcc=copies),)
    uploaded = Uploaded(video.owner, video.added_at)
    signed = notice_texts.completion_body(
        rules.language, task_type, video, link, rules.title_site, uploaded=uploaded
    )
    to_managers = copies or rules.managers
    mails = (
        _mail(rules.server_email, to_managers, one_line(rules.subject_prefix + subject), signed),
        _mail(rules.from_email, () if rules.debug else to_owner, subject, plain),
    )
    return tuple(mail for mail in mails if mail.to)


def failure_mails(rules: MailRules, failure: Failure) -> tuple[Mail, ...]:
    """The mail to ADMINS about a task that failed or ran too long; none when there are no ADMINS."""
    if not rules.admins:
        return ()
    # Pod never translates this subject, and filters in mailboxes may rest on it.
    subject = one_line(f"{rules.subject_prefix}[{rules.title_site}] Error Encoding {failure.subject}")
    body = notice_texts.failure_body(rules.language, failure, rules.title_site)
    return (_mail(rules.server_email, rules.admins, subject, body),)


def warning_mails(rules: MailRules, oddity: Failure) -> tuple[Mail, ...]:
    """The mail to ADMINS about a result that was imported and is odd; none when there are no ADMINS."""
    if not rules.admins:
        return ()
    subject = one_line(f"{rules.subject_prefix}[{rules.title_site}] Warning Encoding {oddity.subject}")
    body = notice_texts.warning_body(rules.language, oddity, rules.title_site)
    return (_mail(rules.server_email, rules.admins, subject, body),)


def completion_push(
    *, title_site: str, language: str, task_type: TaskType, video: NotedVideo, link: str
) -> PushMessage | None:
    """What the owner's browsers show; None when nothing is to be shown.

    As Pod does: for encodings, studio recordings included, and to owners who accept notifications.
    """
    if task_type is TaskType.TRANSCRIPTION or not video.owner.accepts_notifications:
        return None
    head = one_line(f"[{title_site}] " + notice_texts.completion_subject(language, task_type, video.id))
    return PushMessage(head, notice_texts.push_body(language, video), link)


def _mail(sender: str, to: tuple[str, ...], subject: str, body: Body, *, bcc: tuple[str, ...] = ()) -> Mail:
    return Mail(sender=sender, to=to, subject=subject, text=body.text, html=body.html, bcc=bcc)
