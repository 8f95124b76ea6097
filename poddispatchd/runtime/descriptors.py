"""File descriptors: as many as the system lets this process have."""

import resource

from poddispatchd.errors import ConfigurationError

MOST = 16384
"""As many as the unit gives it; what an old kernel counts through is no larger for that."""

LEAST = 64
"""Of the listeners, the database, results and runner managers together: with fewer, callers could take those
that imports need, however few of them are let in."""


def raise_limit() -> None:
    """Let this process open as many files as it may: shells and containers begin with few.

    Raises:
        ConfigurationError: they are too few all the same.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(MOST, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft != resource.RLIM_INFINITY and soft < LEAST:
        raise ConfigurationError(
            f"This process may open {soft} files at once and needs {LEAST}: raise LimitNOFILE= of its unit, "
            "or 'ulimit -n'."
        )
