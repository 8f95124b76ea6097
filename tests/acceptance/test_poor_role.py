"""A role with nothing but the rights that ``db grants`` prints."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import pytest

from poddispatchd.domain.task import TaskPk, TaskType
from poddispatchd.sandbox import fake_runner_manager as fake
from poddispatchd.sandbox.fake_runner_manager import AcceptedTask, Behaviour
from poddispatchd.sandbox.pod.schema import SchemaVariant
from poddispatchd.sandbox.pod.world import add_recording, add_task, add_video
from tests.acceptance.process import Outcome, Process
from tests.acceptance.rig import Rig
from tests.integration.notify.bench import mail_settings, postbox
from tests.integration.notify.push_service import (
    CERTIFICATE,
    Browser,
    point,
    push_service,
    push_settings,
    unpadded,
)
from tests.plugins import postgres

pod_database = postgres.pod_database
"""A Pod on which no daemon has ever run."""


_PASSWORD = "password-of-the-daemon"
_ALL = (TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)


@dataclass(slots=True)
class Role:
    """The poor role: its name, and the address under which it reaches Pod's database."""

    name: str
    dsn: str


@asynccontextmanager
async def _made(rig: Rig) -> AsyncIterator[Role]:
    name = f"{rig.database.name}_daemon"
    await rig.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{_PASSWORD}'")
    # As it is by itself for a role called poddispatchd, whose own schema "$user" then is.
    await rig.execute(f"ALTER ROLE {name} SET search_path = poddispatchd, public")
    try:
        await rig.execute((await rig.run("db", "grants", name)).out)
        split = urlsplit(rig.database.dsn.get_secret_value())
        role = Role(name, f"postgresql://{name}:{_PASSWORD}@{split.hostname}:{split.port}{split.path}")
        rig.use(role.dsn)
        yield role
    finally:
        for process in rig.processes:
            await process.kill()
        await rig.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.fixture
async def role(rig: Rig) -> AsyncIterator[Role]:
    """The rig's daemon and commands log in as a role with the printed rights."""
    async with _made(rig) as role:
        yield role
    said = rig.everything_said()
    assert _PASSWORD not in said
    for words in ("permission denied", "(42501)", "The database role lacks", "may not use the schema"):
        assert words not in said


async def _completed(daemon: Process, tasks: list[TaskPk]) -> None:
    for task in tasks:
        try:
            await daemon.event("task.completed", task=task)
        except TimeoutError:
            raise AssertionError(f"task {task} is not completed:\n{daemon.text}") from None


def _about_rights(checked: Outcome) -> list[tuple[str, str]]:
    """What ``check --json`` says of the rights; other findings are about this machine."""
    found = json.loads(checked.out)
    return [(each["severity"], each["words"]) for each in found if each["subject"] == "rights"]


