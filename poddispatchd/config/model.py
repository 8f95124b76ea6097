"""Every setting, its type, its default and its meaning.

The description of a field is what ``config.yaml.example`` prints above it. Defaults are right for a plain Pod
on one Debian machine; where a setting mirrors one of Pod's, the description names it.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from poddispatchd.config.listening import OpsSettings, WebhookSettings
from poddispatchd.config.notification import EventsSettings, MailSettings, PushSettings
from poddispatchd.config.section import AbsolutePath, Section, TimeZone
from poddispatchd.config.units import Duration, FileMode, Size, Windows


class DatabaseSettings(Section):
    """Pod's PostgreSQL database."""

    dsn: SecretStr = Field(
        default=SecretStr("postgresql:///pod"),
        description="Address of Pod's database: postgresql://user:password@host:port/database",
    )
    pool_size: int = Field(default=5, ge=2, le=100, description="Connections kept at most")


class PodSettings(Section):
    """How this Pod is set up; the names of its own settings are in capitals."""

    version: str = Field(
        default="4.3.0",
        description="Pod's version (VERSION), sent to runner managers as app_version; from 4.4 on, the "
        "middle one of a video's thumbnails is taken, before it the first",
    )
    site_id: int = Field(default=1, ge=1, description="The current site (SITE_ID)")
    https: bool = Field(default=True, description="Pod's addresses start with https:// (SECURE_SSL_REDIRECT)")
    title_site: str = Field(default="Pod", description="TITLE_SITE of TEMPLATE_VISIBLE_SETTINGS")
    title_etb: str = Field(default="University name", description="TITLE_ETB of TEMPLATE_VISIBLE_SETTINGS")
    media_root: AbsolutePath = Field(
        default=Path("/usr/local/django_projects/podv4/pod/media"),
        description="Pod's media tree (MEDIA_ROOT)",
    )
    media_url: str = Field(default="/media/", pattern=r"^(/|https?://).*/$", description="MEDIA_URL")
    videos_dir: str = Field(
        default="videos",
        pattern=r"^[^/.][^/]*$",
        description="Directory of videos inside media_root (VIDEOS_DIR)",
    )
    opencast_files_dir: str = Field(
        default="opencast-files",
        pattern=r"^[^/.][^/]*$",
        description="Directory of studio recordings inside media_root (OPENCAST_FILES_DIR)",
    )
    file_permissions: FileMode = Field(
        default=0o644,
        description="Mode of the files written (FILE_UPLOAD_PERMISSIONS), in quotes; null: the umask",
    )
    use_podfile: bool = Field(default=False, description="USE_PODFILE; checked against the database at start")
    use_transcription: bool = Field(default=False, description="USE_TRANSCRIPTION")
    transcription_type: str | None = Field(
        default=None, description="TRANSCRIPTION_TYPE, sent as model_type; null: not set, not sent"
    )
    transcription_normalize: bool = Field(default=False, description="TRANSCRIPTION_NORMALIZE")
    captions_strict_accessibility: bool = Field(default=False, description="CAPTIONS_STRICT_ACCESSIBILITY")
    language: str = Field(default="fr", pattern=r"^[a-z]{2}(-[a-z]+)?$", description="LANGUAGE_CODE")
    output_language: Literal["en", "fr"] = Field(
        default="en",
        description="Language of the reasons that poddispatchd writes into a task's script_output and onto "
        "the video's page: en or fr ('config import' takes it from LANGUAGE_CODE)",
    )
    languages: tuple[str, ...] = Field(
        default=("fr", "en"),
        min_length=1,
        description="Codes of LANGUAGES, in its order: fallbacks of titles",
    )
    time_zone: TimeZone = Field(default="Europe/Paris", description="TIME_ZONE")
    encoding_choices: tuple[str, ...] = Field(
        default=("audio", "360p", "480p", "720p", "1080p", "playlist"),
        description="Names of ENCODING_CHOICES",
    )
    accommodation_years: dict[str, int] = Field(
        default_factory=dict,
        description="ACCOMMODATION_YEARS: years a video is kept, by affiliation of its owner",
    )
    default_year_date_delete: int = Field(default=2, ge=1, description="DEFAULT_YEAR_DATE_DELETE, in years")


class DispatchSettings(Section):
    """Handing pending tasks to runner managers."""

    poll_interval: Duration = Field(
        default=20.0, gt=0, description="How often pending tasks are looked for when nothing announces them"
    )
    grace: Duration = Field(
        default=30.0, ge=0, description="How long a new task is left to Pod's own immediate submission"
    )
    sites: tuple[str, ...] = Field(default=(), description="Domains of the sites served; empty: all")
    fair_share: Literal["none", "owner", "establishment"] = Field(
        default="none",
        description="Inside a class of Pod's order, who had least runner time lately goes first: owner or "
        "establishment; none: Pod's order",
    )
    fair_share_delay: Duration = Field(
        default=7200.0,
        gt=0,
        description="For how long a task may be put back by it at most, beyond Pod's order",
    )


