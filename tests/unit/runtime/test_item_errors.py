"""Whom an error of a queue's item is about, and what people are told of it."""

import asyncpg
import pytest

from poddispatchd.database.sqlstates import translate
from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, DeliveryError, SchemaError
from poddispatchd.runtime.item_errors import is_held, is_to_blame, words_of

_SECRET = "Failing row contains (secret)"


def _refused(cause: asyncpg.PostgresError) -> DatabaseError:
    return translate(cause)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("x"), True),
        (DeliveryError("x"), True),
        (_refused(asyncpg.UniqueViolationError(_SECRET)), True),
        (_refused(asyncpg.StringDataRightTruncationError(_SECRET)), True),
        (_refused(asyncpg.RaiseError(_SECRET)), True),
        (_refused(asyncpg.UndefinedColumnError(_SECRET)), False),
        (_refused(asyncpg.InsufficientPrivilegeError(_SECRET)), False),
        (_refused(asyncpg.DiskFullError(_SECRET)), False),
        (_refused(asyncpg.QueryCanceledError(_SECRET)), False),
        (_refused(asyncpg.ReadOnlySQLTransactionError(_SECRET)), False),
        (_refused(asyncpg.LockNotAvailableError(_SECRET)), False),
        (DatabaseUnavailableError(), False),
        (SchemaError(), False),
    ],
    ids=str,
)
def test_an_item_is_to_blame_for_its_values_and_not_for_its_surroundings(
    error: Exception, expected: bool
) -> None:
    assert is_to_blame(error) is expected


def test_values_of_rows_are_in_no_words() -> None:
    for cause in (asyncpg.UniqueViolationError(_SECRET), asyncpg.UndefinedColumnError(_SECRET)):
        words = words_of(_refused(cause))
        assert "secret" not in words
        assert str(type(cause).sqlstate) in words
    assert "secret" not in words_of(ValueError("secret"))
    assert words_of(DeliveryError("The mail server is away.")) == "The mail server is away."


def test_what_another_session_holds_is_had_soon() -> None:
    assert is_held(_refused(asyncpg.LockNotAvailableError("x")))
    assert is_held(_refused(asyncpg.DeadlockDetectedError("x")))
    assert not is_held(_refused(asyncpg.UndefinedColumnError("x")))
    assert not is_held(ValueError("x"))
