"""The parts of a shadow: there need not be a journal, and where there is one it is a daemon's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from poddispatchd.domain.task import ManagerId, TaskPk
from poddispatchd.journal.scheduling import ManagerMemory, Wait
from poddispatchd.parts import Parts
from poddispatchd.pod.grants import Right


@dataclass(slots=True)
class ShadowParts(Parts):
    """Knows what Pod's rows say, and nothing else."""

    has_journal: ClassVar[bool] = False

    async def own_tasks(self) -> Mapping[TaskPk, Wait | None]:
        """None: whatever waits may be Pod's to submit at this moment."""
        return {}

    async def missing_rights(self) -> Sequence[Right]:
        """None that matter here: it reads, and what it may not read it notices."""
        return ()

    async def manager_memories(self) -> Mapping[ManagerId, ManagerMemory]:
        """None: Pod pauses no manager."""
        return {}
