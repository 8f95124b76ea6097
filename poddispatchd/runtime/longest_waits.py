"""How long an item of a queue waits at most: where one would wait longer, the clock was set back."""

from poddispatchd.domain.backoff import Backoff


def longest_wait(lease_seconds: float, longest_uncounted: float, backoff: Backoff) -> str:
    """SQL for a wait, or the rest of a lease, that no item with its attempts has been given.

    The table of the item is called ``item`` there.

    Args:
        lease_seconds: for which a lease runs. Whoever lives renews his several times meanwhile: after
            twice as many another daemon may take it for a dead one's.
        longest_uncounted: seconds of the longest wait after an attempt that does not count.
        backoff: after those that do.
    """
    uncounted = max(2 * lease_seconds, longest_uncounted) + backoff.shortest
    counted = f"least({backoff.cap}, {max(1.0, backoff.base)} * power(2, least(item.attempts, 30)))"
    return f"make_interval(secs => {uncounted} + {counted})"
