"""The jobs of a daemon that decides, tells and changes nothing."""

from poddispatchd.app.features.dispatch import candidates, payloads
from poddispatchd.app.features.maintenance import media_space, queue_counter
from poddispatchd.app.features.reconcile import prober, reconciler
from poddispatchd.app.parts import Parts
from poddispatchd.maintenance.stalled_queue import StalledQueue
from poddispatchd.shadow.capacity import ObservedCapacity
from poddispatchd.shadow.dispatch import ShadowDispatcher
from poddispatchd.shadow.jobs import ShadowJobs
from poddispatchd.shadow.maintenance import ShadowUpkeep
from poddispatchd.shadow.outcomes import ShadowOutcomes
from poddispatchd.shadow.stats import ShadowStats


def shadow_jobs(parts: Parts) -> ShadowJobs:
    """The jobs of a daemon that decides, tells and changes nothing."""
    stats = ShadowStats(parts.metrics)
    stalled = StalledQueue(parts.session, parts.registry, lambda: parts.settings.reconcile, parts.clock)
    capacity = ObservedCapacity(
        database=parts.database,
        client=parts.client,
        registry=parts.registry,
        settings=lambda: parts.settings.reconcile,
        dispatcher=parts.wakeups.dispatcher,
        incidents=parts.incidents,
        clock=parts.clock,
    )
    outcomes = ShadowOutcomes(parts.database, stats, lambda: parts.settings, parts.clock)
    return ShadowJobs(
        wakeups=parts.wakeups,
        stats=stats,
        capacity=capacity,
        outcomes=outcomes,
        dispatcher=ShadowDispatcher(
            database=parts.database,
            catalogue=parts.catalogue,
            managers=parts.managers,
            sites=parts.sites,
            payloads=payloads(parts),
            candidates=candidates(parts),
            capacity=capacity,
            outcomes=outcomes,
            stats=stats,
            settings=lambda: parts.settings,
            incidents=parts.incidents,
            clock=parts.clock,
        ),
        reconciler=reconciler(parts, outcomes),
        upkeep=ShadowUpkeep(
            database=parts.database,
            catalogue=parts.catalogue,
            counter=queue_counter(parts, {"look for queues that stand still": stalled.look}),
            media=media_space(parts),
            stats=stats,
            settings=lambda: parts.settings,
            metrics=parts.metrics,
            clock=parts.clock,
        ),
        prober=prober(parts),
    )
