"""The body of ``POST task/execute``, byte for byte as Pod writes it.

Runner managers recognise a request that is already in flight by its content: two attempts of one task must
not differ in a single character, unless a new run is wanted (``Payload.with_attempt``).
"""

import json
import posixpath
import re
from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.domain.media import encoded_media_url, media_url, output_directory, source_file
from poddispatchd.domain.site import Site
from poddispatchd.domain.source import (
    Credits,
    Cut,
    Dressing,
    EncodingSource,
    Source,
    StudioSource,
    TranscriptionSource,
    Video,
    VideoRendition,
)
from poddispatchd.domain.task import TaskType

NOTIFY_PATH = "/runner/notify_task_end/"
"""Where runner managers report the end of a task."""

_APP_NAME = "Esup-Pod"
_DEFAULT_ESTABLISHMENT = "University name"
_DEFAULT_SITE_TITLE = "Pod"

_RESOLUTION = re.compile(r"\d+x(\d+)")
_FRACTION_OF_A_SECOND = re.compile(r"(\d+:\d{2}:\d{2})\.\d+")

OPTIONAL_PARAMETERS = frozenset({"source_language"})
"""Parameters that a task can do without. Runners before 1.5.0 fail a task over ``source_language``."""

_REFUSED = re.compile(r"invalid fields: ([\w, ]+)")

Parameter: TypeAlias = str | int | float | bool


class PayloadSettings(Struct, frozen=True):
    """The part of Pod's settings that shows in payloads; names as in ``config.yaml``'s section ``pod``."""

    version: str
    media_root: str
    https: bool = True
    title_site: str = _DEFAULT_SITE_TITLE
    title_etb: str = _DEFAULT_ESTABLISHMENT
    media_url: str = "/media/"
    language: str = "fr"
    languages: tuple[str, ...] = ("fr", "en")
    transcription_type: str | None = None
    transcription_normalize: bool = False


class Payload(Struct, frozen=True):
    """A request to run a task.

    ``warnings`` says, one sentence each, what was left out and why. ``source_file`` is what the runner will
    fetch, relative to MEDIA_ROOT; ``output_directory`` is where the results of an encoding will be, absolute,
    and empty for other tasks. ``source_size``: bytes of the source file, None where nobody looked.
    """

    etab_name: str
    app_version: str
    task_type: TaskType
    source_url: str
    notify_url: str
    parameters: tuple[tuple[str, Parameter], ...]
    warnings: tuple[str, ...] = ()
    source_file: str = ""
    output_directory: str = ""
    source_size: int | None = None

    def document(self) -> dict[str, str | dict[str, Parameter]]:
        """The body as a mapping, its keys in Pod's order."""
        return {
            "etab_name": self.etab_name,
            "app_name": _APP_NAME,
            "app_version": self.app_version,
            "task_type": self.task_type.value,
            "source_url": self.source_url,
            "notify_url": self.notify_url,
            "parameters": dict(self.parameters),
        }

    def to_bytes(self) -> bytes:
        """The body as it is sent."""
        # As requests, with which Pod posts, writes JSON: ASCII only, a space behind each comma and colon.
        return json.dumps(self.document()).encode("ascii")

    def without(self, names: Collection[str]) -> "Payload":
        """The same task without some optional parameters, for runners that refuse what they do not know."""
        dropped = OPTIONAL_PARAMETERS.intersection(names)
        if not dropped:
            return self
        kept = tuple((name, value) for name, value in self.parameters if name not in dropped)
        return replace(self, parameters=kept)

    def with_attempt(self, attempt: int) -> "Payload":
        """The same task as another request: from the second attempt on, ``notify_url`` carries its number.

        A manager that still holds the dead run of an attempt would otherwise answer with that run's id.
        """
        plain = self.notify_url.partition("?")[0]
        return replace(self, notify_url=plain if attempt < 2 else f"{plain}?attempt={attempt}")


def build_payload(source: Source, site: Site, settings: PayloadSettings) -> Payload:
    """The request that runs a task of ``site``.

    Raises:
        UnsubmittableError: no runner could ever run this; the words are for the task's ``script_output``.
    """
    base = site.base_url(https=settings.https)
    file = source_file(settings.media_root, source)
    warnings: list[str] = []
    directory = ""
    match source:
        case EncodingSource():
            directory = posixpath.join(settings.media_root, output_directory(file, source.video.id))
            task_type = TaskType.ENCODING
            source_url = media_url(base, settings.media_url, file)
            parameters = _encoding(source, base, settings, warnings)
        case TranscriptionSource():
            task_type = TaskType.TRANSCRIPTION
            # Pod takes the address of an encoding from Django, and builds that of a video's file itself.
            write = media_url if source.mp3 is None else encoded_media_url
            source_url = write(base, settings.media_url, file)
            parameters = _transcription(source, settings)
        case StudioSource():
            task_type = TaskType.STUDIO
            source_url = media_url(base, settings.media_url, file)
            parameters = {"rendition": _renditions(source.renditions, warnings)}
    establishment = settings.title_etb or _DEFAULT_ESTABLISHMENT
    return Payload(
        etab_name=f"{establishment} / {settings.title_site or _DEFAULT_SITE_TITLE}",
        app_version=settings.version,
        task_type=task_type,
        source_url=source_url,
        notify_url=base + NOTIFY_PATH,
        parameters=tuple(parameters.items()),
        warnings=tuple(warnings),
        source_file=file,
        output_directory=directory,
    )


