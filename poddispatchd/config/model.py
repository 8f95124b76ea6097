"""Every setting, its type, its default and its meaning.

The description of a field is what ``config.yaml.example`` prints above it. Defaults are right for a plain Pod
on one Debian machine; where a setting mirrors one of Pod's, the description names it.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import field

from poddispatchd.config.listeners import OpsSettings, WebhookSettings
from poddispatchd.config.notification import EventsSettings, MailSettings, PushSettings
from poddispatchd.config.section import AbsolutePath, Section, TimeZone
from poddispatchd.config.units import Duration, FileMode, Size, Windows
from poddispatchd.config.validation import Means
from poddispatchd.domain.secret import SecretStr

Years = Annotated[int, Means("How many years", ge=0, le=1000)]
"""How long something is kept: no date is so far away that there is none."""


class DatabaseSettings(Section, frozen=True):
    """Pod's PostgreSQL database."""

    dsn: Annotated[
        SecretStr, Means("Address of Pod's database: postgresql://user:password@host:port/database")
    ] = SecretStr("postgresql:///pod")
    pool_size: Annotated[int, Means("Connections kept at most", ge=2, le=100)] = 5


_BELOW = r"^[^/.][^/]*(/[^/.][^/]*)*$"
"""One directory, or some in each other, none of them hidden."""


class PodSettings(Section, frozen=True):
    """How this Pod is set up; the names of its own settings are in capitals."""

    version: Annotated[
        str,
        Means(
            "Pod's version (VERSION), sent to runner managers as app_version; from 4.4 on, the "
            "middle one of a video's thumbnails is taken, before it the first"
        ),
    ] = "4.3.0"
    site_id: Annotated[int, Means("The current site (SITE_ID)", ge=1)] = 1
    https: Annotated[bool, Means("Pod's addresses start with https:// (SECURE_SSL_REDIRECT)")] = True
    title_site: Annotated[str, Means("TITLE_SITE of TEMPLATE_VISIBLE_SETTINGS")] = "Pod"
    title_etb: Annotated[str, Means("TITLE_ETB of TEMPLATE_VISIBLE_SETTINGS")] = "University name"
    media_root: Annotated[AbsolutePath, Means("Pod's media tree (MEDIA_ROOT)")] = Path(
        "/usr/local/django_projects/podv4/pod/media"
    )
    media_url: Annotated[str, Means("MEDIA_URL", pattern=r"^(/[^/]|https?://[^/]).*/$")] = "/media/"
    videos_dir: Annotated[
        str, Means("Directory of videos inside media_root (VIDEOS_DIR)", pattern=_BELOW)
    ] = "videos"
    files_dir: Annotated[
        str,
        Means("Directory of thumbnails and subtitles inside media_root (FILES_DIR)", pattern=_BELOW),
    ] = "files"
    opencast_files_dir: Annotated[
        str,
        Means("Directory of studio recordings inside media_root (OPENCAST_FILES_DIR)", pattern=_BELOW),
    ] = "opencast-files"
    file_permissions: Annotated[
        FileMode, Means("Mode of the files written (FILE_UPLOAD_PERMISSIONS), in quotes; null: the umask")
    ] = 0o644
    use_podfile: Annotated[bool, Means("USE_PODFILE; checked against the database at start")] = False
    use_transcription: Annotated[bool, Means("USE_TRANSCRIPTION")] = False
    transcription_type: Annotated[
        str | None, Means("TRANSCRIPTION_TYPE, sent as model_type; null: not set, not sent")
    ] = None
    transcription_normalize: Annotated[bool, Means("TRANSCRIPTION_NORMALIZE")] = False
    captions_strict_accessibility: Annotated[bool, Means("CAPTIONS_STRICT_ACCESSIBILITY")] = False
    language: Annotated[str, Means("LANGUAGE_CODE", pattern=r"^[a-z]{2}(-[a-z]+)?$")] = "fr"
    output_language: Annotated[
        Literal["en", "fr"],
        Means(
            "Language of the reasons that poddispatchd writes into a task's script_output and onto "
            "the video's page: en or fr ('poddispatchd config import' takes it from LANGUAGE_CODE)"
        ),
    ] = "en"
    languages: Annotated[
        tuple[str, ...],
        Means(
            "Languages whose titles stand in for missing ones (MODELTRANSLATION_FALLBACK_LANGUAGES)",
            min_length=1,
        ),
    ] = ("fr", "en")
    time_zone: Annotated[TimeZone, Means("TIME_ZONE")] = "Europe/Paris"
    encoding_choices: Annotated[tuple[str, ...], Means("Names of ENCODING_CHOICES")] = (
        "audio",
        "360p",
        "480p",
        "720p",
        "1080p",
        "playlist",
    )
    accommodation_years: Annotated[
        dict[str, Years], Means("ACCOMMODATION_YEARS: years a video is kept, by affiliation of its owner")
    ] = field(default_factory=dict)
    default_year_date_delete: Annotated[int, Means("DEFAULT_YEAR_DATE_DELETE, in years", ge=1, le=1000)] = 2

    @property
    def directories(self) -> tuple[str, ...]:
        """Those inside media_root that have names of their own."""
        return self.videos_dir, self.files_dir, self.opencast_files_dir


