"""What people see of an accepted task, without the acceptance."""

from datetime import datetime

from poddispatchd.database.pool import Connection
from poddispatchd.pod.progress import (
    SHOW_ACCEPTED,
    SHOWN_COLUMNS,
    SHOWN_TYPES,
    AcceptedRequest,
    start_line,
)


async def show_accepted(connection: Connection, request: AcceptedRequest, *, now: datetime) -> None:
    row = ", ".join(
        f"${number}::{type_} AS {name}"
        for number, (name, type_) in enumerate(zip(SHOWN_COLUMNS, SHOWN_TYPES, strict=True), start=1)
    )
    await connection.execute(
        f"WITH shown AS (SELECT {row}), {SHOW_ACCEPTED} SELECT 1",
        *request.shown(start_line(now)),
    )
