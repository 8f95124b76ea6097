"""Reading what a report tells: from the history, from Pod's names, from the failures."""

from datetime import datetime, timedelta

from poddispatchd.database.pool import Database
from poddispatchd.domain.capacity import slots_seen
from poddispatchd.domain.report import (
    ManagerFigures,
    OwnerFigures,
    PeriodReport,
    ReasonFigures,
)
from poddispatchd.journal import history_sums
from poddispatchd.pod import managers as pod_managers
from poddispatchd.pod import recipients
from poddispatchd.tasks.failure_listing import failures_since

_OWNERS, _REASONS = 10, 15
_TREND = timedelta(days=364)


async def read_report(database: Database, since: datetime, until: datetime) -> PeriodReport:
    """What happened between two moments, which carry Pod's time zone.

    Raises:
        DatabaseError: it cannot be read.
    """
    async with database.connection() as connection:
        types = await history_sums.by_type(connection, since, until)
        by_manager = await history_sums.by_manager(connection, since, until)
        runs = await history_sums.runs_of_period(connection, since, until)
        owners = await history_sums.by_owner(connection, since, until, limit=_OWNERS)
        days = await history_sums.by_day(connection, (until - _TREND).date())
    names = {manager.id: manager.name for manager in await pod_managers.runner_managers(database)}
    users = await recipients.usernames(database, [owner for owner, _, _ in owners])
    groups = (await failures_since(database, since, with_dismissed=True)).groups
    length = (until - since).total_seconds()
    slots = slots_seen(runs)
    return PeriodReport(
        since=since,
        until=until,
        types=tuple(types),
        managers=tuple(
            ManagerFigures(
                name="none" if pk is None else names.get(pk, f"manager {pk}, which is gone"),
                completed=completed,
                failed=failed,
                ran=ran,
                slots=0 if pk is None else slots.get(pk, 0),
                # What ran before the period began is not counted, so that this is one at most, but for
                # results that were brought in while the next run went on.
                utilisation=min(1.0, ran / (slots[pk] * length)) if pk is not None and pk in slots else None,
            )
            for pk, completed, failed, ran in by_manager
        ),
        reasons=tuple(
            ReasonFigures(group.key, group.reason, len(group.failures)) for group in groups[:_REASONS]
        ),
        owners=tuple(OwnerFigures(users.get(pk, f"user {pk}"), tasks, ran) for pk, tasks, ran in owners),
        days=tuple(days),
    )
