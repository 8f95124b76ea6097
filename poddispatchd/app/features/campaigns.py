"""The job that adds the tasks of campaigns."""

from poddispatchd.app.features.dispatch import payloads
from poddispatchd.app.parts import Parts
from poddispatchd.campaigns.free_runners import FreeRunners
from poddispatchd.campaigns.job import CampaignJob
from poddispatchd.campaigns.progress import CampaignMeter
from poddispatchd.campaigns.turns import Turns


def campaigns(parts: Parts) -> CampaignJob:
    """The job that adds the tasks of campaigns."""
    runners = FreeRunners(
        database=parts.database,
        catalogue=parts.catalogue,
        sites=parts.sites,
        lanes=parts.registry.lanes,
        waits=parts.waits,
        clock=parts.clock,
    )
    wakeups = parts.wakeups

    def added() -> None:
        wakeups.dispatcher.ring()
        wakeups.maintenance.ring()

    turns = Turns(
        database=parts.database,
        sites=parts.sites,
        fitness=payloads(parts).of,
        added=added,
        clock=parts.clock,
    )
    return CampaignJob(
        database=parts.database,
        session=parts.session,
        runners=runners,
        turns=turns,
        sites=parts.sites,
        meter=CampaignMeter(parts.database, parts.metrics, parts.clock),
        pod=lambda: parts.settings.pod,
        wakeups=wakeups,
        clock=parts.clock,
    )
