"""Where a runner manager tells its health, and what it says: it differs between releases."""

import re

from msgspec import Struct

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import RunnerManagerMisconfiguredError, UnusableAnswerError
from poddispatchd.runner.answers import json_object
from poddispatchd.runner.http_errors import refusal
from poddispatchd.runner.records import ManagerHealth
from poddispatchd.runner.transport import HttpAnswer

_KNOWN_PATHS = ("api/health", "manager/health")
"""Since the version after 1.7.1, and up to it. Both say version 1.7.1: only the path tells them apart."""

_PLAIN_PATH = re.compile(r"/?(?:[A-Za-z0-9_-]+/)*[A-Za-z0-9_-]+/?")
_LONGEST_PATH = 100


class RootFacts(Struct, frozen=True):
    """What ``GET /`` tells: the version, and the paths at which to look for the health, best first."""

    version: str | None
    health_paths: tuple[str, ...]


def root_facts(manager: RunnerManager, answer: HttpAnswer) -> RootFacts:
    """The answer to ``GET /``. A URL with a path may have another site at its root: nothing is required."""
    try:
        data = json_object(manager, answer) if answer.is_success else {}
    except UnusableAnswerError:
        data = {}
    version, named = data.get("version"), data.get("health_check")
    paths = list(_KNOWN_PATHS)
    # It is asked with our token: nothing but a plain path of this manager is taken from an answer.
    if isinstance(named, str) and len(named) <= _LONGEST_PATH and _PLAIN_PATH.fullmatch(named):
        paths.insert(0, named.strip("/"))
    is_version = isinstance(version, str) and version.isprintable() and len(version) <= _LONGEST_PATH
    return RootFacts(str(version) if is_version else None, tuple(dict.fromkeys(paths)))


def health_at(
    manager: RunnerManager, answer: HttpAnswer, path: str, version: str | None
) -> ManagerHealth | None:
    """The answer of one possible health path; None when the health is not to be found there.

    Raises:
        RunnerManagerError: the token is refused, or the manager failed; see ``refusal``.
    """
    if not answer.is_success:
        if answer.status in (401, 403):
            raise refusal(manager, answer)
        error = refusal(manager, answer)
        # Not here, as 404 and redirects say: releases differ, and the next known path is tried.
        if isinstance(error, RunnerManagerMisconfiguredError):
            return None
        raise error
    try:
        data = json_object(manager, answer)
    except UnusableAnswerError:
        return None
    status = data.get("status")
    if not isinstance(status, str):
        return None
    return ManagerHealth(
        healthy=status.lower() in ("healthy", "ok"),
        path=path,
        version=version,
        runners=_count(data.get("runners")),
        tasks=_count(data.get("tasks")),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
