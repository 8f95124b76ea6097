"""How old something is: by the database's clock and ours, of which either may be wrong."""

from poddispatchd.database.queries import Query, load_queries

_AGE = load_queries(__package__, "ages.sql")["age"]


def with_ages(query: Query, **since: str) -> Query:
    """A statement with ages, in seconds, at the places of these names; it takes ``ours``: now, by our clock.

    ::

        with_ages(query, age="created_at")

    Args:
        query: the statement.
        since: for each place, since when: an expression of SQL, a moment of the database's clock.
    """
    return query.fill(**{place: _AGE.fill(since=moment) for place, moment in since.items()})
