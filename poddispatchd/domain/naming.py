"""Names of rows and files as Pod and Django make them, so that Pod's pages find what we write."""

import hashlib
import posixpath
import re
import unicodedata
from datetime import datetime, tzinfo

from poddispatchd.domain.media import video_number
from poddispatchd.domain.task import RunnerTaskId, TaskPk, VideoId

_SUFFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_SUFFIX_LENGTH = 7
_FILE_FIELD_LENGTH = 255
_SLUG_LENGTH = 255


def slugify(text: str) -> str:
    """A slug exactly as Django's ``slugify`` makes it (ASCII only, lower case, words joined by one dash)."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    kept = re.sub(r"[^\w\s-]", "", ascii_text.lower())
    return re.sub(r"[-\s]+", "-", kept).strip("-_")


def video_slug(video_id: VideoId, title: str) -> str:
    """The slug Pod gives to a video: its number, a dash, and its title (cut to the column's width)."""
    return f"{video_number(video_id)}-{slugify(title)}"[:_SLUG_LENGTH]


def slugified_file_name(name: str) -> str:
    """The name under which Pod stores a custom file: its stem as a slug, its extension as it stands."""
    stem, extension = posixpath.splitext(posixpath.basename(name))
    return f"{slugify(stem) or 'file'}{extension}"


def collision_suffix(task: TaskPk, runner_task: RunnerTaskId | None, name: str) -> str:
    """Seven characters that look like Django's random ones but are the same for the same import.

    An import that is redone after a crash therefore takes the same name again and leaves no orphan.
    """
    digest = int.from_bytes(hashlib.sha256(f"{task}\0{runner_task}\0{name}".encode()).digest())
    characters = []
    for _ in range(_SUFFIX_LENGTH):
        digest, index = divmod(digest, len(_SUFFIX_ALPHABET))
        characters.append(_SUFFIX_ALPHABET[index])
    return "".join(characters)


def with_suffix(name: str, suffix: str) -> str:
    """The name Django gives when ``name`` is taken: ``_`` and the suffix before the extension."""
    stem, extension = posixpath.splitext(name)
    return f"{stem}_{suffix}{extension}"


def fit_file_field(directory: str, name: str, *, limit: int = _FILE_FIELD_LENGTH) -> str:
    """``directory/name`` with the stem shortened until it fits the database column.

    Raises:
        ValueError: even a stem of one character does not fit.
    """
    path = posixpath.join(directory, name)
    excess = len(path) - limit
    if excess <= 0:
        return path
    stem, extension = posixpath.splitext(name)
    if excess >= len(stem):
        raise ValueError(f"{directory!r} is too long to hold a file")
    return posixpath.join(directory, stem[:-excess] + extension)


def fit_with_suffix(directory: str, name: str, suffix: str) -> str:
    """``directory/name`` with a suffix, which stays whole: of a long name the rest is shortened.

    Raises:
        ValueError: even a stem of one character does not fit.
    """
    room = _FILE_FIELD_LENGTH - len(suffix) - 1
    return with_suffix(fit_file_field(directory, name, limit=room), suffix)


def studio_file_name(moment: datetime) -> str:
    """The name Pod gives to the video file made from a studio recording; ``moment`` in Pod's time zone."""
    return f"studio_base_{moment:%Y-%m-%d_%H-%M-%S.%f}.mp4"


def subtitle_file_name(language: str, moment: datetime) -> str:
    """The name Pod gives to a subtitle file; ``moment`` in Pod's time zone."""
    return f"subtitle_{language}_{moment:%Y%m%d-%H%M%S}.vtt"


def ctime(moment: datetime, zone: tzinfo) -> str:
    """A moment as Pod's logs write it: ``Mon Jan  5 10:00:00 2026``, in Pod's time zone."""
    return moment.astimezone(zone).ctime()