async def _recordings(rig: Rig) -> list[TaskPk]:
    """Studio tasks of recorders with every option set, and with groups of users."""
    async with rig.database.connection() as connection:
        return [
            await add_task(
                connection,
                TaskType.STUDIO,
                recording=await add_recording(connection, rig.world, title=kind, recorder=kind),
            )
            for kind in ("full", "restricted")
        ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("variant", list(SchemaVariant))
async def test_the_printed_rights_are_all_that_the_daemon_needs(
    rig: Rig, role: Role, variant: SchemaVariant
) -> None:
    rig.set("pod", use_podfile=variant is SchemaVariant.PODFILE, language="fr")
    rig.set("retention", completed_days=1)
    async with postbox() as box:
        rig.tree["mail"] = mail_settings(box)
        tasks = [*await rig.add(*_ALL), *await _recordings(rig)]
        encoding, transcription = tasks[:2]
        await rig.execute(
            "INSERT INTO runner_manager_task (type, status, video_id, date_added)"
            " SELECT type, status, video_id, now() FROM runner_manager_task WHERE id = $1",
            encoding,
        )
        daemon = await rig.start()
        await _completed(daemon, tasks)

        # Both are done again: rows are replaced, and one that the new result does not bring goes.
        await rig.execute(
            "INSERT INTO video_encode_transcript_encodingaudio (video_id, name, encoding_format, source_file)"
            " SELECT video_id, 'old', 'audio/ogg', 'old.ogg' FROM runner_manager_task WHERE id = $1",
            encoding,
        )
        await daemon.kill()
        restarted = await rig.run(
            "tasks", "restart", str(encoding), str(transcription), "--yes", "--end-others"
        )
        again = await rig.start()
        await _completed(again, [encoding, transcription])

        # One fails for good, and one is cancelled while it runs.
        rig.manager.faults.script = _fails
        [failing] = await rig.add(TaskType.ENCODING)
        await again.event("task.failed", task=failing)
        rig.manager.faults.script = _runs_on
        [held] = await rig.add(TaskType.ENCODING)
        await again.event("task.submitted", task=held)
        cancelled = await rig.run("tasks", "cancel", str(held))

        # The oldest ones are purged.
        await rig.execute(
            "UPDATE runner_manager_task SET date_added = now() - interval '3 days' WHERE id = $1", encoding
        )
        # It hands its lease back, so that the single pass may schedule.
        again.signal(signal.SIGTERM)
        await again.ended()
        passed = await rig.run("once")

        for line in (
            "tasks list", f"tasks show {transcription}", "runners list", "runners pause encoders",
            "runners resume encoders", "queues list", "db status", "db upgrade", "config show",
        ):  # fmt: skip
            outcome = await rig.run(*line.split())
            assert outcome.status == 0, f"{line}: {outcome.text}"
        checked = await rig.run("check", "--json")
        subjects = box.subjects

    assert restarted.status == 0, restarted.text
    assert passed.status == 0, passed.text
    assert cancelled.status == 0, cancelled.text
    assert encoding not in await rig.statuses()
    assert (await rig.statuses())[transcription] == "completed"
    assert not await rig.fetch("SELECT FROM video_encode_transcript_encodingaudio WHERE name = 'old'")
    assert len([each for each in subjects if "terminé" in each or "complet" in each]) >= 3
    assert {"service.crashed", "service.failed"}.isdisjoint(
        entry["event"] for process in rig.processes for entry in process.entries
    )
    assert _about_rights(checked) == [("fine", "The role has every right it needs on Pod's tables.")]


def _fails(_: AcceptedTask) -> Behaviour:
    return Behaviour(outcome=fake.RunOutcome.FAILED, error="No such codec")


def _runs_on(_: AcceptedTask) -> Behaviour:
    return Behaviour(seconds=3600.0)


async def test_a_browser_is_told_with_the_printed_rights_alone(rig: Rig, role: Role) -> None:
    """Where a subscription leads is read by columns; a service that has ended one changes nothing in Pod."""
    settings, browser = push_settings(), Browser()
    rig.set(
        "push",
        enabled=True,
        vapid_private_key=settings.vapid_private_key.get_secret_value(),
        vapid_public_key=settings.vapid_public_key,
        admin_email=settings.admin_email,
    )
    async with push_service() as service:
        await rig.execute(
            "INSERT INTO webpush_subscriptioninfo (browser, endpoint, auth, p256dh, user_agent)"
            " VALUES ('Firefox', $1, $2, $3, '')",
            f"https://localhost:{service.port}/push/1",
            unpadded(browser.auth),
            unpadded(point(browser.key)),
        )
        await rig.execute(
            "INSERT INTO webpush_pushinformation (subscription_id, user_id)"
            " SELECT subscription.id, auth_user.id FROM webpush_subscriptioninfo AS subscription, auth_user"
        )
        await rig.execute("UPDATE authentication_owner SET accepts_notifications = true")
        daemon = await rig.start(env={"SSL_CERT_FILE": str(CERTIFICATE)}, fresh=True)
        for status, sent in ((201, 1), (410, 2)):
            service.status = status
            [task] = await rig.add(TaskType.ENCODING)
            await _completed(daemon, [task])
            async with asyncio.timeout(30):
                while len(service.got) < sent:  # noqa: ASYNC110 - a push service has no signal of ours
                    await asyncio.sleep(0.05)
        assert role.name in role.dsn
    message = browser.read(service.got[0][2])
    assert isinstance(message, dict)
    assert await rig.fetch("SELECT FROM webpush_subscriptioninfo")


async def test_what_pod_keeps_secret_stays_out_of_its_reach(rig: Rig, role: Role) -> None:
    # So it is of itself since PostgreSQL 15.
    await rig.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    connection = await asyncpg.connect(role.dsn)
    try:
        for statement in (
            "SELECT password FROM auth_user",
            "SELECT * FROM auth_user",
            "SELECT salt FROM recorder_recorder",
            "SELECT credentials_password FROM recorder_recorder",
            "SELECT password FROM video_video",
            "UPDATE auth_user SET is_superuser = true",
            "UPDATE video_video SET owner_id = 1",
            "UPDATE runner_manager SET url = 'http://elsewhere/'",
            "DELETE FROM video_video",
            "DELETE FROM recorder_recording",
            "CREATE SCHEMA another",
            "CREATE TABLE public.another ()",
            "SELECT nextval('auth_user_id_seq')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
    assert rig.database.name in role.name


async def test_a_language_that_pod_learns_later_keeps_no_task_from_running(rig: Rig, role: Role) -> None:
    await rig.execute("ALTER TABLE video_video ADD COLUMN title_it varchar(250)")
    rig.set("pod", language="it")
    [task] = await rig.add(TaskType.ENCODING)

    daemon = await rig.start()
    await daemon.event("task.completed", task=task)
    checked = await rig.run("check", "--json")
    await rig.execute((await rig.run("db", "grants", role.name)).out)
    mended = await rig.run("check", "--json")

    assert "The role may not read the titles in it" in checked.out
    assert [severity for severity, _ in _about_rights(checked) + _about_rights(mended)] == ["fine", "fine"]
    assert "The role may not read" not in mended.out


async def test_a_right_that_a_release_before_did_without_is_not_waited_for(rig: Rig) -> None:
    """A daemon whose grants were of that release did not begin, and nothing was submitted or imported."""
    async with _made(rig) as role:
        await rig.execute(f"REVOKE DELETE ON podfile_userfolder_users FROM {role.name}")
        [task] = await rig.add(TaskType.ENCODING)
        folder = await rig.fetch(
            "INSERT INTO podfile_userfolder (name, owner_id, created_at)"
            " SELECT slug, owner_id, now() FROM video_video"
            " WHERE id = (SELECT video_id FROM runner_manager_task WHERE id = $1) RETURNING id",
            task,
        )
        await rig.execute(
            "INSERT INTO podfile_userfolder_users (userfolder_id, user_id)"
            f" SELECT {folder[0]['id']}, max(id) FROM auth_user"
        )
        shared = "SELECT count(*) FROM podfile_userfolder_users WHERE userfolder_id = $1"

        daemon = await rig.start()
        await daemon.event("task.completed", task=task)
        [row] = await rig.fetch(shared, folder[0]["id"])
        checked = _about_rights(await rig.run("check", "--json"))
        await rig.execute((await rig.run("db", "grants", role.name)).out)
        mended = _about_rights(await rig.run("check", "--json"))

        assert row["count"] == 1
        assert [severity for severity, _ in checked] == ["fine", "note"]
        assert "lacks DELETE on podfile_userfolder_users" in checked[1][1]
        assert [severity for severity, _ in mended] == ["fine"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER ROLE {role} SUPERUSER", "is a superuser"),
        ("GRANT postgres TO {role}", "owns Pod's tables"),
        ("GRANT SELECT, DELETE ON auth_user TO {role}", "does not need: SELECT, DELETE on auth_user"),
        ("GRANT CREATE ON DATABASE {database} TO {role}", "does not need: CREATE on the database"),
    ],
)
async def test_check_names_rights_that_are_not_needed(
    rig: Rig, role: Role, statement: str, words: str
) -> None:
    await rig.execute(statement.format(role=role.name, database=rig.database.name))

    checked = await rig.run("check", "--json")

    [needed, surplus] = _about_rights(checked)
    assert needed[0] == "fine"
    assert surplus[0] == "note"
    assert words in surplus[1]
    assert "poddispatchd db setup" in surplus[1]


async def test_a_campaign_needs_no_more_rights(rig: Rig, role: Role) -> None:
    assert role.name in role.dsn
    daemon = await rig.start()
    async with rig.database.connection() as connection:
        video = await add_video(connection, rig.world, title="An old lecture")
    sql = rig.directory / "chosen.sql"
    sql.write_text("SELECT id FROM video_video")
    made = await rig.run("campaigns", "create", "anew", "--type", "encoding", "--sql-file", str(sql))
    assert made.status == 0, made.err
    await daemon.event("campaign.done", campaign="anew")
    [row] = await rig.fetch("SELECT video_id, status FROM runner_manager_task")
    assert (row["video_id"], row["status"]) == (video.id, "completed")


async def test_rows_that_a_policy_hides_are_waited_for_and_not_taken_for_deleted(rig: Rig) -> None:
    """Row-level security was enabled, and each task failed for good: its video 'has been deleted'."""
    async with _made(rig):
        daemon = await rig.start()
        await _completed(daemon, await rig.add(TaskType.ENCODING))
        for table in ("video_video", "recorder_recording"):
            await rig.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        tasks = await rig.add(TaskType.ENCODING, TaskType.TRANSCRIPTION, TaskType.STUDIO)
        async with asyncio.timeout(60):
            while "insufficient privilege (42501): video_video" not in (await rig.get("/api/status"))[1]:
                await rig.look()
        assert {(await rig.statuses())[task] for task in tasks} == {"pending"}
        told = (await rig.run("check", "--json")).out
        assert "Row-level security holds for this role on recorder_recording, video_video" in told
        for table in ("video_video", "recorder_recording"):
            await rig.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        await _completed(daemon, tasks)
