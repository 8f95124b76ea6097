"""What the job of campaigns reads and writes."""

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


async def next_videos(connection: Connection, campaign: OpenCampaign, *, limit: int) -> list[NextVideo]:
    """The videos whose turn is next."""
    rows = await connection.fetch(
        *_QUERIES["next"](campaign=campaign.id, type=campaign.task_type.value, limit=limit)
    )
    return [NextVideo(row["place"], VideoId(row["video_id"]), tuple(row["site_ids"])) for row in rows]


async def add(
    connection: Connection, campaign: OpenCampaign, video: NextVideo, *, term: int
) -> TaskPk | None:
    """Add the row of Pod's table for a video, and note that it is there; None if that is not to be.

    Raises:
        ValuesRefusedError: the video was deleted this moment.
    """
    found = await connection.fetchval(
        *_QUERIES["add"](campaign=campaign.id, place=video.place, type=campaign.task_type.value, term=term)
    )
    return None if found is None else TaskPk(found)


async def skip(connection: Connection, campaign: OpenCampaign, video: NextVideo, words: str) -> None:
    """This video cannot be done."""
    await connection.execute(*_QUERIES["skip"](campaign=campaign.id, place=video.place, words=words))


async def finish(connection: Connection, campaign: CampaignId) -> bool:
    """A campaign is done; False when something of it waits or runs after all, or it is not active."""
    return await connection.execute(*_QUERIES["finish"](campaign=campaign)) == "UPDATE 1"