class RunnersSettings(Section):
    """Talking to runner managers."""

    request_timeout: Duration = Field(
        default=60.0,
        gt=0,
        description="Longest wait for an answer: a manager asks its runners one by one, 5s each",
    )
    submissions_per_minute: int = Field(
        default=100,
        ge=0,
        le=6000,
        description="Tasks offered to one manager at most: some refuse more than 120; 0: any number",
    )
    ca_file: AbsolutePath | None = Field(
        default=None, description="Certificates of the authorities trusted besides the system's (PEM)"
    )


class WindowsSettings(Section):
    """Hours in which tasks are submitted: 20:00-07:00, or mon-fri 18:00-08:00; sat,sun. What runs goes on."""

    task_types: dict[Literal["encoding", "studio", "transcription"], Windows] = Field(
        default_factory=dict,
        description="By type of task, as {transcription: 20:00-07:00}; a type without hours: always",
    )
    runner_managers: dict[str, Windows] = Field(
        default_factory=dict,
        description="By the name of a runner manager; both must be open for a task to be submitted",
    )
    time_zone: TimeZone | None = Field(
        default=None, description="Their time zone, as Europe/Paris; null: pod.time_zone"
    )


class ReconcileSettings(Section):
    """Asking runner managers about running tasks."""

    interval: Duration = Field(default=60.0, gt=0, description="How often one running task is asked about")
    running_after: Duration = Field(
        default=300.0, ge=0, description="A task is not asked about before it is this old"
    )
    stale_after: Duration = Field(
        default=7200.0,
        gt=0,
        description="A task running for longer, or a type waiting for longer while none runs, is reported",
    )
    lost: Literal["requeue", "fail"] = Field(
        default="requeue", description="What becomes of a task its manager has forgotten: requeue or fail"
    )
    max_attempts: int = Field(default=3, ge=1, description="Submissions of one task before it fails for good")
    retry_wait: Duration = Field(
        default=20.0,
        ge=0,
        le=600,
        description="Longest wait before a task is submitted again; doubles each time, up to 10m",
    )


class ImportsSettings(Section):
    """Bringing results into Pod."""

    concurrency: int = Field(
        default=2,
        ge=1,
        le=32,
        description="Results imported at once; slow ones do not keep the slots from other runner managers",
    )
    max_attempts: int = Field(
        default=5, ge=1, description="Attempts to import one result before it fails for good"
    )
    max_size: Size = Field(
        default=200 * 2**30, gt=0, description="Largest result accepted, all files together"
    )
    keep_free: Size = Field(
        default=2**30, ge=0, description="Space that an import leaves free under media_root"
    )
    first_byte_timeout: Duration = Field(
        default=300.0,
        gt=0,
        le=3600,
        description="Longest wait for the first byte of a file: a manager without shared storage reads all "
        "of it from its runner before",
    )
    min_rate: Size = Field(
        default=64 * 2**10,
        ge=0,
        description="Bytes a second that must come from then on, over a minute, or the file is fetched "
        "again; 0: any",
    )
    after: tuple[str, ...] = Field(
        default=(),
        description="A command run after each import, one at a time: a program (absolute path) and its "
        "arguments, without a shell; the ids of the task, its type and the id of the video are appended",
    )
    after_timeout: Duration = Field(
        default=60.0, gt=0, le=300, description="How long that command may take; then it is killed"
    )


class RetentionSettings(Section):
    """Purging old rows and files."""

    completed_days: int = Field(
        default=0,
        ge=0,
        le=36500,
        description="Completed tasks are deleted after so many days (RM_TASKS_DELETED_AFTER_DAYS); 0: kept",
    )
    opencast_files_days: int = Field(
        default=0,
        ge=0,
        le=36500,
        description="Files of the studio are deleted after so many days, those of a recording once it is "
        "imported (Pod does so after 7); 0: kept",
    )
    journal_days: int = Field(
        default=90,
        ge=7,
        le=3650,
        description="What poddispatchd remembers of ended tasks, and of what people did, goes after so many "
        "days; of tasks that Pod has deleted, a day after they ended",
    )


class ShadowSettings(Section):
    """Shadow mode (run --dry-run), beside Pod's own CRON."""

    cron_interval: Duration = Field(
        default=180.0,
        gt=0,
        description="How often Pod's process_tasks runs: what waits for longer is reported",
    )


class LogSettings(Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["auto", "json", "console", "journald"] = Field(
        default="auto",
        description="auto, json, console or journald; auto: journald under systemd, console on a tty",
    )


class Settings(Section):
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