def _encoding(
    source: EncodingSource, base: str, settings: PayloadSettings, warnings: list[str]
) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {"rendition": _renditions(source.renditions, warnings)}
    if source.cuts:
        if len(source.cuts) > 1:
            warnings.append(
                f"Video {source.video.id} has {len(source.cuts)} cuts: the newest one is applied."
            )
        parameters["cut"] = _cut(source.cuts[0])
    if source.dressings:
        if len(source.dressings) > 1:
            warnings.append(
                f"Video {source.video.id} has {len(source.dressings)} dressings: "
                f"the newest one ({source.dressings[0].title}) is applied."
            )
        dressing = _dressing(source.dressings[0], base, settings, warnings)
        if dressing is not None:
            parameters["dressing"] = dressing
    return parameters | _identity(source.video, settings)


def _transcription(source: TranscriptionSource, settings: PayloadSettings) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {
        "language": source.language,
        "source_language": source.video.main_lang.strip() or "auto",
        "duration": float(source.video.duration),
        "normalize": settings.transcription_normalize,
        **_identity(source.video, settings),
    }
    if settings.transcription_type:
        parameters["model_type"] = settings.transcription_type
    return parameters


def _identity(video: Video, settings: PayloadSettings) -> dict[str, Parameter]:
    identity: dict[str, Parameter] = {"video_id": video.id, "video_slug": video.slug}
    # A title that is empty everywhere is left out, as Pod leaves out what it has no value for.
    if title := video.title_in((settings.language, *settings.languages)):
        identity["video_title"] = title
    return identity


def _renditions(renditions: tuple[VideoRendition, ...], warnings: list[str]) -> str:
    by_height: dict[int, VideoRendition] = {}
    for rendition in renditions:
        match = _RESOLUTION.fullmatch(rendition.resolution.strip())
        if match is None or int(match[1]) == 0:
            warnings.append(
                f"The rendition {rendition.resolution!r} is left out: "
                "write its resolution as 1280x720 in Pod's administration."
            )
            continue
        height = int(match[1])
        if height in by_height:
            warnings.append(
                f"The rendition {by_height[height].resolution} is left out: "
                f"{rendition.resolution} has the same height."
            )
        by_height[height] = rendition
    return json.dumps(
        {
            str(height): {
                "resolution": rendition.resolution,
                "video_bitrate": rendition.video_bitrate,
                "audio_bitrate": rendition.audio_bitrate,
                "encode_mp4": rendition.encode_mp4,
            }
            for height, rendition in sorted(by_height.items())
        }
    )


def _cut(cut: Cut) -> str:
    start, end = cut.start.replace(microsecond=0), cut.end.replace(microsecond=0)
    if start == end and cut.start < cut.end:
        end = _one_second_later(end)
    duration = _FRACTION_OF_A_SECOND.fullmatch(cut.duration.strip())
    # Runners take a cut with fractions of a second for one of no length at all.
    return json.dumps(
        {
            "start": str(start),
            "end": str(end),
            "initial_duration": cut.duration if duration is None else duration[1],
        }
    )


def _one_second_later(moment: time) -> time:
    return (datetime.combine(date.min, moment) + timedelta(seconds=1)).time()


def _dressing(dressing: Dressing, base: str, settings: PayloadSettings, warnings: list[str]) -> str | None:
    document: dict[str, str | None] = {}
    if dressing.watermark is not None:
        if dressing.watermark.strip():
            document["watermark"] = media_url(base, settings.media_url, dressing.watermark)
            document["watermark_position"] = dressing.position
            if dressing.opacity is not None:
                document["watermark_opacity"] = str(dressing.opacity)
        else:
            warnings.append(
                f"The watermark of the dressing {dressing.title} is left out: its image has no file."
            )
    for place, shown in (("opening_credits", dressing.opening), ("ending_credits", dressing.ending)):
        if shown is None:
            continue
        if not shown.file.strip():
            warnings.append(
                f"The {place.replace('_', ' ')} of the dressing {dressing.title} are left out: "
                f"the video {shown.slug} has no file."
            )
            continue
        document |= _credits(place, shown, base, settings)
    return json.dumps(document) if document else None


def _credits(place: str, shown: Credits, base: str, settings: PayloadSettings) -> dict[str, str]:
    return {
        place: shown.slug,
        f"{place}_video": media_url(base, settings.media_url, shown.file),
        f"{place}_video_duration": str(shown.duration),
    }


def refused_parameters(error: str | None, kind: TaskType) -> frozenset[str]:
    """The optional parameters over which a runner failed a task of a type; none if that was not why.

    Mirrors Esup-Runner: ``Invalid parameters for task type: transcription (invalid fields: …)``. If
    one of them cannot be left out the failure is final: then none is named. Only transcriptions
    have optional ones.
    """
    match = _REFUSED.search(error or "")
    if match is None or kind is not TaskType.TRANSCRIPTION:
        return frozenset()
    fields = frozenset(field.strip() for field in match[1].split(","))
    return fields if fields <= OPTIONAL_PARAMETERS else frozenset()
