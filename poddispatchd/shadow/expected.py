"""What would have been done with a task, and how that differs from what Pod did, in words."""

from collections.abc import Callable

from msgspec import Struct

from poddispatchd.domain.shadow import Difference, ExpectedSubmission, Row
from poddispatchd.domain.task import ManagerId, Task


class ExpectedTask(Struct):
    """Something that would have been done; ``since`` is of the monotonic clock."""

    submission: ExpectedSubmission
    task: Task
    since: float
    reason: str = ""
    is_told: bool = False

    def otherwise(
        self, difference: Difference, row: Row | None, name: Callable[[ManagerId | None], str | None]
    ) -> str:
        """What Pod did otherwise; ``name`` is what people call a runner manager."""
        ours = name(self.submission.manager)
        would = (
            f"poddispatchd would have failed it: {self.reason}"
            if ours is None
            else f"poddispatchd would have submitted it to {ours}"
        )
        if row is None or row.manager is None or difference is Difference.NOWHERE:
            status = "gone" if row is None else row.status
            return f"It is {status} without a runner manager; {would}."
        turn = ", whose turn it was" if difference is Difference.OTHER_TURN else ""
        return f"Pod submitted it to {name(row.manager)}; {would}{turn}."
