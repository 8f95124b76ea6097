"""How far campaigns are, as the metrics show it."""

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Database
from poddispatchd.journal import campaigns
from poddispatchd.journal.campaigns import CampaignState, VideoState
from poddispatchd.observability.metrics import Metrics

_EVERY = 60.0
_OPEN = (CampaignState.ACTIVE, CampaignState.PAUSED)


class CampaignMeter:
    """Counts the videos of campaigns that are not over, once a minute; nothing without a campaign."""

    def __init__(self, database: Database, metrics: Metrics, clock: Clock) -> None:
        self._database = database
        self._metrics = metrics
        self._clock = clock
        self._again_at = float("-inf")

    def forget(self) -> None:
        """There is none."""
        if self._again_at != float("-inf"):
            self._again_at = float("-inf")
            self._show([])

    async def measure(self) -> None:
        """Count them, unless that was done a moment ago.

        Raises:
            DatabaseError: they cannot be read.
        """
        now = self._clock.monotonic()
        if now < self._again_at:
            return
        async with self._database.connection() as connection:
            self._show(await campaigns.campaigns(connection, ended_within=0.0))
        # After it was read: what could not be is read the next time.
        self._again_at = now + _EVERY

    def _show(self, known: list[campaigns.Campaign]) -> None:
        for state in _OPEN:
            self._metrics.campaigns.labels(state).set(sum(each.state is state for each in known))
        for video_state in VideoState:
            count = sum(each.counts[video_state] for each in known if each.state in _OPEN)
            self._metrics.campaign_videos.labels(video_state).set(count)
