"""What an error says about the item that met it: who is to blame, and the words for people."""

from poddispatchd.errors import DatabaseError, DatabaseUnavailableError, PoddispatchdError

_OF_A_VALUE = ("22", "23", "P0", "44")
"""Classes of SQLSTATE that a value can be to blame for: data, integrity, a trigger's error, a view's check.

Any other refusal (a missing column, a right, a full disk, a lock) is about the database: it passes, or a
person mends it.
"""


_HELD = ("55P03", "40P01", "40001")
"""A lock that could not be had in time, a deadlock, a serialization failure."""


def is_to_blame(error: Exception) -> bool:
    """Whether an item can be what an error is about.

    Errors of our own code are, those of the database only if a value of the item can have caused them
    (invariant I16).
    """
    if not isinstance(error, DatabaseError):
        return True
    return _sqlstate(error)[:2] in _OF_A_VALUE


def words_of(error: Exception) -> str:
    """What is told to people about an error.

    Only words of ours (invariant I15): PostgreSQL's may hold values of rows, and those of an error that
    nobody foresaw may hold anything.
    """
    if isinstance(error, DatabaseError) and not isinstance(error, DatabaseUnavailableError):
        cause = error.__cause__
        if cause is not None:
            state = _sqlstate(error)
            code = f", SQLSTATE {state}" if state else ""
            return f"The database refused a statement ({type(cause).__name__}{code}): its log tells more."
    if isinstance(error, PoddispatchdError):
        return str(error)
    return f"poddispatchd met an error nobody foresaw ({type(error).__name__}): its log tells more."


def is_held(error: Exception) -> bool:
    """Whether another session holds a row that an item needs: it lets go soon, mostly."""
    return isinstance(error, DatabaseError) and _sqlstate(error) in _HELD


def _sqlstate(error: DatabaseError) -> str:
    for source in (error, error.__cause__):
        state = getattr(source, "sqlstate", None)
        if isinstance(state, str):
            return state
    return ""
