"""What is in Pod's tables and in the journal after a campaign."""

from dataclasses import dataclass, field

from poddispatchd.database.pool import Connection


@dataclass(frozen=True, slots=True)
class Row:
    """A task. ``title`` is that of its recording, for a studio task; ``manager`` the name of its manager."""

    pk: int
    type: str
    status: str
    manager: str | None
    task_id: str | None
    video: int | None
    output: str
    recording: int | None = None
    title: str | None = None
    rank: int | None = None

    @property
    def wish(self) -> tuple[str, int | None]:
        """What was asked for: rows of one type and source ask for the same."""
        return self.type, self.recording if self.type == "studio" else self.video


@dataclass(slots=True)
class VideoRows:
    """A video, and what belongs to it. Paths are relative to MEDIA_ROOT.

    ``images`` and ``files`` are those stored in its folder: thumbnails and subtitles of every import.
    """

    id: int
    title: str
    path: str
    overview: str
    has_thumbnail: bool = False
    images: int = 0
    files: int = 0
    tracks: int = 0
    films: list[str] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)
    playlists: list[str] = field(default_factory=list)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Films, sounds, playlists."""
        return len(self.films), len(self.sounds), len(self.playlists)

    @property
    def encoded(self) -> list[str]:
        """Paths of all encoded media."""
        return [*self.films, *self.sounds, *self.playlists]


async def read_rows(connection: Connection) -> dict[int, Row]:
    """Every task."""
    rows = await connection.fetch(
        "SELECT task.id, task.type, status, task_id, video_id, script_output, manager.name, recording_id,"
        " recording.title, rank FROM runner_manager_task AS task"
        " LEFT JOIN runner_manager AS manager ON manager.id = task.runner_manager_id"
        " LEFT JOIN recorder_recording AS recording ON recording.id = task.recording_id ORDER BY task.id"
    )
    return {
        row["id"]: Row(
            row["id"],
            row["type"],
            row["status"],
            row["name"],
            row["task_id"],
            row["video_id"],
            row["script_output"] or "",
            row["recording_id"],
            row["title"],
            row["rank"],
        )
        for row in rows
    }


async def read_videos(connection: Connection) -> dict[int, VideoRows]:
    """Every video with what was imported for it."""
    videos = {
        row["id"]: VideoRows(
            row["id"], row["title"], row["video"], row["overview"] or "", row["thumbnail_id"] is not None
        )
        for row in await connection.fetch("SELECT id, title, video, overview, thumbnail_id FROM video_video")
    }
    for table, kind in (
        ("encodingvideo", "films"),
        ("encodingaudio", "sounds"),
        ("playlistvideo", "playlists"),
    ):
        for row in await connection.fetch(
            f"SELECT video_id, source_file FROM video_encode_transcript_{table}"
        ):
            getattr(videos[row["video_id"]], kind).append(row["source_file"])
    for table, kind in (("podfile_customimagemodel", "images"), ("podfile_customfilemodel", "files")):
        for row in await connection.fetch(
            f"SELECT video.id, count(*) AS n FROM {table} AS stored"
            " JOIN podfile_userfolder AS folder ON folder.id = stored.folder_id"
            " JOIN video_video AS video ON video.slug = folder.name GROUP BY video.id"
        ):
            setattr(videos[row["id"]], kind, row["n"])
    for row in await connection.fetch(
        "SELECT video_id, count(*) AS n FROM completion_track GROUP BY video_id"
    ):
        videos[row["video_id"]].tracks = row["n"]
    return videos


@dataclass(frozen=True, slots=True)
class OpenRow:
    """A row of the journal that waits for somebody."""

    table: str
    task: int | None
    words: str


_WAITING = {
    "submission": (
        "SELECT task_pk, 'attempt ' || attempt AS words FROM poddispatchd.submission WHERE state = 'open'"
    ),
    "callback": (
        "SELECT NULL::bigint AS task_pk, task_id AS words FROM poddispatchd.callback"
        " WHERE state IN ('open', 'set_aside')"
    ),
    "import": (
        "SELECT task_pk, coalesce(last_error, 'no attempt failed') AS words"
        " FROM poddispatchd.import WHERE state IN ('open', 'set_aside')"
    ),
    "import_file": (
        "SELECT import.task_pk, path AS words FROM poddispatchd.import_file"
        " JOIN poddispatchd.import ON import.id = import_id"
    ),
    "obsolete_file": "SELECT task_pk, path AS words FROM poddispatchd.obsolete_file",
    "sighting": "SELECT task_pk, coalesce(task_id, '') AS words FROM poddispatchd.sighting",
    "notice": "SELECT task_pk, event AS words FROM poddispatchd.notice",
    "delivery": (
        "SELECT task_pk, channel AS words FROM poddispatchd.delivery WHERE state IN ('open', 'set_aside')"
    ),
}


async def read_open_rows(connection: Connection) -> list[OpenRow]:
    """Every row of the journal that is not settled."""
    return [
        OpenRow(table, row["task_pk"], row["words"])
        for table, query in _WAITING.items()
        for row in await connection.fetch(query)
    ]


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A committed import; ``skew`` is by how many seconds its daemon's clock was ahead of the database's.

    That is told by the thumbnail it stored, if it stored one.
    """

    task: int
    manager: str | None
    task_id: str
    skew: float | None = None


