"""The job that keeps ranks and figures, and deletes what has had its time."""

from collections.abc import Mapping

from poddispatchd.app.features.imports import deletion
from poddispatchd.app.parts import Parts
from poddispatchd.imports.sweep import Sweep
from poddispatchd.maintenance.acts import ActLog
from poddispatchd.maintenance.certificate_watch import CertificateWatch
from poddispatchd.maintenance.completed_purge import CompletedPurge
from poddispatchd.maintenance.history import History
from poddispatchd.maintenance.job import Maintenance
from poddispatchd.maintenance.journal_purge import JournalPurge
from poddispatchd.maintenance.media_space import ForeignObstacles, MediaSpace
from poddispatchd.maintenance.opencast import OpencastFiles
from poddispatchd.maintenance.queue_counter import Observer, QueueCounter, QueueMetrics
from poddispatchd.maintenance.ranks import Ranks
from poddispatchd.maintenance.stalled_queue import StalledQueue
from poddispatchd.maintenance.task_end_watch import TaskEndWatch
from poddispatchd.maintenance.unsettled import Unsettled
from poddispatchd.notify.certificates import event_certificate_end, mail_certificate_end
from poddispatchd.pod.source_sizes import SourceSizes


def maintenance(parts: Parts) -> Maintenance:
    """The job that keeps ranks and figures, and deletes what has had its time."""
    obsolete = deletion(parts)
    sweep = Sweep(
        database=parts.database,
        deletion=obsolete,
        media=parts.media,
        evidence=parts.evidence,
        videos_dir=parts.settings.pod.videos_dir,
        clock=parts.clock,
    )
    completed = CompletedPurge(parts.database, lambda: parts.settings.retention, parts.metrics, parts.clock)
    ended = TaskEndWatch(
        database=parts.database,
        session=parts.session,
        registry=parts.registry,
        history=History(
            parts.database, parts.catalogue, SourceSizes(parts.media), parts.settings.pod.time_zone
        ),
        metrics=parts.metrics,
        clock=parts.clock,
    )
    acts = ActLog(parts.database, parts.session, parts.registry, parts.clock)
    certificates = CertificateWatch(
        database=parts.database,
        registry=parts.registry,
        client=parts.client,
        others={
            "mail": lambda: mail_certificate_end(parts.settings.mail),
            "events": lambda: event_certificate_end(parts.settings.events),
        },
        metrics=parts.metrics,
        clock=parts.clock,
    )
    stalled = StalledQueue(parts.session, parts.registry, lambda: parts.settings.reconcile, parts.clock)
    return Maintenance(
        session=parts.session,
        counter=queue_counter(
            parts,
            {
                "look for tasks that ended": ended.look,
                "look for what people did": acts.look,
                "look for queues that stand still": stalled.look,
                "look for certificates that end": certificates.look,
            },
        ),
        stalled=stalled,
        ranks=Ranks(parts.database, parts.catalogue, parts.order, parts.clock),
        media=media_space(parts),
        obstacles=ForeignObstacles(parts.database, parts.media_health, parts.instance),
        unsettled=Unsettled(parts.database, parts.clock),
        tables=parts.catalogue.look_again,
        purges={
            # First: the completed tasks tell which recordings are imported.
            "purge of recordings": opencast_files(parts).purge,
            "purge of completed tasks": completed.purge,
            "purge of the journal": JournalPurge(
                parts.database, lambda: parts.settings.retention, parts.clock
            ).purge,
            "clean-up after imports": sweep.run,
        },
        deletion=obsolete.delete_all,
        incidents=parts.incidents,
        clock=parts.clock,
    )


def opencast_files(parts: Parts) -> OpencastFiles:
    """What deletes what the studio left on the disk."""
    return OpencastFiles(
        database=parts.database,
        media=parts.media,
        evidence=parts.evidence,
        settings=lambda: parts.settings,
        metrics=parts.metrics,
        clock=parts.clock,
    )


def queue_counter(parts: Parts, observers: Mapping[str, Observer]) -> QueueCounter:
    """What looks at the queue, and shows each look to these."""
    return QueueCounter(
        database=parts.database,
        sites=parts.sites,
        changes_by_hand=parts.wakeups.administration,
        observers={**observers, "figures of the queue": QueueMetrics(parts.registry, parts.metrics).look},
        incidents=parts.incidents,
        clock=parts.clock,
    )


def media_space(parts: Parts) -> MediaSpace:
    """What looks at the media tree."""
    return MediaSpace(
        parts.media, parts.evidence, parts.media_health, lambda: parts.settings.imports, parts.metrics
    )
