"""What a check says of runner managers whose callbacks do not arrive: all is imported then, only later."""

from collections.abc import Collection

from poddispatchd.app.findings import CheckResult, note, unseen
from poddispatchd.config.model import Settings
from poddispatchd.database import migration
from poddispatchd.database.pool import Database
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.payload import NOTIFY_PATH
from poddispatchd.domain.site import Site
from poddispatchd.errors import DatabaseError
from poddispatchd.journal import imports, scheduling

_SUBJECT = "callbacks"
_ENOUGH = 3
"""Results: one or two may have ended while the daemon, or the web server, was restarted."""


async def callback_findings(
    settings: Settings, database: Database, managers: Collection[RunnerManager], site: Site | None
) -> list[CheckResult]:
    """Which runner managers do not call; nothing where no daemon runs, which would hear them."""
    try:
        async with database.connection() as connection:
            if await migration.current_version(connection) != migration.LATEST:
                return []
            scheduler = await scheduling.scheduler(connection)
            if not scheduler.is_held or scheduler.may_be_pass:
                return []
            uncalled = await imports.uncalled(connection)
    except DatabaseError as error:
        return unseen(_SUBJECT, error)
    if site is None:
        return []
    url = site.base_url(https=settings.pod.https) + NOTIFY_PATH
    return [
        note(
            _SUBJECT,
            f"Runner manager {manager.name} has not called within a day: its {results} results were found by "
            f"asking, minutes late. It must reach {url}: there 'curl -i {url}' gives 405.",
        )
        for manager in managers
        if (results := uncalled.get(manager.id, 0)) >= _ENOUGH
    ]
