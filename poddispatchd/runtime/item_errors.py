"""What an error says about the item that met it: who is to blame, and the words for people."""

from poddispatchd.errors import (
    DatabaseError,
    PoddispatchdError,
    RowLockedError,
    SessionEndedError,
    ValuesRefusedError,
)


def is_to_blame(error: Exception) -> bool:
    """Whether an item can be what an error is about.

    Errors of our own code are, and what the database refuses for the item's values or for no reason that is
    known, as a site's trigger does, or ends the session over. A lock, a missing column, a right or a full
    disk passes, or a person mends it (invariant I16).
    """
    return (
        not isinstance(error, DatabaseError)
        or isinstance(error, ValuesRefusedError | SessionEndedError)
        or type(error) is DatabaseError
    )


def words_of(error: Exception) -> str:
    """What is told to people about an error.

    Only words of ours (invariant I15): those of an error that nobody foresaw may hold anything.
    """
    if isinstance(error, PoddispatchdError):
        return str(error)
    return f"poddispatchd met an error nobody foresaw ({type(error).__name__}): its log tells more."


def is_held(error: Exception) -> bool:
    """Whether another session holds a row that an item needs: it lets go soon, mostly."""
    return isinstance(error, RowLockedError)
