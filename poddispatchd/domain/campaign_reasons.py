"""Why a campaign adds no task to Pod's queue right now."""

from msgspec import Struct

from poddispatchd.domain.manager_diagnosis import why_managers
from poddispatchd.domain.pending_reasons import general_findings
from poddispatchd.domain.situation import Reason, Situation
from poddispatchd.domain.task import TaskType


class HeldCampaign(Struct, frozen=True):
    """An active campaign with videos that wait, in its hours; ``pending`` are tasks of Pod's queue."""

    type: TaskType
    running: int
    at_most: int
    pending: int


def why_campaign(campaign: HeldCampaign, situation: Situation) -> str | None:
    """A sentence or two for people; None when nothing is known that keeps it."""
    for finding in general_findings(situation):
        return finding.sentence
    if campaign.running >= campaign.at_most:
        return "It has as many tasks as it may have at a time."
    finding = why_managers(campaign.type, frozenset(situation.served), situation)
    if finding.reason is not Reason.NEXT:
        words = finding.words.replace("They wait for their", "It waits for its", 1)
        words = words.replace("They wait for", "It waits for", 1)
        return " ".join(filter(None, (words, finding.remedy)))
    if campaign.pending:
        return "Tasks wait in Pod's queue, and go first."
    return None
