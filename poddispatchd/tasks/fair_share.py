"""What fair share means for one pending task, for people and programs."""

from datetime import timedelta

from msgspec import Struct

from poddispatchd.config.model import DispatchSettings
from poddispatchd.database.pool import Database
from poddispatchd.domain.fair_share import FairShare, due_places, may_put_back, put_back
from poddispatchd.domain.situation import duration_words
from poddispatchd.domain.task import TaskPk
from poddispatchd.journal import fair_share
from poddispatchd.pod import queue_order
from poddispatchd.pod.capabilities import Capabilities


class ShareOfTask(Struct, frozen=True):
    """Fair share of one task; times are in seconds.

    Attributes:
        by: whose runner time is counted: ``owner`` or ``establishment``.
        party: the id of the owner, or the establishment; empty: nobody's.
        used: runner time that the party had lately.
        put_back: for how long the task has been put back beyond Pod's order.
        longest: for how long it may be.
        is_due: whether it goes by Pod's order again.
    """

    by: FairShare
    party: str
    used: float
    put_back: float
    longest: float
    is_due: bool

    def words(self, name: str | None) -> str:
        """For people; ``name`` is that of the owner."""
        if not self.party:
            who = f"its {self.by} is not known"
        else:
            party = name if self.by is FairShare.OWNER and name else self.party
            who = f"{party} had {_time(self.used)} of runner time lately"
        if self.is_due:
            behind = f"put back by {_time(self.put_back)} so far"
            return f"{who}; {behind}, goes by Pod's order now: another run could exceed {_time(self.longest)}"
        return f"{who}; put back by {_time(self.put_back)} so far, {_time(self.longest)} at most"


def _time(seconds: float) -> str:
    return duration_words(timedelta(seconds=seconds))


async def share_of_task(
    database: Database, capabilities: Capabilities, settings: DispatchSettings, task: TaskPk
) -> ShareOfTask | None:
    """Fair share of a task; None without fair share, or when the task does not wait.

    Raises:
        DatabaseError: it cannot be read.
    """
    by = FairShare(settings.fair_share)
    if by is FairShare.NONE:
        return None
    claim = await queue_order.claim_of(database, capabilities, task, by)
    if claim is None:
        return None
    async with database.connection() as connection:
        used = await fair_share.used(connection, by)
        lengths = await fair_share.run_lengths(connection)
        overtakings = await fair_share.overtakings(connection, lengths)
    longest = settings.fair_share_delay
    due = due_places(overtakings, longest, lengths.longest).get(claim.kind)
    is_due = not may_put_back(longest, lengths.longest) or (due is not None and claim.place < due)
    behind = put_back(claim, overtakings)
    return ShareOfTask(by, claim.party, used.get(claim.party, 0.0), behind, longest, is_due)
