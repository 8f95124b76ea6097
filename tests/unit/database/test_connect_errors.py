"""A connection that PostgreSQL refuses, as the daemon tells it."""

import configparser
import ssl

import asyncpg
import pytest

from poddispatchd.database.connect_errors import Setting, at_the_start, while_running
from poddispatchd.database.hosts import NoHostError, NotWritableError
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


def _certificate(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "hostname mismatch"
    return error


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InvalidPasswordError('password authentication failed for user "postgres"'),
        asyncpg.InvalidCatalogNameError('database "podd" does not exist'),
        configparser.InterpolationSyntaxError("password", "pod", "'%' must be followed by '%' or '('"),
        NotWritableError(),
        NoHostError([("a.example.org", NotWritableError()), ("b.example.org", _certificate(62))]),
        _certificate(20),
        ConnectionError("rejected SSL upgrade"),
        asyncpg.exceptions.TargetServerAttributeNotMatched("none"),
        asyncpg.ProtocolViolationError("unsupported startup parameter: search_path"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_address_that_was_typed_is_corrected_where_it_was_typed(error: BaseException) -> None:
    """`db setup --owner-dsn` asked for another value of database.dsn, which it does not go by."""
    typed = Setting("--owner-dsn", "its password comes from PGPASSWORD or ~/.pgpass")

    said = f"{at_the_start(error, _DSN, typed)}"

    assert "database.dsn" in f"{at_the_start(error, _DSN)}"
    assert ("--owner-dsn" in said, "database.dsn" in said) == (True, False)


def test_who_may_not_connect_as_the_owner_is_not_sent_to_the_command_that_failed_over_it() -> None:
    error = asyncpg.InsufficientPrivilegeError('permission denied for database "pod"')

    told, typed = at_the_start(error, _DSN), at_the_start(error, _DSN, Setting("--owner-dsn", ""))

    assert ("db setup" in str(told), "db setup" in str(typed)) == (True, False)
    assert str(typed).endswith("the owner of the database lets the role connect (GRANT CONNECT ON DATABASE).")
