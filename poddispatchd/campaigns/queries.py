"""What the job of campaigns reads and writes."""

from collections.abc import Collection

from msgspec import Struct

from poddispatchd.database.pool import Connection
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import SiteId, TaskPk, TaskType, VideoId
from poddispatchd.journal.campaigns import CampaignId, CampaignState

_QUERIES = load_queries(__package__, "campaigns.sql")


class OpenCampaign(Struct, frozen=True):
    """A campaign with something to do or under way; ``has_more``: videos of it wait."""

    id: CampaignId
    name: str
    task_type: TaskType
    at_most: int
    windows: str | None
    state: CampaignState
    has_more: bool
    running: int

    @property
    def wants_more(self) -> bool:
        """Whether another task of it may be added, hours and runners apart."""
        return self.state is CampaignState.ACTIVE and self.has_more and self.running < self.at_most


class NextVideo(Struct, frozen=True):
    """A video that waits for its turn in a campaign."""

    place: int
    video: VideoId
    site_ids: tuple[SiteId, ...]


async def open_campaigns(connection: Connection) -> list[OpenCampaign]:
    """Those with something to do, the oldest first."""
    return [
        OpenCampaign(
            id=CampaignId(row["id"]),
            name=row["name"],
            task_type=TaskType(row["task_type"]),
            at_most=row["at_most"],
            windows=row["windows"],
            state=CampaignState(row["state"]),
            has_more=row["has_more"],
            running=row["running"],
        )
        for row in await connection.fetch(*_QUERIES["open"]())
    ]


async def follow(connection: Connection) -> set[CampaignId]:
    """Take over what became of their tasks; the campaigns of which one has failed."""
    rows = await connection.fetch(*_QUERIES["follow"]())
    return {CampaignId(row["campaign_id"]) for row in rows if row["state"] == "failed"}


async def fails_always(connection: Connection, campaign: CampaignId, *, several: int) -> bool:
    """Whether its last tasks all failed."""
    return bool(await connection.fetchval(*_QUERIES["fails_always"](campaign=campaign, several=several)))


class Eligible(Struct, frozen=True):
    """Whose turn it can be in a campaign: videos on ``sites``, or on none; not those at the places ``held``.

    ``served`` are all sites that are served: a video of others is to be skipped.
    """

    sites: Collection[SiteId]
    served: Collection[SiteId]
    with_siteless: bool
    held: Collection[int]


async def next_videos(
    connection: Connection, campaign: OpenCampaign, turn: Eligible, *, limit: int
) -> list[NextVideo]:
    """The videos whose turn is next."""
    rows = await connection.fetch(
        *_QUERIES["next"](
            campaign=campaign.id,
            type=campaign.task_type.value,
            sites=list(turn.sites),
            served=list(turn.served),
            with_siteless=turn.with_siteless,
            held=list(turn.held),
            limit=limit,
        )
    )
    return [NextVideo(row["place"], VideoId(row["video_id"]), tuple(row["site_ids"])) for row in rows]


async def add(
    connection: Connection, campaign: OpenCampaign, video: NextVideo, *, term: int
) -> TaskPk | None:
    """Add the row of Pod's table for a video, and note that it is there, in the caller's transaction.

    Returns:
        The task; None if that is not to be.

    Raises:
        ValuesRefusedError: the video was deleted this moment.
        RowLockedError: another session holds the row of the campaign or of the video.
        DatabaseError: the database refuses this very task.
    """
    await connection.execute(*_QUERIES["lock"](campaigns=[campaign.id]))
    found = await connection.fetchval(
        *_QUERIES["add"](campaign=campaign.id, place=video.place, type=campaign.task_type.value, term=term)
    )
    return None if found is None else TaskPk(found)


class Unsubmitted(Struct, frozen=True):
    """A task of a campaign that waits in Pod's queue."""

    campaign: CampaignId
    task: TaskPk
    task_type: TaskType
    site_ids: tuple[SiteId, ...]


async def unsubmitted(connection: Connection) -> list[Unsubmitted]:
    """Those that wait there as they were added."""
    return [
        Unsubmitted(
            CampaignId(row["campaign_id"]),
            TaskPk(row["id"]),
            TaskType(row["type"]),
            tuple(row["site_ids"]),
        )
        for row in await connection.fetch(*_QUERIES["unsubmitted"]())
    ]


class Withdrawn(Struct, frozen=True):
    """A task that was taken out of Pod's queue."""

    task: TaskPk
    campaign: str
    video: VideoId


async def withdraw(connection: Connection, rows: Collection[Unsubmitted], *, term: int) -> list[Withdrawn]:
    """Take tasks out of Pod's queue again unless somebody submits them now, in the caller's transaction.

    Pod's rows are locked first, as everywhere.
    """
    locked = await connection.fetch(*_QUERIES["lock_tasks"](tasks=[row.task for row in rows]))
    await connection.execute(*_QUERIES["lock"](campaigns=sorted({row.campaign for row in rows})))
    found = await connection.fetch(*_QUERIES["withdraw"](tasks=[row["id"] for row in locked], term=term))
    return [Withdrawn(TaskPk(row["id"]), row["name"], VideoId(row["video_id"])) for row in found]


async def skip(connection: Connection, campaign: OpenCampaign, video: NextVideo, words: str) -> None:
    """This video cannot be done."""
    await connection.execute(*_QUERIES["skip"](campaign=campaign.id, place=video.place, words=words))


async def finish(connection: Connection, campaign: CampaignId) -> bool:
    """A campaign is done; False when something of it waits or runs after all, or it is not active."""
    return await connection.execute(*_QUERIES["finish"](campaign=campaign)) == "UPDATE 1"
