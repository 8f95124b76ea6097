"""From an event to what is delivered: the settings, the people and the words, brought together."""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from msgspec.structs import asdict

from poddispatchd.config.model import Settings
from poddispatchd.database.pool import Database
from poddispatchd.domain.french import ENGLISH, in_language
from poddispatchd.domain.notices import (
    Failure,
    MailRules,
    NotedVideo,
    PushMessage,
    completion_mails,
    completion_push,
    failure_mails,
    warning_mails,
)
from poddispatchd.domain.outgoing_events import EventType, TaskFailure, task_failed
from poddispatchd.domain.site import Site
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, StatementEndedError
from poddispatchd.journal.notices import NoticeEvent
from poddispatchd.notify.event_words import public_reason, wording_of
from poddispatchd.notify.queue import Channel, QueuedEvent
from poddispatchd.notify.smtp import Envelope
from poddispatchd.observability.events import Event
from poddispatchd.pod import recipients
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.runtime.item_errors import words_of

log = structlog.get_logger(__name__)

Planned = tuple[Channel, Mapping[str, object]]


def mail_rules(settings: Settings) -> MailRules:
    """What the configuration says about mail."""
    mail = settings.mail
    # Establishments are compared as Pod does: in lower case.
    by_establishment = {name.lower(): each for name, each in mail.establishment_managers.items()}
    return MailRules(
        from_email=mail.from_email,
        server_email=mail.server_email or mail.from_email,
        title_site=settings.pod.title_site,
        language=settings.pod.language,
        subject_prefix=mail.subject_prefix,
        admins=mail.admins,
        managers=mail.managers,
        establishment_managers=by_establishment if mail.use_establishment else {},
        on_encoding=mail.on_encoding_completion,
        on_transcripting=mail.on_transcripting_completion,
        debug=mail.debug,
    )


def failure_of(notice: QueuedEvent, link: str = "", language: str = ENGLISH) -> Failure:
    """What a mail about a failure, or about an odd result, tells.

    As Pod, its subject names the runner's task when the manager reported the failure, and otherwise the video
    or the recording.
    """
    if notice.is_reported and notice.task_id is not None:
        subject = f"Task id: {notice.task_id}"
    elif notice.video_id is not None:
        subject = f"Video id: {notice.video_id}"
    elif notice.recording_id is not None:
        subject = f"Recording id: {notice.recording_id}"
    else:
        subject = f"Task id: {notice.task_id or notice.task_pk}"
    sources = (("video", notice.video_id), ("recording", notice.recording_id))
    return Failure(
        subject=subject,
        task_type=notice.task_type,
        task=notice.task_pk,
        source=next((f"{kind} {pk}" for kind, pk in sources if pk is not None), "nothing"),
        words=in_language(notice.words, language),
        runner_task=notice.task_id,
        link=link,
    )


def task_link(site: Site, task: int, *, https: bool) -> str:
    """Where a task stands in Pod's administration, whose address is Django's own, as Pod has it."""
    return f"{site.base_url(https=https)}/admin/video_encode_transcript/task/{task}/change/"


def video_link(site: Site, video: NotedVideo, *, https: bool) -> str:
    """Where a video is watched, on the current site as in Pod's mail."""
    return f"{site.base_url(https=https)}/video/{video.slug}/"


class Planner:
    """Finds out what follows from events, with the settings of the moment."""

    def __init__(
        self,
        database: Database,
        capabilities: Callable[[], Capabilities],
        settings: Callable[[], Settings],
        site: Callable[[], Site],
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._capabilities = capabilities
        self._settings = settings
        self._site = site
        self._now = now

    async def deliveries(self, notice: QueuedEvent) -> list[Planned]:
        """Everything that follows from an event; nothing when all of it is disabled."""
        settings = self._settings()
        if notice.event is NoticeEvent.FAILED:
            link = self._task_link(notice)
            told = _to_programs(settings, notice, link, self._now())
            return _about_failure(settings, notice, link) + told
        found: list[Planned] = []
        if settings.imports.after:
            found.append((Channel.HOOK, {"type": notice.task_type.value, "video": notice.video_id}))
        if settings.mail.enabled and notice.words:
            failure = failure_of(notice, self._task_link(notice), settings.pod.language)
            mails = warning_mails(mail_rules(settings), failure)
            found += [(Channel.MAIL, Envelope.of(mail).to_content()) for mail in mails]
        return found + await self._about_completion(settings, notice)

    def _task_link(self, notice: QueuedEvent) -> str:
        return task_link(self._site(), notice.task_pk, https=self._settings().pod.https)

    async def _about_completion(self, settings: Settings, notice: QueuedEvent) -> list[Planned]:
        if notice.video_id is None or not (settings.mail.enabled or settings.push.enabled):
            return []
        if notice.of_campaign:
            # Nobody but an administrator asked for it, and thousands would be told.
            return []
        pod = settings.pod
        video = await recipients.noted_video(
            self._database,
            self._capabilities(),
            notice.video_id,
            languages=(pod.language, *pod.languages),
            time_zone=pod.time_zone,
        )
        if video is None:
            return []
        link = video_link(self._site(), video, https=pod.https)
        found: list[Planned] = []
        if settings.mail.enabled:
            mails = completion_mails(mail_rules(settings), notice.task_type, video, link)
            found += [(Channel.MAIL, Envelope.of(mail).to_content()) for mail in mails]
        if settings.push.enabled:
            message = completion_push(
                title_site=pod.title_site,
                language=pod.language,
                task_type=notice.task_type,
                video=video,
                link=link,
            )
            if message is not None:
                found += await self._pushes(notice, video, message)
        return found

    async def _pushes(self, notice: QueuedEvent, video: NotedVideo, message: PushMessage) -> list[Planned]:
        """One for each browser; tables of web push that cannot be read keep no mail from being sent."""
        try:
            browsers = await recipients.subscriptions(self._database, video.owner.id)
        except (DatabaseUnavailableError, StatementEndedError):
            raise
        except DatabaseError as error:
            log.error(Event.NOTICE_FAILED, channel="push", task=notice.task_pk, reason=words_of(error))  # noqa: TRY400 - words say it all
            return []
        return [(Channel.PUSH, {"subscription": each, **asdict(message)}) for each in browsers]


def _about_failure(settings: Settings, notice: QueuedEvent, link: str) -> list[Planned]:
    if not settings.mail.enabled:
        return []
    mails = failure_mails(mail_rules(settings), failure_of(notice, link, settings.pod.language))
    return [(Channel.MAIL, Envelope.of(mail).to_content()) for mail in mails]


def _to_programs(settings: Settings, notice: QueuedEvent, link: str, now: datetime) -> list[Planned]:
    if not (settings.events.enabled and EventType.TASK_FAILED in settings.events.types):
        return []
    failed = TaskFailure(
        notice.task_pk,
        notice.task_type,
        notice.video_id,
        public_reason(notice.words, settings.pod.language),
        link,
    )
    event = task_failed(str(uuid.uuid4()), now, wording_of(settings.pod), failed)
    return [(Channel.EVENT, event.to_content())]
