"""What the journal keeps about people goes with their tasks."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.runtime.queue_tables import CALLBACKS, DELIVERIES
from poddispatchd.sandbox.pod.world import add_recording, add_task, add_video
from tests.integration.imports.bench import Bench, bench
from tests.plugins.postgres import PodDatabase

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "personal-data.md"
_PERSON = "dupont"

_ROWS = {
    "submission": "INSERT INTO poddispatchd.submission"
    " (task_pk, task_type, runner_manager_id, attempt, body, state, reason, settled_at)"
    " VALUES ($1, 'encoding', 1, 1, 'dupont', 'accepted', 'dupont', now() - interval '25 hours')",
    "import": "INSERT INTO poddispatchd.import"
    " (task_pk, runner_manager_id, task_id, state, last_error, finished_at)"
    " VALUES ($1, 1, 'x', 'failed', 'dupont', now() - interval '25 hours')",
    "notice": "INSERT INTO poddispatchd.notice (event, task_pk, task_type, words, state, settled_at)"
    " VALUES ('failed', $1, 'encoding', 'dupont', 'set_aside', now() - interval '25 hours')",
    "delivery": "INSERT INTO poddispatchd.delivery (channel, task_pk, content, state, settled_at)"
    """ VALUES ('mail', $1, '{"to": "dupont"}', 'set_aside', now() - interval '25 hours')""",
    "callback": "INSERT INTO poddispatchd.callback"
    " (runner_manager_ids, task_id, status, script_output, digest, state, handled_at)"
    " SELECT '{1}', task_id, 'failed', 'dupont', '', 'set_aside', now() - interval '25 hours'"
    "   FROM (VALUES ($1::bigint, 'of-' || $1::text)) AS run (pk, task_id)",
}


@pytest.fixture
async def here(pod_database: PodDatabase, media_root: Path) -> AsyncIterator[Bench]:
    async with bench(pod_database, media_root) as made:
        yield made


async def _tables(here: Bench) -> list[str]:
    query = "SELECT array_agg(tablename::text ORDER BY 1) FROM pg_tables WHERE schemaname = 'poddispatchd'"
    return list(await here.value(query))


async def _naming(here: Bench, person: str) -> list[str]:
    """The tables in which a name stands, in any column."""
    query = "SELECT count(*) FROM poddispatchd.{} AS t WHERE strpos(lower(t::text), $1) > 0"
    in_bytes = "SELECT count(*) FROM poddispatchd.submission WHERE position($1::bytea IN body) > 0"
    found = [name for name in await _tables(here) if await here.value(query.format(name), person)]
    return [*found, *(["body"] if await here.value(in_bytes, person.encode()) else [])]


async def test_the_page_tells_of_every_table(here: Bench) -> None:
    page = _PAGE.read_text(encoding="utf-8")

    assert [name for name in await _tables(here) if f"`{name}`" not in page] == [], "tell what it keeps"


@pytest.mark.parametrize("table", sorted(_ROWS))
async def test_what_is_settled_of_a_deleted_task_goes_after_a_day_and_of_others_stays(
    here: Bench, table: str
) -> None:
    async with here.pod.connection() as connection:
        kept, deleted = [await add_task(connection, TaskType.ENCODING) for _ in range(2)]
        for pk in (kept, deleted):
            await connection.execute(_ROWS[table], pk)
            await connection.execute("UPDATE runner_manager_task SET task_id = 'of-' || id WHERE id = $1", pk)
        await connection.execute(_ROWS[table].replace("25 hours", "23 hours"), 987654)
    await here.execute("DELETE FROM runner_manager_task WHERE id = $1", deleted)

    await features.maintenance(here.parts).purge()

    column = "task_id" if table == "callback" else "task_pk::text"
    left = await here.value(f"SELECT array_agg({column} ORDER BY id) FROM poddispatchd.{table}")
    name = "of-" if table == "callback" else ""
    assert left == [f"{name}{kept}", f"{name}987654"]


async def test_what_is_about_no_task_is_kept_for_as_long_as_all_else(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Reports and events that were set aside went after a day, as if Pod had deleted their task."""
    async with bench(pod_database, media_root, changes={"retention": {"journal_days": 30}}) as here:
        for hours in (25, 29 * 24, 31 * 24):
            await here.execute(_ROWS["delivery"].replace("25 hours", f"{hours} hours"), 0)

        await features.maintenance(here.parts).purge()

        assert await here.value("SELECT array_agg(id ORDER BY id) FROM poddispatchd.delivery") == [1, 2]