class DispatchSettings(Section, frozen=True):
    """Handing pending tasks to runner managers."""

    poll_interval: Annotated[
        Duration, Means("How often pending tasks are looked for when nothing announces them", gt=0)
    ] = 20.0
    grace: Annotated[
        Duration, Means("How long a new task is left to Pod's own immediate submission", ge=0)
    ] = 30.0
    sites: Annotated[tuple[str, ...], Means("Domains of the sites served; empty: all")] = ()
    fair_share: Annotated[
        Literal["none", "owner", "establishment"],
        Means(
            "Inside a class of Pod's order, who had least runner time lately goes first: owner or "
            "establishment; none: Pod's order"
        ),
    ] = "none"
    fair_share_delay: Annotated[
        Duration, Means("For how long a task may be put back by it at most, beyond Pod's order", gt=0)
    ] = 7200.0


class RunnersSettings(Section, frozen=True):
    """Talking to runner managers."""

    request_timeout: Annotated[
        Duration, Means("Longest wait for an answer: a manager asks its runners one by one, 5s each", gt=0)
    ] = 60.0
    submissions_per_minute: Annotated[
        int,
        Means(
            "Tasks offered to one manager at most: some refuse more than 120; 0: any number", ge=0, le=6000
        ),
    ] = 100
    ca_file: Annotated[
        AbsolutePath | None, Means("Certificates of the authorities trusted besides the system's (PEM)")
    ] = None


class WindowsSettings(Section, frozen=True):
    """Hours in which tasks are submitted: 20:00-07:00, or mon-fri 18:00-08:00; sat,sun. What runs goes on."""

    task_types: Annotated[
        dict[Literal["encoding", "studio", "transcription"], Windows],
        Means("By type of task, as {transcription: 20:00-07:00}; a type without hours: always"),
    ] = field(default_factory=dict)
    runner_managers: Annotated[
        dict[str, Windows],
        Means("By the name of a runner manager; both must be open for a task to be submitted"),
    ] = field(default_factory=dict)
    time_zone: Annotated[TimeZone | None, Means("Their time zone, as Europe/Paris; null: pod.time_zone")] = (
        None
    )


class ReconcileSettings(Section, frozen=True):
    """Asking runner managers about running tasks."""

    interval: Annotated[Duration, Means("How often one running task is asked about", gt=0)] = 60.0
    running_after: Annotated[Duration, Means("A task is not asked about before it is this old", ge=0)] = 300.0
    stale_after: Annotated[
        Duration,
        Means("A task running for longer, or a type waiting for longer while none runs, is reported", gt=0),
    ] = 7200.0
    lost: Annotated[
        Literal["requeue", "fail"], Means("What becomes of a task its manager has forgotten: requeue or fail")
    ] = "requeue"
    max_attempts: Annotated[int, Means("Submissions of one task before it fails for good", ge=1)] = 3
    retry_wait: Annotated[
        Duration,
        Means("Longest wait before a task is submitted again; doubles each time, up to 10m", ge=0, le=600),
    ] = 20.0


