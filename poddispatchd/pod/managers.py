"""Pod's runner managers and sites, as its administration has them now."""

from datetime import datetime

import asyncpg

from poddispatchd.database.pool import Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.site import Site
from poddispatchd.domain.task import ManagerId, SiteId

_QUERIES = load_queries("poddispatchd.pod", "managers.sql")


async def runner_managers(database: Database) -> list[RunnerManager]:
    """Every runner manager, inactive ones included, by (site, priority, id).

    Who may call the webhook is decided on these: the caller compares tokens as bytes, in constant time.

    Raises:
        DatabaseUnavailableError: the database cannot be reached.
    """
    return [manager_of(record) for record in await database.fetch(*_QUERIES["all"]())]


async def latest_tasks(database: Database, *, among: int) -> dict[ManagerId, datetime]:
    """When the latest task of each runner manager was added, whoever submitted it; others are absent.

    Mirrors what Pod's immediate submission knows of turns: the manager of the task added last. When a task
    was given to its manager is in no column of Pod's.

    Args:
        database: where Pod's tables are.
        among: how many tasks to look at, the newest: a manager without one of them is long overdue.
    """
    records = await database.fetch(*_QUERIES["latest_tasks"](newest=among))
    return {ManagerId(record["runner_manager_id"]): record["added"] for record in records}


async def sites(database: Database) -> dict[SiteId, Site]:
    """Every site, by its id."""
    records = await database.fetch(*_QUERIES["sites"]())
    return {SiteId(record["id"]): Site(SiteId(record["id"]), record["domain"]) for record in records}


def manager_of(record: asyncpg.Record, prefix: str = "") -> RunnerManager:
    """The runner manager that a row holds, its columns named with ``prefix``."""
    return RunnerManager(
        id=ManagerId(record[f"{prefix}id"]),
        name=record[f"{prefix}name"],
        priority=record[f"{prefix}priority"],
        url=record[f"{prefix}url"],
        token=SecretStr(record[f"{prefix}token"]),
        site_id=SiteId(record[f"{prefix}site_id"]),
        is_active=record[f"{prefix}is_active"],
    )
