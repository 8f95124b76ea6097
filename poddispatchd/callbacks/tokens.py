"""Whose token signed a callback."""

import hmac
from collections.abc import Iterable

from poddispatchd.domain.manager import RunnerManager, token_bytes
from poddispatchd.domain.task import ManagerId


def managers_of_token(token: bytes, managers: Iterable[RunnerManager]) -> tuple[ManagerId, ...]:
    """Every runner manager that has this token, active or not; one manager may serve several sites.

    Every token is compared in constant time and as bytes, white space around both left out; an empty token is
    nobody's. One with characters beyond ASCII may come in latin-1, as Pod sends it, or in UTF-8.
    """
    token = token.strip()
    if not token:
        return ()
    return tuple(manager.id for manager in managers if _is_of(manager, token))


def _is_of(manager: RunnerManager, token: bytes) -> bool:
    stored = manager.token.get_secret_value()
    forms = {token_bytes(stored) or b"", stored.strip().encode("utf-8", "replace")}
    # Every form is compared, whatever the first one says.
    return any([hmac.compare_digest(form, token) for form in forms])  # noqa: C419 - in constant time
