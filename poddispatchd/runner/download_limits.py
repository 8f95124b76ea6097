"""What a download may take of time, size, space and tries."""

from msgspec import Struct


class DownloadLimits(Struct, frozen=True):
    """What a download may take.

    Args:
        max_size: bytes of all files together (``imports.max_size``).
        keep_free: bytes left free on the file system (``imports.keep_free``).
        parallel: files of any size fetched at once; few: a manager that proxies holds each whole in memory.
        parallel_small: those that are small by their names, beside them: mostly they wait for an answer.
        attempts: tries of one file.
        backoff_base: limit of the first random wait between tries, in seconds; it doubles (as Pod's).
        backoff_cap: limit of the longest one, in seconds.
        first_byte_timeout: seconds that the first byte of a file may take (``imports.first_byte_timeout``): a
            manager that proxies reads all of it from its runner before.
        min_rate: bytes a second that must come from then on (``imports.min_rate``); 0: any.
        rate_window: seconds over which they are counted.
        allowance: seconds that a whole result may take besides its bytes at ``min_rate``.
    """

    max_size: int
    keep_free: int
    parallel: int = 2
    parallel_small: int = 4
    attempts: int = 5
    backoff_base: float = 0.5
    backoff_cap: float = 8.0
    first_byte_timeout: float = 300.0
    min_rate: int = 64 * 2**10
    rate_window: float = 60.0
    allowance: float = 1800.0
