"""Campaigns: encodings or transcriptions of many videos, as people make, change and look at them.

They live here, and Pod's table gets one row after the other (``poddispatchd.campaigns``).
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NewType

from msgspec import Struct

from poddispatchd.database import migration
from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import TaskPk, TaskType, VideoId

_QUERIES = load_queries(__package__, "campaigns.sql")

CampaignId = NewType("CampaignId", int)

ITSELF = "poddispatchd"
"""Who paused a campaign that was paused by itself."""

_SINCE_VERSION = 29
"""Of our schema."""


class CampaignState(StrEnum):
    """What a campaign does."""

    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"


class VideoState(StrEnum):
    """What became of a video of a campaign; ``RUNNING``: its task waits or runs in Pod's table."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class Wanted(Struct, frozen=True):
    """A campaign to be made; ``windows`` as ``domain.time_windows`` writes them, None: any hour."""

    name: str
    task_type: TaskType
    at_most: int
    windows: str | None
    actor: str


class Campaign(Struct, frozen=True):
    """A campaign, and how many of its videos are how."""

    id: CampaignId
    name: str
    task_type: TaskType
    at_most: int
    windows: str | None
    state: CampaignState
    words: str
    created_at: datetime
    created_by: str
    changed_at: datetime
    changed_by: str
    videos: int
    counts: dict[VideoState, int]

    @property
    def left(self) -> int:
        """Videos that are still to be done."""
        return self.counts[VideoState.WAITING] + self.counts[VideoState.RUNNING]


class CampaignVideo(Struct, frozen=True):
    """A video of a campaign."""

    place: int
    video: VideoId
    state: VideoState
    task: TaskPk | None
    words: str
    changed_at: datetime | None


async def create(connection: Connection, wanted: Wanted, videos: Sequence[VideoId]) -> CampaignId | None:
    """Make a campaign, in the caller's transaction; None when there is one of this name."""
    found = await connection.fetchval(
        *_QUERIES["create"](
            name=wanted.name,
            task_type=wanted.task_type.value,
            at_most=wanted.at_most,
            windows=wanted.windows,
            actor=wanted.actor,
        )
    )
    if found is None:
        return None
    await connection.execute(*_QUERIES["add_videos"](campaign=found, videos=list(videos)))
    return CampaignId(found)


async def campaigns(
    connection: Connection, name: str | None = None, *, ended_within: float | None = None
) -> list[Campaign]:
    """Every campaign, the latest first; or the one of this name.

    Args:
        connection: any one.
        name: None: all of them.
        ended_within: those that are over only if they ended within so many seconds; None: all of them.
    """
    return [
        Campaign(
            id=CampaignId(row["id"]),
            name=row["name"],
            task_type=TaskType(row["task_type"]),
            at_most=row["at_most"],
            windows=row["windows"],
            state=CampaignState(row["state"]),
            words=row["words"],
            created_at=row["created_at"],
            created_by=row["created_by"],
            changed_at=row["changed_at"],
            changed_by=row["changed_by"],
            videos=row["videos"],
            counts={state: row[state.value] for state in VideoState},
        )
        for row in await connection.fetch(*_QUERIES["all"](name=name, ended_within=ended_within))
    ]


async def campaign_of(connection: Connection, task: TaskPk) -> str | None:
    """The name of the campaign that added a task; None when none did, or our schema knows of none yet."""
    if await migration.current_version(connection) < _SINCE_VERSION:
        return None
    name: str | None = await connection.fetchval(*_QUERIES["of_task"](task=task))
    return name


async def ends(connection: Connection, campaign: CampaignId, *, limit: int) -> list[datetime]:
    """When its latest tasks ended since it was made or resumed, the latest first."""
    rows = await connection.fetch(*_QUERIES["ends"](campaign=campaign, limit=limit))
    return [row["changed_at"] for row in rows]


async def videos_of(
    connection: Connection, campaign: CampaignId, states: Collection[VideoState], *, limit: int
) -> list[CampaignVideo]:
    """Its videos in some states, those that changed last first."""
    rows = await connection.fetch(
        *_QUERIES["videos"](campaign=campaign, states=[state.value for state in states], limit=limit)
    )
    return [
        CampaignVideo(
            place=row["place"],
            video=VideoId(row["video_id"]),
            state=VideoState(row["state"]),
            task=None if row["task_pk"] is None else TaskPk(row["task_pk"]),
            words=row["words"],
            changed_at=row["changed_at"],
        )
        for row in rows
    ]


async def pause(connection: Connection, name: str, actor: str, words: str = "") -> bool:
    """Begin none of its tasks until it is resumed; False when it is not active."""
    return await _change(
        connection, name, CampaignState.PAUSED, actor, before={CampaignState.ACTIVE}, words=words
    )


async def resume(connection: Connection, name: str, actor: str) -> bool:
    """Go on; False when it is not paused."""
    return await _change(connection, name, CampaignState.ACTIVE, actor, before={CampaignState.PAUSED})


async def cancel(connection: Connection, name: str, actor: str) -> bool:
    """Do none of its videos that wait, in the caller's transaction; False when it is over."""
    before = {CampaignState.ACTIVE, CampaignState.PAUSED}
    if not await _change(connection, name, CampaignState.CANCELLED, actor, before=before):
        return False
    [campaign] = await campaigns(connection, name)
    await connection.execute(*_QUERIES["cancel_waiting"](campaign=campaign.id))
    return True


async def _change(
    connection: Connection,
    name: str,
    state: CampaignState,
    actor: str,
    *,
    before: Collection[CampaignState],
    words: str = "",
) -> bool:
    found = await connection.fetchval(
        *_QUERIES["change"](
            name=name, state=state.value, actor=actor, words=words, before=[each.value for each in before]
        )
    )
    return found is not None


async def purge(connection: Connection, *, days: int, batch: int) -> bool:
    """Forget ``batch`` videos of campaigns that are over for long, or these; whether there may be more."""
    if await connection.execute(*_QUERIES["purge_videos"](days=days, batch=batch)) == f"DELETE {batch}":
        return True
    await connection.execute(*_QUERIES["purge"](days=days))
    return False
