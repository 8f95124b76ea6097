"""The words of mail and pushes, in French and English; whatever comes from outside is escaped in HTML."""

from datetime import datetime
from html import escape

from msgspec import Struct

from poddispatchd.domain.task import TaskType, VideoId

_LONGEST_LINE = 300
_LONGEST_WORDS = 4000


class Owner(Struct, frozen=True):
    """The owner of a video; ``establishment`` is empty for one whom Pod never gave an Owner row."""

    id: int
    email: str
    username: str
    name: str = ""
    establishment: str = ""
    accepts_notifications: bool = False


class NotedVideo(Struct, frozen=True):
    """A video that people are told about; ``title`` is in Pod's language."""

    id: VideoId
    title: str
    slug: str
    added_at: datetime
    owner: Owner


class Uploaded(Struct, frozen=True):
    """Who brought a video into Pod, and when (in Pod's time zone)."""

    owner: Owner
    at: datetime


class Failure(Struct, frozen=True):
    """A task that ended badly: ``subject`` as Pod names it (``Video id: 12``), ``words`` for the reason.

    ``link`` leads to the task in Pod's administration.
    """

    subject: str
    task_type: TaskType
    task: int
    source: str
    words: str
    runner_task: str | None = None
    link: str = ""


class Body(Struct, frozen=True):
    """One content in two forms."""

    text: str
    html: str


def one_line(text: str) -> str:
    """A text for one line of a header: without control characters, white space joined, and bounded."""
    joined = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return joined if len(joined) <= _LONGEST_LINE else joined[: _LONGEST_LINE - 1] + "…"


def completion_subject(language: str, task_type: TaskType, video: VideoId) -> str:
    """What Pod writes after the name of the site."""
    if task_type is TaskType.TRANSCRIPTION:
        return (
            f"La transcription du contenu du #{video} est terminée"
            if _is_french(language)
            else f"The transcripting of content #{video} completed"
        )
    # The gender is Pod's: its subject is kept to the letter, for mailboxes filter by it.
    return f"Encodage du #{video} est terminée" if _is_french(language) else f"Encoding #{video} completed"


def completion_body(
    language: str,
    task_type: TaskType,
    video: NotedVideo,
    link: str,
    title_site: str,
    *,
    uploaded: Uploaded | None = None,
) -> Body:
    """What was done to a video and where it is; with ``uploaded``, also who brought it."""
    french = _is_french(language)
    title = _title(video)
    if task_type is TaskType.TRANSCRIPTION:
        done = (
            "Les sous-titres de « {} » sont prêts : la vidéo est maintenant sous-titrée sur {}."
            if french
            else "The subtitles of “{}” are ready: they are now shown with the video on {}."
        )
    else:
        done = (
            "« {} » est prête : la vidéo peut maintenant être regardée sur {}."
            if french
            else "“{}” is ready: the video can now be watched on {}."
        )
    brought = ""
    if uploaded is not None:
        person = one_line(f"{uploaded.owner.name} ({uploaded.owner.username})")
        moment = f"{uploaded.at:%d/%m/%Y %H:%M}" if french else f"{uploaded.at:%Y-%m-%d %H:%M}"
        brought = f"Déposée par {person}, le {moment}." if french else f"Uploaded by {person} on {moment}."
    site = one_line(title_site)
    text = [done.format(title, site), link, brought]
    html = [
        escape(done).format(f"<b>{escape(title)}</b>", escape(site)),
        f'<a href="{escape(link)}">{escape(link)}</a>',
        escape(brought),
    ]
    return _letter(language, text, html)


def failure_body(language: str, failure: Failure, title_site: str) -> Body:
    """Which task failed and why, for the people who run Pod."""
    if _is_french(language):
        return _about_task(language, failure, title_site, "Une tâche de {} a échoué")
    return _about_task(language, failure, title_site, "A task of {} has failed")


def warning_body(language: str, oddity: Failure, title_site: str) -> Body:
    """Whose result was imported although something is odd about it, for the people who run Pod."""
    if _is_french(language):
        return _about_task(
            language, oddity, title_site, "Le résultat d'une tâche de {} est importé, avec réserve"
        )
    return _about_task(
        language, oddity, title_site, "The result of a task of {} was imported, with a warning"
    )


def _about_task(language: str, failure: Failure, title_site: str, sentence: str) -> Body:
    words = _shortened(failure.words.strip())
    words = "".join(char if char == "\n" or char.isprintable() else " " for char in words).strip()
    known = one_line(failure.runner_task or "-")
    source, said = one_line(failure.source), sentence.format(one_line(title_site))
    if _is_french(language):
        what = (
            f"{said} : tâche {failure.task} ({failure.task_type.value}, {source}), "
            f"connue de son gestionnaire sous le nom {known}."
        )
    else:
        what = (
            f"{said}: task {failure.task} ({failure.task_type.value}, {source}), "
            f"known to its runner manager as {known}."
        )
    link = escape(failure.link)
    return _letter(
        language,
        [what, words, failure.link],
        [
            escape(what),
            f"<code>{escape(words).replace(chr(10), '<br>')}</code>" if words else "",
            f'<a href="{link}">{link}</a>' if link else "",
        ],
    )


def _shortened(words: str) -> str:
    """Long words without their middle: why a script ended, and what a person can do, stands at their end."""
    half = _LONGEST_WORDS // 2
    return words if len(words) <= _LONGEST_WORDS else f"{words[:half]}\n[…]\n{words[-half:]}"


def push_body(language: str, video: NotedVideo) -> str:
    """One sentence for a browser to show."""
    title = _title(video)
    return f"« {title} » est prête." if _is_french(language) else f"“{title}” is ready."


def _letter(language: str, text: list[str], html: list[str]) -> Body:
    hello, regards = ("Bonjour,", "Cordialement.") if _is_french(language) else ("Hello,", "Regards.")
    paragraphs = "".join(f"<p>{part}</p>" for part in (hello, *html, regards) if part)
    return Body(
        text="\n\n".join(part for part in (hello, *text, regards) if part) + "\n",
        html=f'<!DOCTYPE html><html lang="{_tag(language)}"><body>{paragraphs}</body></html>',
    )


def _title(video: NotedVideo) -> str:
    return one_line(video.title) or f"#{video.id}"


def _is_french(language: str) -> bool:
    return language.partition("-")[0] == "fr"


def _tag(language: str) -> str:
    return "fr" if _is_french(language) else "en"
