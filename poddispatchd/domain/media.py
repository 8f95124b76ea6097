"""Where Pod's media files are: as addresses for runners and as paths below MEDIA_ROOT.

Paths are plain text with forward slashes; nothing here looks at a disk.
"""

import posixpath
from collections.abc import Collection
from urllib.parse import quote, unquote

from poddispatchd.domain.source import EncodingSource, Source, StudioSource, TranscriptionSource, Video
from poddispatchd.domain.task import VideoId
from poddispatchd.errors import UnsubmittableError

POINTS_ELSEWHERE = str.maketrans({"%": "%25", "#": "%23", "?": "%3F"})
"""The characters that make a URL point at another file when they are sent as they stand."""

_UNQUOTED_BY_DJANGO = "/~!*()'"


def media_url(base: str, prefix: str, path: str) -> str:
    """The address of a file below MEDIA_ROOT, written as Pod writes those of videos and images.

    Pod sends spaces and accents as they stand, and so do we; only what would make the address point at
    another file is percent-encoded. ``prefix`` is MEDIA_URL; an absolute one stands for itself.
    """
    return _prefixed(base, prefix) + path.translate(POINTS_ELSEWHERE)


def encoded_media_url(base: str, prefix: str, path: str) -> str:
    """The address of a file below MEDIA_ROOT, written as Django writes that of a file field."""
    return _prefixed(base, prefix) + quote(path.replace("\\", "/"), safe=_UNQUOTED_BY_DJANGO)


def _prefixed(base: str, prefix: str) -> str:
    return base + prefix if prefix.startswith("/") else prefix


def inside_media_root(media_root: str, path: str, what: str) -> str:
    """A path relative to MEDIA_ROOT from one that is relative to it or absolute, ``..`` resolved.

    Args:
        media_root: MEDIA_ROOT, absolute.
        path: the path as Pod stores it.
        what: what the path belongs to, for the words of the error.

    Raises:
        UnsubmittableError: the path is empty or leaves MEDIA_ROOT.
    """
    if not path.strip():
        raise UnsubmittableError(f"{what} has no file: upload it again, or delete the task.")
    root = _normal(media_root).rstrip("/") + "/"
    full = _normal(posixpath.join(root, path))
    relative = full.removeprefix(root)
    if relative in {full, ""}:
        raise UnsubmittableError(
            f"{what} has its file outside MEDIA_ROOT ({path}), where runners cannot fetch it."
        )
    return relative


def _normal(path: str) -> str:
    """An absolute path without ``.``, ``..`` and doubled slashes, two at its beginning included."""
    return posixpath.normpath("/" + path.lstrip("/"))


def video_file(media_root: str, video: Video) -> str:
    """The path of a video's file, relative to MEDIA_ROOT and as Pod stores it.

    Raises:
        UnsubmittableError: the video has no file, or it is not below MEDIA_ROOT.
    """
    inside_media_root(media_root, video.file, f"Video {video.id}")
    if video.file.startswith("/"):
        raise UnsubmittableError(
            f"The file of video {video.id} is not relative to MEDIA_ROOT ({video.file}): Pod cannot serve it."
        )
    return video.file


def source_file(media_root: str, source: Source) -> str:
    """The path, relative to MEDIA_ROOT, of the file that a runner will fetch.

    Raises:
        UnsubmittableError: there is no such file, or it is not below MEDIA_ROOT.
    """
    match source:
        case EncodingSource(video=video):
            return video_file(media_root, video)
        case TranscriptionSource(video=video, mp3=mp3):
            if mp3 is None:
                return video_file(media_root, video)
            inside_media_root(media_root, mp3, f"The audio encoding of video {video.id}")
            return mp3
        case StudioSource(recording=recording):
            return inside_media_root(media_root, recording.source_file, f"Recording {recording.id}")


def video_number(video_id: VideoId) -> str:
    """The id of a video as Pod writes it in slugs and directories: at least four digits."""
    return f"{video_id:04d}"


def output_directory(video_file: str, video_id: VideoId) -> str:
    """The directory of a video's encodings, relative to MEDIA_ROOT: beside its file, named by its id.

    Pod looks for results below the current owner's directory and for encodings beside the file; the two
    differ when the owner changed. Only the latter is used here, for both.
    """
    return posixpath.join(posixpath.dirname(video_file), video_number(video_id))


def is_another_source(source_url: str, files: Collection[str], video_id: VideoId) -> bool:
    """Whether a run that was given an address works on an earlier file of a video.

    Only the name tells: Pod moves the files of a video whose owner changes. A file below the video's output
    directory, as the audio that a transcription gets, does not tell of which source it was made.

    Args:
        source_url: what the runner was given.
        files: of the video now, as Pod stores them, which a runner may be given.
        video_id: its primary key.
    """
    directory, _, name = source_url.rpartition("/")
    if directory.rpartition("/")[2] == video_number(video_id):
        return False
    names = {posixpath.basename(file) for file in files} - {""}
    return bool(names) and names.isdisjoint((name, unquote(name)))


def place_of(path: str, named: Collection[str]) -> str:
    """The directory that a path leads into and that may be a mount: one of ``named``, or of the first level.

    One of Pod's directories may lie in another (``data/videos``): what else is in that says nothing of it.
    """
    above = [place for place in named if path.startswith(f"{place}/")]
    return max(above, key=len, default=path.partition("/")[0])
