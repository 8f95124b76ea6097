import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import yaml
from aiohttp import web

from poddispatchd.app import database_checks
from poddispatchd.cli import common
from poddispatchd.cli.daemon_state import State
from poddispatchd.cli.unit import Unit
from poddispatchd.config.units import Address
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.pod import lock_holders
from poddispatchd.sandbox.pod.world import add_task, add_video
from poddispatchd.web.listener import listening
from tests.integration.cli.conftest import Pod, invoke


async def _problems(pod: Pod) -> dict[str, str]:
    """What check finds wrong, by subject."""
    said = await pod.run("check", "--json")
    found = cast("list[dict[str, str]]", said.json())
    problems = {item["subject"]: item["words"] for item in found if item["severity"] == "problem"}
    assert said.status == (3 if problems else 0), said.err
    return problems


@pytest.fixture
async def sound(pod: Pod) -> Pod:
    """A Pod on which check finds nothing wrong."""
    await pod.execute("DELETE FROM runner_manager WHERE name = 'second'")
    return pod


async def test_a_sound_pod_has_no_problem(sound: Pod) -> None:
    said = await sound.run("check")

    assert (await _problems(sound), said.status, said.err) == ({}, 0, "")
    assert "ok      runner manager first: It answers" in said.out


async def test_the_file_that_a_variable_names_is_the_one_that_is_looked_at(
    sound: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` said that there was no file, and did not see that everybody could read its password."""
    monkeypatch.setenv("PODDISPATCHD_CONFIG", str(sound.config))
    sound.set("push", vapid_private_key="a-secret-of-ours")
    sound.config.chmod(0o644)

    said = await asyncio.to_thread(invoke, "check")

    assert f"PROBLEM configuration: {sound.config} can be read by everybody" in said.out


async def test_a_link_that_leads_out_of_what_the_unit_may_write_to_is_told(
    sound: Pod, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All was well for whoever asked from outside of the sandbox, and no result could be written."""
    root = sound.world.media_root
    unit = Unit("poddispatchd.service", is_strict=True, writable=(root,))
    monkeypatch.setattr(common, "_unit_for_root", lambda _: unit)
    assert await _problems(sound) == {}
    elsewhere = tmp_path / "disk" / "videos"
    elsewhere.parent.mkdir()
    (root / "videos").rename(elsewhere)
    (root / "videos").symlink_to(elsewhere)

    [(subject, words)] = (await _problems(sound)).items()

    assert subject == "unit"
    assert f"may not write to {elsewhere} ({root}/videos leads there): name it in ReadWritePaths=" in words
    # A daemon that runs has the sandbox of its start.
    assert words.endswith("'systemctl daemon-reload' and 'systemctl restart poddispatchd.service'.")


async def test_an_older_postgresql_than_the_tests_know_is_told(
    sound: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_checks, "OLDEST_POSTGRESQL", 99)

    assert "poddispatchd is tested with 99 and later." in (await sound.run("check")).out


async def test_a_manager_that_does_not_answer_is_a_problem(pod: Pod) -> None:
    said = await pod.run("check")

    assert said.status == 3
    assert said.err == "1 problem found.\n"
    assert "PROBLEM runner manager second: " in said.out


async def test_a_wrong_token_is_a_problem(sound: Pod) -> None:
    await sound.execute("UPDATE runner_manager SET token = 'another-token'")

    assert "token" in (await _problems(sound))["runner manager first"]


async def test_no_active_manager_is_a_problem(sound: Pod) -> None:
    await sound.execute("UPDATE runner_manager SET is_active = false")

    assert "There is no active one" in (await _problems(sound))["runner managers"]


async def test_another_podfile_setting_is_a_problem(sound: Pod) -> None:
    sound.set("pod", use_podfile=False)

    assert "set it to true" in (await _problems(sound))["pod.use_podfile"]


async def test_unknown_sites_are_problems(sound: Pod) -> None:
    sound.set("pod", site_id=77)
    sound.set("dispatch", sites=["elsewhere.example.org"])

    problems = await _problems(sound)

    assert "77 is no site of this Pod" in problems["pod.site_id"]
    assert "'elsewhere.example.org' is no site" in problems["dispatch.sites"]


async def test_a_runner_manager_that_never_calls_is_told_while_a_daemon_would_hear_it(sound: Pod) -> None:
    """The way was proved from this machine alone, and all was well."""
    await sound.run("db", "init")
    await sound.execute(
        "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id, state, finished_at)"
        " SELECT n, (SELECT id FROM runner_manager), 't-' || n, 'done', now() FROM generate_series(1, 3) AS n"
    )
    unheard = await sound.run("check")
    await sound.execute(
        "UPDATE poddispatchd.leader SET term = 1, instance = 'x:1:1', since = now() - interval '1 day',"
        " lease_expires_at = now() + interval '1 hour'"
    )

    silent = await sound.run("check")
    await sound.execute(
        "INSERT INTO poddispatchd.callback (runner_manager_ids, task_id, status, digest, state, handled_at)"
        " SELECT array_agg(id), 't-3', 'completed', '', 'applied', now() FROM runner_manager"
    )
    called = await sound.run("check")

    words = "note    callbacks: Runner manager first has not called within a day: its 3 results were"
    assert [words in said.out for said in (unheard, silent, called)] == [False, True, False]


async def test_a_missing_table_is_a_problem(sound: Pod) -> None:
    await sound.execute("DROP TABLE video_encode_transcript_encodinglog CASCADE")

    assert "video_encode_transcript_encodinglog" in (await _problems(sound))["Pod's tables"]


async def test_a_media_root_that_does_not_exist_is_a_problem(sound: Pod, tmp_path: Path) -> None:
    sound.set("pod", media_root=str(tmp_path / "nowhere"))

    assert "does not exist" in (await _problems(sound))["media tree"]
    said = await sound.run("check")
    [line] = [line for line in said.out.splitlines() if "is MEDIA_ROOT mounted" in line]
    assert "nowhere does not exist: is MEDIA_ROOT mounted, and are" in line
    assert line.endswith("right?")


async def test_a_directory_of_thumbnails_that_cannot_be_written_to_is_a_problem(sound: Pod) -> None:
    """Only that of videos was tried, and each encoding failed over its thumbnails."""
    tree = cast("dict[str, dict[str, str]]", yaml.safe_load(sound.config.read_text(encoding="utf-8")))
    files = Path(tree["pod"]["media_root"]) / "files"
    if files.exists():
        files.rename(files.with_name("files-before"))
    files.write_text("a file where Pod has a directory")

    assert f"A directory cannot be made in {files}" in (await _problems(sound))["media tree"]


async def test_managers_of_an_establishment_that_nobody_is_of_are_told(sound: Pod) -> None:
    """A name that was written wrong: nobody there got mail, and nothing said so."""
    told = {"etab_1": ["a@example.org"], "etab_9": ["b@example.org"]}
    sound.set("mail", enabled=True, from_email="pod@example.org", port=9)
    sound.set("mail", use_establishment=True, establishment_managers=told)

    said = await sound.run("check")

    assert "note    mail: No owner in Pod is of 'etab_9' (mail.establishment_managers)" in said.out
    assert "Pod's owners are of 'etab_1'" in said.out


async def test_a_full_disk_is_a_problem(sound: Pod) -> None:
    sound.set("imports", keep_free="8000000GiB")

    words = (await _problems(sound))["media tree"]

    assert "less than imports.keep_free (8000000GiB): make room there" in words
    assert "can be written" not in words


async def test_a_database_that_does_not_answer_is_a_problem_and_the_rest_is_told(sound: Pod) -> None:
    sound.set("database", dsn="postgresql://pod@127.0.0.1:1/pod")
    sound.set("pod", media_root="/nonexistent")

    problems = await _problems(sound)

    assert problems["database"].startswith("The database cannot be reached: ")
    assert "does not exist" in problems["media tree"]


async def test_a_task_that_runs_for_too_long_is_a_problem_while_it_runs(sound: Pod) -> None:
    await sound.run("db", "init")
    async with sound.database.connection() as connection:
        running, ended = [
            await add_task(connection, TaskType.ENCODING, status=status, task_id="x")
            for status in (TaskStatus.RUNNING, TaskStatus.COMPLETED)
        ]
        await connection.execute(
            "INSERT INTO poddispatchd.sighting (task_pk, task_id, is_stale)"
            " VALUES ($1, 'x', true), ($2, 'x', true)",
            *(running, ended),
        )

    problems = await _problems(sound)

    assert problems.keys() == {"running tasks"}
    assert problems["running tasks"].startswith(f"Task {running} has been running for more than 2h:")


async def test_what_cannot_be_looked_at_is_a_problem_and_not_passed_over(sound: Pod) -> None:
    await sound.run("db", "init")

    async with sound.database.connection() as other, other.transaction():
        await other.execute("LOCK TABLE runner_manager_task, poddispatchd.campaign IN ACCESS EXCLUSIVE MODE")
        problems = await _problems(sound)
        said = await sound.run("tasks", "list")

    held = "This could not be looked at. Another database session holds a row or a table (55P03)."
    assert {"running tasks": held, "pending tasks": held, "campaigns": held}.items() <= problems.items()
    assert (said.status, "Try again; 'poddispatchd check' tells who." in said.err) == (1, True)


async def test_who_holds_the_whole_task_table_is_told(sound: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_holders, "_LONG", 0.0)

    async with sound.database.connection() as other, other.transaction():
        await other.execute("LOCK TABLE runner_manager_task IN ACCESS EXCLUSIVE MODE")
        pid = await other.fetchval("SELECT pg_backend_pid()")
        words = (await _problems(sound))["held rows"]

    assert words.startswith("A transaction that is left open holds Pod's whole task table, by process ")
    assert f"process {pid} of the database server" in words


async def test_a_type_that_waits_for_long_while_none_of_it_runs_is_a_problem(sound: Pod) -> None:
    await sound.run("db", "init")
    await sound.execute("UPDATE poddispatchd.leader SET lease_expires_at = now() + interval '1 hour'")
    long_ago = datetime.now(UTC) - timedelta(hours=3)
    async with sound.database.connection() as connection:
        for kind in (TaskType.ENCODING, TaskType.TRANSCRIPTION):
            await add_task(connection, kind, date_added=long_ago)
        await add_task(connection, TaskType.ENCODING, status=TaskStatus.RUNNING, task_id="x")
        await add_task(connection, TaskType.STUDIO)

    problems = await _problems(sound)

    assert problems.keys() == {"pending tasks"}
    assert problems["pending tasks"].startswith(
        "Tasks of type transcription have been waiting for more than 2h while none runs: "
    )


async def test_a_schema_of_a_newer_program_is_a_problem(sound: Pod) -> None:
    await sound.run("db", "init")
    await sound.execute("INSERT INTO poddispatchd.schema_version (version) VALUES (9999)")

    assert "9999" in (await _problems(sound))["own schema"]


async def test_a_web_server_with_nobody_behind_it_is_told_from_one_that_does_not_pass_the_webhook_on(
    sound: Pod,
) -> None:
    async def told(status: int) -> str:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=status)

        site = web.Application()
        site.router.add_get("/runner/notify_task_end/", answer)
        async with listening(site, Address("127.0.0.1", 0), "test") as address:
            sound.set("pod", https=False)
            await sound.execute("UPDATE django_site SET domain = $1 WHERE id = 1", str(address))
            found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())
        return next(item["words"] for item in found if item["subject"] == "webhook")

    assert "passes it on to where nobody answers. Start the daemon" in await told(502)
    assert "where a webhook answers 405" in await told(404)


async def test_pods_own_webhook_is_not_taken_for_ours(sound: Pod) -> None:
    """Both answer a GET with 405: a web server without our location passed."""

    async def told(posted: int) -> dict[str, str]:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=405 if request.method == "GET" else posted)

        site = web.Application()
        site.router.add_route("*", "/runner/notify_task_end/", answer)
        async with listening(site, Address("127.0.0.1", 0), "test") as address:
            await sound.execute("UPDATE django_site SET domain = $1 WHERE id = 1", str(address))
            found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())
        return next(item for item in found if item["subject"] == "webhook")

    ours, pods = await told(403), await told(404)

    assert (ours["severity"], "it is poddispatchd that does" in ours["words"]) == ("fine", True)
    assert (pods["severity"], "it is Pod's own webhook" in pods["words"]) == ("problem", True)


async def test_a_configuration_that_everybody_reads_is_a_problem(sound: Pod) -> None:
    sound.config.chmod(0o644)
    assert "can be read by everybody" in (await _problems(sound))["configuration"]
    sound.config.chmod(0o640)
    assert await _problems(sound) == {}


async def test_what_is_worth_knowing_before_the_first_start_is_noted(sound: Pod) -> None:
    sound.set("ops", listen="0.0.0.0:9")
    assert (await sound.run("db", "init")).status == 0
    assert (await sound.run("runners", "pause", "first")).status == 0
    found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())
    notes = {item["subject"]: item["words"] for item in found if item["severity"] == "note"}

    assert "ops.listen is 0.0.0.0:9: whoever reaches that address" in notes["ops.listen"]
    assert "Runner manager first is paused." in notes["pending tasks"]
    assert "Only one is active" in notes["runner managers"]
    sound.set("ops", listen="127.0.0.1:9")
    found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())
    assert "ops.listen" not in {item["subject"] for item in found}


async def test_that_nobody_schedules_while_tasks_wait_is_noted(sound: Pod) -> None:
    """Nothing was known that kept them: nobody looked whether any daemon ran."""

    async def notes() -> list[str]:
        found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())
        return [item["words"] for item in found if item["subject"] == "pending tasks"]

    alone = (
        "Tasks wait, and nobody schedules: no poddispatchd (but a shadow, if any) runs on this database."
        " Start one: 'systemctl start poddispatchd'."
    )
    async with sound.database.connection() as connection:
        await add_task(connection, TaskType.ENCODING)
    assert await notes() == [alone]
    await sound.run("db", "init")
    assert await notes() == [alone]
    await sound.execute("UPDATE poddispatchd.leader SET lease_expires_at = now() + interval '1 hour'")
    assert await notes() == ["Nothing is known that keeps them."]


async def test_tasks_whose_window_is_closed_are_said_to_wait_for_it(sound: Pod) -> None:
    """Nothing was known that kept them."""
    await sound.run("db", "init")
    await sound.execute("UPDATE poddispatchd.leader SET lease_expires_at = now() + interval '1 hour'")
    async with sound.database.connection() as connection:
        await add_task(connection, TaskType.ENCODING)
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%a").lower()
    sound.set("windows", task_types={"encoding": f"{day} 12:00-13:00"}, time_zone="UTC")

    found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())

    [told] = [item for item in found if item["subject"] == "pending tasks"]
    assert told["severity"] == "fine"
    assert "Of type encoding: They wait for their window, which opens at " in told["words"]
    assert (
        f"encoding: window {day} 12:00-13:00" in {item["subject"]: item["words"] for item in found}["windows"]
    )


async def test_what_has_waited_since_the_crons_days_is_not_blamed_on_runners(sound: Pod) -> None:
    """Before the first start check said that every runner is busy, or that they are submitted now."""

    async def words() -> list[str]:
        found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())
        return [item["words"] for item in found if item["subject"] == "pending tasks"]

    await sound.run("db", "init")
    long_ago = datetime.now(UTC) - timedelta(days=2)
    async with sound.database.connection() as connection:
        await add_task(connection, TaskType.ENCODING, date_added=long_ago)
    [alone] = await words()
    assert alone.startswith("Tasks wait, and nobody schedules")

    await sound.execute("UPDATE poddispatchd.leader SET lease_expires_at = now() + interval '1 hour'")
    async with sound.database.connection() as connection:
        await add_task(connection, TaskType.ENCODING, status=TaskStatus.RUNNING)
    [old] = await words()
    assert old.startswith("Of type encoding: The oldest has been waiting for 2 d")
    assert "'poddispatchd status'" in old


async def test_a_video_whose_task_was_deleted_while_it_ran_is_noted(sound: Pod) -> None:
    """Pod shows it as being encoded, for ever, and nobody named it."""

    async def notes() -> list[str]:
        found = cast("list[dict[str, str]]", (await sound.run("check", "--json")).json())
        return [item["words"] for item in found if item["subject"] == "videos"]

    async with sound.database.connection() as connection:
        left, other = [await add_video(connection, sound.world, with_file=False) for _ in range(2)]
        for video in (left, other):
            await add_task(connection, TaskType.ENCODING, video=video, status=TaskStatus.RUNNING)
    await sound.execute(
        "UPDATE video_video SET encoding_in_progress = true WHERE id = ANY ($1)", [left.id, other.id]
    )
    assert await notes() == []

    await sound.execute("DELETE FROM runner_manager_task WHERE video_id = $1", left.id)
    [words] = await notes()
    assert words.startswith("1 shown as being encoded while no task of theirs waits or runs (the latest: ")
    assert f"(the latest: {left.id})" in words


async def test_a_server_that_only_reads_is_a_problem(sound: Pod) -> None:
    """The daemon once was not ready for days, and check had nothing to say against the database."""
    name = sound.database.dsn.get_secret_value().rpartition("/")[2].partition("?")[0]
    await sound.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')

    assert "default_transaction_read_only is on" in (await _problems(sound))["database"]


@asynccontextmanager
async def _a_daemon_that_says(sound: Pod, **told: list[str]) -> AsyncIterator[None]:
    async def answer(_: web.Request) -> web.Response:
        state = dict.fromkeys(State.__required_keys__) | {"queue": [], "managers": [], "problems": []}
        return web.json_response({**state, "not_ready": [], **told})

    site = web.Application()
    site.router.add_get("/api/status", answer)
    async with listening(site, Address("127.0.0.1", 0), "test") as address:
        sound.set("ops", listen=str(address))
        yield


async def test_what_keeps_the_running_daemon_from_its_work_is_a_problem(sound: Pod) -> None:
    async with _a_daemon_that_says(sound, not_ready=["The inbox fails, 4 times by now."]):
        assert (await _problems(sound))["daemon"] == "The inbox fails, 4 times by now."


async def test_what_only_the_running_daemon_suffers_from_is_a_problem(sound: Pod) -> None:
    """A mount that only its sandbox saw was read-only: check said that all is well."""
    words = "Results wait: 26.lock cannot be locked: Read-only file system."
    async with _a_daemon_that_says(sound, problems=[words]):
        assert await _problems(sound) == {"daemon": words}


async def test_what_the_daemon_suffers_from_is_not_told_beside_what_check_has_found_itself(
    sound: Pod, tmp_path: Path
) -> None:
    sound.set("pod", media_root=str(tmp_path / "nowhere"))
    async with _a_daemon_that_says(sound, problems=["It is not there, in the words of the daemon."]):
        assert set(await _problems(sound)) == {"media tree"}
