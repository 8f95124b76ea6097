"""Runner managers as Pod's administration describes them."""

import re
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec import Struct

from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId
from poddispatchd.errors import RunnerManagerMisconfiguredError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_PARTS = re.compile(r"(\s*https?://)?(.*@)?([^?#]*)(.*)", re.DOTALL | re.IGNORECASE)
"""Of what may be no URL at all: its scheme; what may be a login; a place; what may hold a token."""


class RunnerManager(Struct, frozen=True):
    """A row of Pod's ``runner_manager``.

    ``priority``: lower is served first. ``is_active`` stops new submissions only: a task that already runs
    there is still reconciled and imported.
    """

    id: ManagerId
    name: str
    priority: int
    url: str
    token: SecretStr
    site_id: SiteId
    is_active: bool = True

    def endpoint(self, path: str) -> str:
        """The address of one of this manager's routes, its path prefix kept, as Pod joins them.

        Raises:
            RunnerManagerMisconfiguredError: the URL cannot be used; the words say what to change.
        """
        self.check_url()
        return f"{self.url.strip().rstrip('/')}/{path.lstrip('/')}"

    def check_url(self) -> None:
        """Refuse a URL to which a path cannot be appended or which would replace the token.

        Raises:
            RunnerManagerMisconfiguredError: the words say what to change in Pod's administration.
        """
        if (problem := _url_problem(self.url)) is not None:
            raise RunnerManagerMisconfiguredError(f"The URL of runner manager {self.name!r} {problem}.")

    @property
    def shown_url(self) -> str:
        """The URL without what may be secret in one that cannot be used: see ``check_url``."""
        found = _PARTS.fullmatch(self.url)
        assert found is not None  # noqa: S101 - each of its parts may be empty
        scheme, login, place, rest = (part or "" for part in found.groups())
        if "?" in login or "#" in login:
            # The @ may stand in a token, and the end of that behind it.
            return f"{scheme}…"
        return f"{scheme}{login and '…@'}{place}{rest and rest[0] + '…'}"

    def authorization(self) -> str:
        """The value of the ``Authorization`` header.

        Raises:
            RunnerManagerMisconfiguredError: the token is empty or cannot be sent in a header.
        """
        token = self.token.get_secret_value().strip()
        if not token:
            raise RunnerManagerMisconfiguredError(f"Runner manager {self.name!r} has no token.")
        if token_bytes(token) is None:
            raise RunnerManagerMisconfiguredError(
                f"The token of runner manager {self.name!r} holds a character that no HTTP header can carry: "
                "give it one of letters and digits."
            )
        return f"Bearer {token}"


@lru_cache(maxsize=1024)
def _url_problem(url: str) -> str | None:
    """Why a URL cannot be used, as the predicate of a sentence; None when it can."""
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        _ = parts.port
    except ValueError:
        # The reason that Python gives quotes the URL, which may hold a password.
        return "cannot be read: its host or its port is none"
    if parts.scheme not in ("http", "https") or not host:
        return "must start with http:// or https:// and name a host"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or a password: the token goes in its own field"
    if parts.query or parts.fragment:
        return "must not hold a query (?…) or a fragment (#…)"
    return None


def token_bytes(token: str) -> bytes | None:
    """The bytes of a token in an ``Authorization`` header, white space around it left out.

    None when no header can carry it. Mirrors Pod, whose HTTP client sends headers in latin-1, and
    Esup-Runner, which reads them so.
    """
    token = token.strip()
    if _CONTROL.search(token) is not None:
        return None
    try:
        return token.encode("latin-1")
    except UnicodeEncodeError:
        return None
