"""Whether a question that failed tells of the runner manager, or only of the record that it was about.

A record that a manager cannot read itself, an id that somebody has written into a row, a result that its
runner spoilt: each is told with the same errors as a manager that fails, or is not set up well. Taken for
that, one record would keep the manager from tasks and all others from their turns (invariant I12).
"""

from poddispatchd.domain.manager import RunnerManager
from poddispatchd.errors import (
    RecordUnavailableError,
    RunnerManagerError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    UnusableAnswerError,
)
from poddispatchd.runner.client import RunnerReader

_IN_DOUBT = (RunnerManagerUnavailableError, RunnerManagerMisconfiguredError, UnusableAnswerError)


async def narrowed(
    client: RunnerReader, manager: RunnerManager, error: RunnerManagerError
) -> RunnerManagerError:
    """What an error of a question about one task is to be taken for; no manager is asked without need.

    Args:
        client: asks the manager about no task at all.
        manager: who was asked.
        error: what the question met.

    Returns:
        ``RecordUnavailableError`` if the manager answers other questions; else the error itself.
    """
    if not isinstance(error, _IN_DOUBT):
        return error
    try:
        await client.ping(manager)
    except RunnerManagerError:
        return error
    return RecordUnavailableError(f"{error} It answers questions about other tasks.")