async def read_imports(connection: Connection) -> list[ImportRow]:
    """Every import that was committed."""
    rows = await connection.fetch(
        "SELECT import.task_pk, manager.name, import.task_id,"
        " extract(epoch FROM image.uploaded_at - import.finished_at)::float8 AS skew"
        " FROM poddispatchd.import LEFT JOIN runner_manager AS manager ON manager.id = runner_manager_id"
        " LEFT JOIN runner_manager_task AS task ON task.id = import.task_pk"
        " LEFT JOIN video_video AS video ON video.id = coalesce(task.video_id, import.video_id)"
        " LEFT JOIN podfile_customimagemodel AS image ON image.id = video.thumbnail_id"
        " WHERE state = 'done' ORDER BY import.id"
    )
    return [ImportRow(row["task_pk"], row["name"], row["task_id"], row["skew"]) for row in rows]


async def read_submitted(
    connection: Connection,
) -> list[tuple[int, str | None, str | None, str | None]]:
    """Of every submission in the journal: task, manager, its id there, and the address of the source."""
    rows = await connection.fetch(
        "SELECT task_pk, manager.name, task_id,"
        " CASE WHEN body <> '' THEN convert_from(body, 'UTF8')::jsonb ->> 'source_url' END AS source"
        " FROM poddispatchd.submission LEFT JOIN runner_manager AS manager ON manager.id = runner_manager_id"
    )
    return [(row["task_pk"], row["name"], row["task_id"], row["source"]) for row in rows]


async def read_named(connection: Connection) -> dict[str, str]:
    """Every path that some row names, with the table."""
    rows = await connection.fetch(
        "SELECT 'film' AS what, source_file AS path FROM video_encode_transcript_encodingvideo"
        " UNION ALL SELECT 'sound', source_file FROM video_encode_transcript_encodingaudio"
        " UNION ALL SELECT 'playlist', source_file FROM video_encode_transcript_playlistvideo"
        " UNION ALL SELECT 'video', video FROM video_video"
        " UNION ALL SELECT 'overview', overview FROM video_video WHERE overview <> ''"
        " UNION ALL SELECT 'image', file FROM podfile_customimagemodel"
        " UNION ALL SELECT 'file', file FROM podfile_customfilemodel"
    )
    return {row["path"]: row["what"] for row in rows}


async def read_texts(connection: Connection) -> list[tuple[str, str]]:
    """Every text that people are shown, but for the output of tasks: whose it is, and the text."""
    rows = await connection.fetch(
        "SELECT 'the log of video ' || video_id AS whose, log AS text"
        " FROM video_encode_transcript_encodinglog"
        " UNION ALL SELECT 'the step of video ' || video_id, desc_step"
        " FROM video_encode_transcript_encodingstep"
        " UNION ALL SELECT 'the import of task ' || task_pk, last_error FROM poddispatchd.import"
    )
    return [(row["whose"], row["text"] or "") for row in rows]
