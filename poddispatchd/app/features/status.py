"""What tells the state of a daemon."""

from collections.abc import Awaitable, Callable
from zoneinfo import ZoneInfo

from poddispatchd.app.parts import Parts
from poddispatchd.pod.queue_stats import QueueStats
from poddispatchd.pod.source_sizes import SourceSizes
from poddispatchd.runtime.blocked_writes import BlockedWrites
from poddispatchd.tasks.forecasts import Forecasts
from poddispatchd.web.figures import Figures, JournalFigures
from poddispatchd.web.forecast import LastForecast
from poddispatchd.web.health import DaemonHealth
from poddispatchd.web.overviews import Overviews
from poddispatchd.web.status import DaemonStatus


def health(parts: Parts) -> DaemonHealth:
    """What keeps the daemon from its work."""
    return DaemonHealth(
        session=parts.session,
        incidents=parts.incidents,
        locked_rows=parts.locked_rows,
        blocked_writes=BlockedWrites(parts.incidents, parts.locked_rows, parts.clock),
        catalogue=parts.catalogue,
        evidence=parts.evidence,
        media_health=parts.media_health,
    )


def status(parts: Parts, figures: Figures | None = None) -> DaemonStatus:
    """What tells the state of the daemon; ``figures``: what was read for whoever looks."""
    return DaemonStatus(
        health=health(parts),
        session=parts.session,
        registry=parts.registry,
        sites=parts.sites,
        settings=lambda: parts.settings,
        instance=parts.instance,
        clock=parts.clock,
        figures=figures,
        has_journal=parts.has_journal,
    )


def figures(parts: Parts, look: Callable[[], Awaitable[QueueStats]]) -> Figures:
    """What is counted for whoever looks; ``look`` counts the tasks."""
    expected = LastForecast(
        forecasts=Forecasts(parts.database, SourceSizes(parts.media)),
        registry=parts.registry,
        sites=parts.sites,
        catalogue=parts.catalogue,
        own_tasks=parts.own_tasks,
        order=parts.order,
        metrics=parts.metrics,
        incidents=parts.incidents,
        clock=parts.clock,
    )
    return Figures(
        look=look,
        session=parts.session,
        health=health(parts),
        overviews=Overviews(
            parts.database, lambda: ZoneInfo(parts.settings.pod.time_zone), has_journal=parts.has_journal
        ),
        expected=expected if parts.has_journal else None,
        journal=JournalFigures(parts.database, parts.metrics) if parts.has_journal else None,
        changes_by_hand=parts.wakeups.administration,
        incidents=parts.incidents,
        metrics=parts.metrics,
        clock=parts.clock,
    )
