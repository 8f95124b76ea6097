"""The routes of a manager, matched as its web framework matches them."""

import re
from dataclasses import dataclass
from enum import StrEnum

from poddispatchd.sandbox.fake_runner_manager.faults import Endpoint


class HealthRoute(StrEnum):
    """Which generation of manager: the path of its health check is the only visible difference."""

    API = "api"
    """``/api/health``: the newest."""
    MANAGER = "manager"
    """``/manager/health``: up to 1.7.1."""


class Action(StrEnum):
    """What a route does."""

    ROOT = "root"
    HEALTH = "health"
    VERSION = "version"
    RUNNERS = "runners"
    TASKS = "tasks"
    TASK_LIST = "task-list"
    EXECUTE = "execute"
    STATUS = "status"
    RESULT = "result"
    FILE = "file"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern over the decoded path, the only method it takes, and what it does."""

    pattern: re.Pattern[str]
    method: str
    action: Action
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Match:
    """The route of a path, and the parts of the path it needs."""

    route: Route
    arguments: tuple[str, ...]


def routes(health: HealthRoute, *, can_stop: bool) -> list[Route]:
    """The routes of one generation of manager; stopping came with 1.6.0."""
    table: list[tuple[str, str, Action, Endpoint]] = [
        (r"/", "GET", Action.ROOT, Endpoint.ROOT),
        (f"/{health}/health", "GET", Action.HEALTH, Endpoint.HEALTH),
        (r"/api/version", "GET", Action.VERSION, Endpoint.VERSION),
        (r"/api/runners", "GET", Action.RUNNERS, Endpoint.RUNNERS),
        (r"/api/tasks", "GET", Action.TASKS, Endpoint.LIST),
        (r"/task/list", "GET", Action.TASK_LIST, Endpoint.LIST),
        (r"/task/execute", "POST", Action.EXECUTE, Endpoint.EXECUTE),
        (r"/task/status/([^/]+)", "GET", Action.STATUS, Endpoint.STATUS),
        (r"/task/result/([^/]+)", "GET", Action.RESULT, Endpoint.RESULT),
        (r"/task/result/([^/]+)/file/(.*)", "GET", Action.FILE, Endpoint.FILE),
    ]
    if can_stop:
        table.append((r"/task/stop/([^/]+)", "POST", Action.STOP, Endpoint.STOP))
    return [
        Route(re.compile(pattern, re.DOTALL), method, action, endpoint)
        for pattern, method, action, endpoint in table
    ]


def find(table: list[Route], path: str, prefix: str) -> Match | None:
    """The route of a decoded path, with or without the manager's path prefix."""
    candidates = [path]
    if prefix and path.startswith(f"{prefix}/"):
        candidates.append(path.removeprefix(prefix))
    for candidate in candidates:
        for route in table:
            found = route.pattern.fullmatch(candidate)
            if found is not None:
                return Match(route, found.groups())
    return None


def redirect(table: list[Route], path: str, prefix: str) -> str | None:
    """The path a client is sent to because of a slash too many, or one missing after the prefix."""
    if prefix and path == prefix:
        return f"{prefix}/"
    if path.endswith("/") and path != "/" and find(table, path.rstrip("/"), prefix) is not None:
        return path.rstrip("/")
    return None
