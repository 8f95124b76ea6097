"""The job that brings results into Pod."""

from poddispatchd.app.parts import Parts
from poddispatchd.imports.attempt import ImportAttempt
from poddispatchd.imports.blocked_imports import ImportObstacles
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.deletion import Deletion
from poddispatchd.imports.failure_handling import FailureHandling
from poddispatchd.imports.importer import Importer
from poddispatchd.imports.preparation import Preparation


def importer(parts: Parts) -> Importer:
    """The job that brings results into Pod."""
    obsolete = deletion(parts)
    obstacles = ImportObstacles(
        parts.client, parts.registry, parts.media_health, parts.catalogue, parts.incidents
    )
    preparation = Preparation(
        database=parts.database,
        catalogue=parts.catalogue,
        evidence=parts.evidence,
        locked_rows=parts.locked_rows,
        pod=parts.settings.pod,
        clock=parts.clock,
    )
    commits = ImportCommit(
        database=parts.database,
        preparation=preparation,
        obstacles=obstacles,
        deletion=obsolete,
        incidents=parts.incidents,
        metrics=parts.metrics,
        clock=parts.clock,
    )
    failures = FailureHandling(
        database=parts.database,
        client=parts.client,
        registry=parts.registry,
        obstacles=obstacles,
        deletion=obsolete,
        settings=lambda: parts.settings,
        retries=lambda: parts.retries,
        wakeups=parts.wakeups,
        metrics=parts.metrics,
        clock=parts.clock,
    )
    attempts = ImportAttempt(
        media=parts.media,
        client=parts.client,
        managers=parts.managers,
        preparation=preparation,
        commits=commits,
        failures=failures,
        settings=lambda: parts.settings,
        wakeups=parts.wakeups,
        metrics=parts.metrics,
        clock=parts.clock,
    )
    return Importer(
        database=parts.database,
        session=parts.session,
        owner=parts.instance,
        attempts=attempts,
        obstacles=obstacles,
        incidents=parts.incidents,
        settings=lambda: parts.settings.imports,
        wakeup=parts.wakeups.importer,
        clock=parts.clock,
    )


def deletion(parts: Parts) -> Deletion:
    """What deletes files that nobody needs any more."""
    return Deletion(
        database=parts.database,
        catalogue=parts.catalogue,
        media=parts.media,
        evidence=parts.evidence,
        owner=parts.instance,
        clock=parts.clock,
    )
