"""Whose token signed a callback."""

import hmac
from collections.abc import Iterable

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.task import ManagerId


def managers_of_token(token: bytes, managers: Iterable[RunnerManager]) -> tuple[ManagerId, ...]:
    """Every runner manager that has this token, active or not; one manager may serve several sites.

    Every token is compared in constant time and as bytes, white space around both left out; an empty token is
    nobody's.
    """
    token = token.strip()
    if not token:
        return ()
    return tuple(
        manager.id
        for manager in managers
        if hmac.compare_digest(manager.token.get_secret_value().strip().encode(), token)
    )
