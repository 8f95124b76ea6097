"""What a check says of campaigns."""

from poddispatchd.app.findings import CheckResult, note, problem, unseen
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager_diagnosis import typed_command
from poddispatchd.errors import DatabaseError
from poddispatchd.journal import campaigns
from poddispatchd.journal.campaigns import CampaignState


async def campaign_findings(database: Database) -> list[CheckResult]:
    """Campaigns that add tasks, and those that were paused because all of theirs failed; none without any."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
            known = await campaigns.campaigns(connection)
    except DatabaseError as error:
        return unseen("campaigns", error)
    found = []
    for campaign in known:
        ended = campaign.videos - campaign.left
        if campaign.state is CampaignState.ACTIVE:
            see = typed_command("campaigns show", campaign.name)
            words = f"{campaign.name} has done {ended} of {campaign.videos} videos: see {see}."
            found.append(note("campaigns", words))
        elif campaign.state is CampaignState.PAUSED and campaign.words:
            found.append(problem("campaigns", f"{campaign.name} is paused. {campaign.words}"))
    return found
