"""What people see of an accepted task, without the acceptance."""

from poddispatchd.database.pool import Connection
from poddispatchd.tasks.accepted_runs import SHOW_ACCEPTED

_COLUMNS = ("shown_video_id", "step", "words", "head", "tail", "shown_recording_id", "comment")
_TYPES = ("bigint", "integer", "text", "text", "text", "bigint", "text")


async def show_accepted(connection: Connection, shown: tuple[object, ...]) -> None:
    row = ", ".join(
        f"${number}::{type_} AS {name}"
        for number, (name, type_) in enumerate(zip(_COLUMNS, _TYPES, strict=True), start=1)
    )
    await connection.execute(
        f"WITH shown AS (SELECT {row}), {SHOW_ACCEPTED.sql} SELECT 1",
        *shown,
    )
