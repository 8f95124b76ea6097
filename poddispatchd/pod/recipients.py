"""Who is told about a video: its owner, and the browsers that its owner subscribed with.

All of it is Pod's and only read: a subscription that a push service has given up stays where it is.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.notices import NotedVideo, Owner
from poddispatchd.domain.source import shown_title
from poddispatchd.domain.task import VideoId
from poddispatchd.pod.capabilities import Capabilities
from poddispatchd.pod.sources import titles_by_language, titles_of

_QUERIES = load_queries("poddispatchd.pod", "recipients.sql")

MOST_BROWSERS = 100
"""Browsers in which a user is told."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A browser's subscription to web push; who knows its address can send to it."""

    endpoint: str = field(repr=False)
    auth: str = field(repr=False)
    p256dh: str = field(repr=False)


async def noted_video(
    database: Database,
    capabilities: Capabilities,
    video_id: VideoId,
    *,
    languages: Sequence[str],
    time_zone: str = "UTC",
) -> NotedVideo | None:
    """A video with its owner, the title in the first of the languages that has one; None when it is gone.

    Moments are in Pod's time zone.
    """
    query = _QUERIES["video"].fill(titles=titles_of(capabilities.readable_titles, "found"))
    row = await database.fetchrow(*query(video=video_id))
    if row is None:
        return None
    title = shown_title(row["title"], titles_by_language(row["titles"]), languages)
    owner = Owner(
        id=row["user_id"],
        email=row["email"],
        username=row["username"],
        name=row["name"],
        establishment=row["establishment"] or "",
        accepts_notifications=row["accepts_notifications"] is True,
    )
    added_at = row["date_added"].astimezone(ZoneInfo(time_zone))
    return NotedVideo(VideoId(row["id"]), title, row["slug"], added_at, owner)


async def subscriptions(database: Database, user: int) -> list[int]:
    """The ids of a user's latest subscriptions to web push; none on a Pod that does not know it."""
    row = await database.fetchrow(*_QUERIES["has_push"]())
    if row is None or not row[0]:
        return []
    query = _QUERIES["subscriptions"](user=user, most=MOST_BROWSERS)
    return [int(row["id"]) for row in await database.fetch(*query)]


async def subscription(database: Database, subscription_id: int) -> Subscription | None:
    """One subscription; None when Pod has deleted it meanwhile."""
    row = await database.fetchrow(*_QUERIES["subscription"](subscription=subscription_id))
    return None if row is None else Subscription(row["endpoint"], row["auth"], row["p256dh"])


async def establishments(database: Database) -> frozenset[str]:
    """Those that owners are of, in lower case, as Pod compares them."""
    rows = await database.fetch(*_QUERIES["establishments"]())
    return frozenset(str(row["name"]) for row in rows)


async def usernames(database: Database, users: Collection[int]) -> dict[int, str]:
    """The names under which users log in, without those that are gone.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    rows = await database.fetch(*_QUERIES["usernames"](users=list(users)))
    return {row["id"]: row["username"] for row in rows}
