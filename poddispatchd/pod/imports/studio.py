"""Bringing the result of a studio task into Pod: exactly one new video, whatever crashes."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from poddispatchd.config.model import PodSettings
from poddispatchd.database.pool import Connection
from poddispatchd.domain.naming import studio_file_name, video_slug
from poddispatchd.domain.retention import date_of_deletion
from poddispatchd.domain.source import title_suffixes
from poddispatchd.domain.task import SiteId, VideoId
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.imports.encoding import encoding_tables, write_encoding
from poddispatchd.pod.imports.encoding_files import Encoded, prepare_encoded
from poddispatchd.pod.imports.facts import VideoFacts
from poddispatchd.pod.imports.plan import ImportedResult, StagedResult
from poddispatchd.pod.imports.studio_rows import StudioRecording, insert_video, read_recording

BASE_FILE = "studio_base.mp4"
"""The file of the result that becomes the video's own file."""


class StudioPlan(Struct, frozen=True):
    """A checked studio result: a video that is going to be made."""

    recording: StudioRecording
    video: VideoFacts
    values: Mapping[str, object]
    site: SiteId
    encoded: Encoded

    @property
    def result(self) -> StagedResult:
        """What it came in."""
        return self.encoded.result

    @property
    def brought(self) -> frozenset[str]:
        """The files that it puts in place, relative to MEDIA_ROOT."""
        return self.encoded.brought

    @property
    def stored(self) -> tuple[str, ...]:
        """Those of them whose names were chosen because nothing was there."""
        return self.encoded.stored

    def apply_files(self) -> None:
        """Put every file into place (blocking)."""
        self.encoded.apply()

    async def write_rows(self, connection: Connection) -> ImportedResult:
        """Make the video with all its rows.

        Raises:
            RaceLostError: the video exists already.
            SourceReplacedError: the file of the recording was replaced since the plan was made.
        """
        warnings = await insert_video(
            connection, self.result.capabilities, self.recording, self.video.id, self.values, site=self.site
        )
        content = self.encoded.content
        said = (*self.recording.warnings, *warnings, *content.warnings)
        encoded = replace(self.encoded, content=replace(content, warnings=said))
        obsolete, chained = await write_encoding(connection, self.video, encoded)
        return ImportedResult(
            video_id=self.video.id,
            summary=f"Video {self.video.id} was made from the recording; it has {content.words}.",
            obsolete_files=obsolete,
            warnings=said,
            alerts=content.alerts,
            chained_transcription=chained,
        )


async def prepare(result: StagedResult, *, video_id: VideoId, created_at: datetime) -> StudioPlan:
    """Check a staged result of a studio task and plan its import; nothing visible is touched.

    Args:
        result: what was downloaded.
        video_id: reserved for this task, the same at every attempt.
        created_at: the moment it was reserved, the same at every attempt: the file is named after it.

    Raises:
        SchemaError: this Pod is newer than we know.
        ResultIncompleteError: something is missing or cut short; every finding is told.
        ResultRefusedError: the result must not be imported; every finding is told.
        SourceReplacedError: it was made of a file that the recording has no more, or of another recording.
    """
    settings, capabilities = result.settings, result.capabilities
    capabilities.check_insert("video_video", "video_video_sites", *encoding_tables(capabilities))
    recording = await read_recording(result.database, result.task)
    if result.source_url is not None:
        recording.check_source(recording.source_file, given=result.source_url, video_id=video_id)
    moment = created_at.astimezone(result.zone)
    video = _video(settings, recording, video_id, moment)
    encoded = await prepare_encoded(
        result,
        video,
        recording.renditions,
        elsewhere={BASE_FILE: video.video},
        also_required={BASE_FILE: "the video made from the recording"},
    )
    return StudioPlan(
        recording=recording,
        video=video,
        values=_values(settings, capabilities, recording, video, moment),
        site=SiteId(settings.site_id),
        encoded=encoded,
    )


def _video(
    settings: PodSettings, recording: StudioRecording, video_id: VideoId, created_at: datetime
) -> VideoFacts:
    return VideoFacts(
        id=video_id,
        video=f"{settings.videos_dir}/{recording.hashkey}/{studio_file_name(created_at)}",
        slug=video_slug(video_id, recording.title),
        owner_id=recording.owner_id,
        main_lang=str(recording.values["main_lang"]),
        transcript=str(recording.values["transcript"] or "") if settings.use_transcription else "",
        overview="",
        hashkey=recording.hashkey,
    )


def _values(
    settings: PodSettings,
    capabilities: Capabilities,
    recording: StudioRecording,
    video: VideoFacts,
    created_at: datetime,
) -> dict[str, object]:
    """Every column of the new row, as Pod's own code fills it; the title also in the site's language."""
    values: dict[str, object] = {
        **recording.values,
        "id": video.id,
        "video": video.video,
        "title": recording.title,
        "slug": video.slug,
        "description": "",
        "date_added": created_at.isoformat(),
        "date_evt": created_at.date().isoformat(),
        "transcript": video.transcript,
        "order": 1,
        "duration": 0,
        "overview": "",
        "encoding_in_progress": False,
        "is_video": True,
        "date_delete": date_of_deletion(
            created_at.date(),
            recording.affiliation,
            settings.accommodation_years,
            settings.default_year_date_delete,
        ).isoformat(),
        "owner_id": video.owner_id,
        "thumbnail_id": None,
    }
    # As the columns of translated titles are named: title_pt_br for the language pt-br.
    known = (suffix for suffix in title_suffixes(settings.language) if suffix in capabilities.title_languages)
    if (suffix := next(known, None)) is not None:
        values[f"title_{suffix}"] = recording.title
    return values
