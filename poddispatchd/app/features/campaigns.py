"""The job that adds the tasks of campaigns."""

from poddispatchd.app.features.dispatch import payloads
from poddispatchd.app.parts import Parts
from poddispatchd.campaigns.free_runners import FreeRunners
from poddispatchd.campaigns.job import CampaignJob


def campaigns(parts: Parts) -> CampaignJob:
    """The job that adds the tasks of campaigns."""
    runners = FreeRunners(
        database=parts.database,
        catalogue=parts.catalogue,
        sites=parts.sites,
        lanes=parts.registry.lanes,
        own_tasks=parts.own_tasks,
        clock=parts.clock,
    )
    return CampaignJob(
        database=parts.database,
        session=parts.session,
        runners=runners,
        sites=parts.sites,
        fitness=payloads(parts).of,
        pod=lambda: parts.settings.pod,
        wakeups=parts.wakeups,
        clock=parts.clock,
    )
