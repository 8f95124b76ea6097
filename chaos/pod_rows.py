"""What is in Pod's tables after a campaign."""

from dataclasses import dataclass, field

import asyncpg


@dataclass(frozen=True, slots=True)
class Row:
    """A task."""

    pk: int
    type: str
    status: str
    manager: str | None
    task_id: str | None
    video: int | None
    output: str


@dataclass(slots=True)
class VideoRows:
    """A video, and how many rows of each kind belong to it. Paths are relative to MEDIA_ROOT."""

    id: int
    title: str
    path: str
    overview: str
    images: int
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


async def read_rows(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[int, Row]:
    """Every task."""
    rows = await connection.fetch(
        "SELECT task.id, type, status, task_id, video_id, script_output, manager.name"
        " FROM runner_manager_task AS task LEFT JOIN runner_manager AS manager"
        " ON manager.id = task.runner_manager_id ORDER BY task.id"
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
        )
        for row in rows
    }


async def read_videos(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[int, VideoRows]:
    """Every video with what was imported for it."""
    videos = {
        row["id"]: VideoRows(
            row["id"], row["title"], row["video"], row["overview"] or "", int(row["thumbnail_id"] is not None)
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
    for row in await connection.fetch(
        "SELECT video_id, count(*) AS n FROM completion_track GROUP BY video_id"
    ):
        videos[row["video_id"]].tracks = row["n"]
    return videos
