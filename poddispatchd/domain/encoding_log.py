"""What the log of a video says of an encoding, in the words of its Pod."""

from msgspec import Struct

from poddispatchd.domain.encoding_plan import EncodingContent
from poddispatchd.domain.thumbnails import ThumbnailChoice


class LogStyle(Struct, frozen=True):
    """How this Pod words the end of an encoding in its log."""

    names_thumbnail: bool
    """Since 4.4 it tells the id of the image that became the thumbnail, and writes ``End:``."""

    @classmethod
    def by_version(cls, pod_version: str) -> "LogStyle":
        """What a Pod of this version does."""
        return cls(ThumbnailChoice.by_version(pod_version) is ThumbnailChoice.MIDDLE)


def log_text(
    existing: str | None,
    content: EncodingContent,
    output_directory: str,
    ended_at: str,
    *,
    style: LogStyle,
    thumbnail_id: int | None,
) -> str:
    """The text of a video's EncodingLog after an import.

    Args:
        existing: the text so far; None without a log row.
        content: what was imported.
        output_directory: absolute path of the video's files, as Pod writes it.
        ended_at: the end, in the form of ``ctime``.
        style: of this Pod.
        thumbnail_id: of the image that became the thumbnail; None without a new one.
    """
    messages = [] if existing is None else [existing]
    if content.overview is not None:
        messages.append(f"attach existing overview: {output_directory}/{content.overview}")
    messages.extend(content.warnings)
    attached = "".join(f"\n- {label}\n{output_directory}/{name}" for label, name in content.log)
    if style.names_thumbnail and thumbnail_id is not None:
        attached += f"\n- persisted_thumbnail_id:\n{thumbnail_id}"
    messages.append(attached)
    messages.append(f"End: {ended_at}" if style.names_thumbnail else f"End : {ended_at}")
    return "\n\n".join(messages)
