"""A connection that PostgreSQL refuses, as the daemon tells it."""

import asyncpg

from poddispatchd.database.connect_errors import at_the_start, while_running
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError

_DSN = SecretStr("postgresql://pod:quite-secret@db.example.org/pod")


def test_a_running_daemon_says_that_it_goes_by_the_password_of_its_start() -> None:
    """Beside a `check` that reads the new one, and found nothing wrong, it was a riddle."""
    error = asyncpg.InvalidPasswordError('password authentication failed for user "pod"')

    started, running = at_the_start(error, _DSN), while_running(error, _DSN)

    assert (type(started), type(running)) == (ConfigurationError, DatabaseUnavailableError)
    assert str(running) == (
        'The database cannot be reached: password authentication failed for user "pod": write '
        "the right one into database.dsn and restart the daemon, which goes by the one of its start, or give "
        "the role that one again (ALTER ROLE … PASSWORD)."
    )
    assert "quite-secret" not in f"{started}{running}"
