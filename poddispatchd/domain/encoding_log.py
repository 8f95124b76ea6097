"""What a video's EncodingLog says about an import."""

from poddispatchd.domain.encoding_plan import EncodingContent
from poddispatchd.domain.thumbnails import ThumbnailChoice


def log_text(
    existing: str | None,
    content: EncodingContent,
    output_directory: str,
    ended_at: str,
    *,
    pod_version: str,
    thumbnail_id: int | None,
) -> str:
    """The text of a video's EncodingLog after an import, in the words of its Pod.

    Args:
        existing: the text so far; None without a log row.
        content: what was imported.
        output_directory: absolute path of the video's files, as Pod writes it.
        ended_at: the end, in the form of ``ctime``.
        pod_version: since 4.4 the log tells the id of the thumbnail's image, and has no spaces before colons.
        thumbnail_id: of the image that became the thumbnail; None without a new one.
    """
    is_new = ThumbnailChoice.by_version(pod_version) is ThumbnailChoice.MIDDLE
    messages = [] if existing is None else [existing]
    if content.overview is not None:
        messages.append(f"attach existing overview: {output_directory}/{content.overview}")
    messages.extend(content.warnings)
    labels = ((label.replace(" :", ":") if is_new else label, name) for label, name in content.log)
    attached = "".join(f"\n- {label}\n{output_directory}/{name}" for label, name in labels)
    if is_new and thumbnail_id is not None:
        attached += f"\n- persisted_thumbnail_id:\n{thumbnail_id}"
    messages.append(attached)
    messages.append(f"End: {ended_at}" if is_new else f"End : {ended_at}")
    return "\n\n".join(messages)
