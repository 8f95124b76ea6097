"""When results of tasks were imported, as Pod's lock files tell: they are in no backup of the database."""

import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from poddispatchd.domain.task import TaskPk

_LOCKS = ".runner_task_locks"
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def first_imports(root: Path, tasks: Collection[TaskPk]) -> dict[TaskPk, datetime]:
    """When the result of each of these tasks was first imported, or begun to be; others are absent.

    A lock file is made at that moment and never written to or deleted, by Pod's own code neither.

    Raises:
        OSError: the media tree cannot be read.
    """
    found: dict[TaskPk, datetime] = {}
    try:
        directory = os.open(root / _LOCKS, _FLAGS)
    except FileNotFoundError:
        return found
    try:
        for task in tasks:
            try:
                status = os.stat(f"{task}.lock", dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue
            found[task] = datetime.fromtimestamp(status.st_mtime, UTC)
    finally:
        os.close(directory)
    return found