class ImportsSettings(Section, frozen=True):
    """Bringing results into Pod."""

    concurrency: Annotated[
        int,
        Means(
            "Results fetched at once, while at most as many others are put in place; slow ones do not keep "
            "the slots from other runner managers",
            ge=1,
            le=32,
        ),
    ] = 2
    max_attempts: Annotated[int, Means("Attempts to import one result before it fails for good", ge=1)] = 5
    max_size: Annotated[Size, Means("Largest result accepted, all files together", gt=0)] = 200 * 2**30
    keep_free: Annotated[Size, Means("Space that an import leaves free under media_root", ge=0)] = 2**30
    first_byte_timeout: Annotated[
        Duration,
        Means(
            "Longest wait for the first byte of a file: a manager without shared storage reads all "
            "of it from its runner before",
            gt=0,
            le=3600,
        ),
    ] = 300.0
    min_rate: Annotated[
        Size,
        Means(
            "Bytes a second that must come from then on, over a minute, or the file is fetched again; 0: any",
            ge=0,
        ),
    ] = 64 * 2**10
    after: Annotated[
        tuple[str, ...],
        Means(
            "A command run after each import, one at a time: a program (absolute path) and its "
            "arguments, without a shell; the ids of the task, its type and the id of the video are appended"
        ),
    ] = ()
    after_timeout: Annotated[
        Duration, Means("How long that command may take; then it is killed", gt=0, le=300)
    ] = 60.0


class RetentionSettings(Section, frozen=True):
    """Purging old rows and files."""

    completed_days: Annotated[
        int,
        Means(
            "Completed tasks are deleted after so many days (RM_TASKS_DELETED_AFTER_DAYS); 0: kept",
            ge=0,
            le=36500,
        ),
    ] = 0
    opencast_files_days: Annotated[
        int,
        Means(
            "Files of the studio are deleted after so many days, those of a recording once it is "
            "imported (Pod does so after 7); 0: kept",
            ge=0,
            le=36500,
        ),
    ] = 0
    journal_days: Annotated[
        int,
        Means(
            "What poddispatchd remembers of ended tasks, and of what people did, goes after so many "
            "days; of tasks that Pod has deleted, a day after they ended",
            ge=7,
            le=3650,
        ),
    ] = 90


class ShadowSettings(Section, frozen=True):
    """Shadow mode (run --dry-run), beside Pod's own CRON."""

    cron_interval: Annotated[
        Duration, Means("How often Pod's process_tasks runs: what waits for longer is reported", gt=0)
    ] = 180.0


class LogSettings(Section, frozen=True):
    """Logging."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Means("debug, info, warning or error")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "json", "console", "journald"],
        Means("auto, json, console or journald; auto: journald under systemd, console on a tty"),
    ] = "auto"


class Settings(Section, frozen=True):
    """The whole configuration."""

    database: DatabaseSettings = DatabaseSettings()
    pod: PodSettings = PodSettings()
    dispatch: DispatchSettings = DispatchSettings()
    runners: RunnersSettings = RunnersSettings()
    windows: WindowsSettings = WindowsSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    imports: ImportsSettings = ImportsSettings()
    retention: RetentionSettings = RetentionSettings()
    webhook: WebhookSettings = WebhookSettings()
    ops: OpsSettings = OpsSettings()
    mail: MailSettings = MailSettings()
    push: PushSettings = PushSettings()
    events: EventsSettings = EventsSettings()
    shadow: ShadowSettings = ShadowSettings()
    log: LogSettings = LogSettings()