async def test_nothing_names_a_person_whose_video_pod_has_deleted(here: Bench) -> None:
    video = await here.video(encoded=True, title=f"Thèse de {_PERSON}")
    task = await here.ready(video=video)
    await here.execute(_ROWS["submission"], task)
    await here.execute(_ROWS["delivery"], task)
    await here.import_due()
    assert await here.status(task) == "completed"
    assert {"body", "delivery"} <= set(await _naming(here, _PERSON))

    await here.execute("DELETE FROM runner_manager_task WHERE id = $1", task)
    await here.execute("UPDATE poddispatchd.import SET finished_at = finished_at - interval '25 hours'")
    await features.maintenance(here.parts).purge()

    assert await _naming(here, _PERSON) == []


async def test_the_statements_of_the_page_find_what_was_sent_of_a_person_and_what_is_left(
    here: Bench,
) -> None:
    """`tasks show --json` was said to be a copy of all; what was sent to runner managers is not in it."""
    [block] = re.findall(r"```sql\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [left] = re.findall(r"`(SELECT count[^`]+)`", _PAGE.read_text(encoding="utf-8"))
    async with here.pod.connection() as connection:
        for owner in ("student", "employee"):
            video = await add_video(connection, here.world, title="A thesis", owner=owner)
            task = await add_task(connection, TaskType.ENCODING, video=video)
            await connection.execute(_ROWS["submission"], task)
        recording = await add_recording(connection, here.world, owner="faculty")
        recorded = await add_task(connection, TaskType.STUDIO, recording=recording)
        await connection.execute(_ROWS["submission"], recorded)

    sent, history = (part.strip() for part in block.strip().rstrip(";").split(";"))
    async with here.pod.connection() as connection:
        for login, wanted in (("employee", [task]), ("faculty", [recorded]), ("nobody", [])):
            found = await connection.fetch(sent.replace("LOGIN", login))
            assert [(row[0], row[2]) for row in found if row[2] == _PERSON] == [
                (pk, _PERSON) for pk in wanted
            ]
            assert await connection.fetch(history.replace("LOGIN", login)) == []
        assert await connection.fetchval(left) == 0
        await connection.execute("DELETE FROM runner_manager_task WHERE id = $1", task)
        assert await connection.fetchval(left) == 1


async def test_what_is_dismissed_is_forgotten_with_its_texts(here: Bench) -> None:
    await here.execute(_ROWS["delivery"], 1)
    await here.execute(_ROWS["callback"], 1)
    async with here.pod.connection() as connection:
        for queue in (DELIVERIES, CALLBACKS):
            assert await queue.dismiss(connection, "1")

    assert await _naming(here, _PERSON) == []


async def test_what_people_did_is_kept_as_long_as_the_setting_says(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with bench(pod_database, media_root, changes={"retention": {"journal_days": 30}}) as here:
        for days in (29, 31):
            await here.execute(
                "INSERT INTO poddispatchd.act (at, actor, act, task_pk)"
                f" VALUES (now() - interval '{days} days', 'dupont on pod1', 'cancel', {days})"
            )
        await features.maintenance(here.parts).purge()

        assert await here.value("SELECT array_agg(task_pk) FROM poddispatchd.act") == [TaskPk(29)]


async def test_the_history_forgets_whose_run_it_was_when_pod_deletes_the_user(here: Bench) -> None:
    known = await here.value("SELECT min(id) FROM auth_user")
    for owner in (known, 987654):
        await here.execute(
            "INSERT INTO poddispatchd.ended_run (task_pk, task_type, status, owner_id, priority, ended_at)"
            " VALUES (1, 'encoding', 'completed', $1, 1, now())",
            owner,
        )
    await features.maintenance(here.parts).purge()

    assert await here.value("SELECT array_agg(owner_id ORDER BY id) FROM poddispatchd.ended_run") == [
        known,
        None,
    ]
