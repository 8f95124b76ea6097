"""From an event in the journal to a mail: queued with what it tells of, sent once, tried again, given up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from email.message import EmailMessage
from pathlib import Path
from typing import TypeAlias

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import features
from poddispatchd.app.jobs import Jobs
from poddispatchd.app.parts import Parts
from poddispatchd.domain.task import RunnerStatus, Task, TaskStatus, TaskType, VideoId
from poddispatchd.errors import DatabaseUnavailableError
from poddispatchd.journal import notices
from poddispatchd.maintenance import journal_purge
from poddispatchd.notify import queue
from poddispatchd.notify.smtp import MailServer
from poddispatchd.observability.events import Event
from poddispatchd.runtime.queue_tables import DELIVERIES
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from poddispatchd.tasks.run_report import ReportOrigin, RunReport
from poddispatchd.tasks.transitions import apply_report, fail_task
from tests.integration.notify.bench import (
    ONCE,
    Postbox,
    Received,
    Telling,
    counted,
    daemon_parts,
    mail_settings,
    make_due,
    postbox,
    queue_of,
    record_completion,
    record_failure,
    recorded_notices,
    settings_of,
    task_of,
)
from tests.plugins.postgres import PodDatabase

MakeParts: TypeAlias = Callable[..., AbstractAsyncContextManager[Parts]]


@pytest.fixture
async def box() -> AsyncIterator[Postbox]:
    async with postbox() as made:
        yield made


@pytest.fixture
def parts_with(pod_database: PodDatabase, media_root: Path, world: World) -> MakeParts:
    """Parts of a daemon with changed settings, on the seeded Pod."""

    def make(**changes: dict[str, object]) -> AbstractAsyncContextManager[Parts]:
        return daemon_parts(settings_of(pod_database, media_root, changes))

    return make


@pytest.fixture
async def task(pod_database: PodDatabase, world: World) -> Task:
    """An encoding of a video with a tricky title that runs on a manager."""
    async with pod_database.connection() as connection:
        video = await add_video(
            connection, world, title="L'été <b>à</b> Évry", title_en="Summer <b>in</b> Évry", owner="faculty"
        )
        pk = await add_task(
            connection,
            TaskType.ENCODING,
            video=video,
            status=TaskStatus.RUNNING,
            task_id="rm-1",
            runner_manager=world.managers[0].id,
        )
        async with daemon_parts(settings_of(pod_database, world.media_root, {})) as parts:
            return await task_of(parts, pk)


async def test_a_completed_import_is_told_to_managers_and_owner(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        await record_completion(parts, task)
        assert await Telling(parts).step() > 60.0  # nothing is due: the next end of a task rings

        assert [(each.recipients, each.message["Subject"]) for each in box.received] == [
            (("manager@example.org",), f"[Django] [Pod] Encoding #{task.video_id} completed"),
            (("faculty@example.org",), f"[Pod] Encoding #{task.video_id} completed"),
        ]
        text, html = (part.get_content() for part in box.received[1].message.iter_parts())
        assert "Summer <b>in</b> Évry" in text
        assert "Summer &lt;b&gt;in&lt;/b&gt; Évry" in html
        assert f"http://pod.example.org/video/{task.video_id:04d}-" in text
        assert await queue_of(parts) == [("mail", "done", 1), ("mail", "done", 1)]
        assert counted(parts, "mail", "sent") == 2
        assert (
            await parts.database.fetchrow("SELECT FROM poddispatchd.delivery WHERE content IS NOT NULL")
            is None
        )


async def test_a_video_that_has_a_title_in_another_language_only_is_told_with_that(
    pod_database: PodDatabase, parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    """As on Pod's pages, which never read the plain column: here it holds an earlier title."""
    async with pod_database.connection() as connection:
        await connection.execute(
            "UPDATE video_video SET title = 'Brouillon', title_en = '', title_fr = 'Le mur' WHERE id = $1",
            task.video_id,
        )
    async with parts_with(mail=mail_settings(box)) as parts:
        await record_completion(parts, task)
        await Telling(parts).step()

    to_managers, to_owner = (each.message.as_string() for each in box.received)
    assert "Le mur" in to_managers
    assert "Le mur" in to_owner
    assert "Brouillon" not in to_managers + to_owner


async def test_nothing_is_queued_when_everything_is_disabled(parts_with: MakeParts, task: Task) -> None:
    async with parts_with() as parts:
        await record_completion(parts, task)
        await record_failure(parts, task)
        await Telling(parts).step()

        assert await recorded_notices(parts) == []
        assert await queue_of(parts) == []


async def test_what_was_queued_is_dropped_when_mail_is_disabled(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(None)) as parts:
        await record_failure(parts, task)
        await Telling(parts).step()
    async with parts_with() as parts:
        await Telling(parts).step()
        assert await queue_of(parts) == [("mail", "dropped", 1)]


async def test_an_event_goes_with_the_transaction_that_it_tells_of(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        with suppress(ZeroDivisionError):
            async with parts.database.transaction() as connection:
                await notices.add_failed(connection, task, "never committed")
                raise ZeroDivisionError
        await Telling(parts).step()
    assert box.received == []


@pytest.mark.parametrize("status", [RunnerStatus.FAILED, RunnerStatus.TIMEOUT])
async def test_a_reported_end_is_told_to_the_admins_once_however_often_it_is_reported(
    parts_with: MakeParts, box: Postbox, task: Task, status: RunnerStatus
) -> None:
    report = RunReport(status, "Encoding <failed>", "ffmpeg: no", ReportOrigin.CALLBACK)
    async with parts_with(mail=mail_settings(box)) as parts:
        for _ in range(2):
            async with parts.database.transaction() as connection:
                current = await task_of(parts, task.pk)
                await apply_report(connection, current, report, retries=ONCE)
        await Telling(parts).step()

        (mail,) = box.received
        assert mail.recipients == ("admin@example.org",)
        assert mail.message["Subject"] == "[Django] [Pod] Error Encoding Task id: rm-1"
        assert "Encoding &lt;failed&gt;" in mail.message.as_string()


async def test_a_mail_to_admins_leads_to_the_task_and_reads_french_where_pod_does(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(box), pod={"language": "fr", "https": True}) as parts:
        async with parts.database.transaction() as connection:
            words = f"Its result cannot be imported: The video of task {task.pk} does not exist any more."
            assert await fail_task(connection, task, words)
        await Telling(parts).step()

    (mail,) = box.received
    french = f"Son résultat ne peut pas être importé : La vidéo de la tâche {task.pk} n'existe plus."
    link = f"https://pod.example.org/admin/video_encode_transcript/task/{task.pk}/change/"
    text, page = (mail.message.get_body((kind,)).get_content() for kind in ("plain", "html"))  # type: ignore[union-attr]  # it has both
    assert "Une tâche de" in text
    assert french in text
    assert link in text
    assert f'<a href="{link}">' in page


async def test_no_words_undo_what_they_tell_of(parts_with: MakeParts, box: Postbox, task: Task) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        await record_failure(parts, task, "\0 \ud800 \x1b[31m " + "x" * 100_000)
        await Telling(parts).step()
        assert await queue_of(parts) == [("mail", "done", 1)]
    assert "[…]" in box.received[0].message.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # it has one


async def test_what_we_end_ourselves_is_told_by_its_video(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        async with parts.database.transaction() as connection:
            assert await fail_task(connection, task, "Its source is gone.")
            assert not await fail_task(connection, task, "Its source is gone.")
        await Telling(parts).step()

    assert box.subjects == [f"[Django] [Pod] Error Encoding Video id: {task.video_id}"]


async def test_mail_waits_for_a_server_that_is_away_and_goes_once(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(None)) as parts:
        await record_completion(parts, task)
        await Telling(parts).step()
        assert await queue_of(parts) == [("mail", "open", 1), ("mail", "open", 1)]
        assert counted(parts, "mail", "retried") == 2
    async with parts_with(mail=mail_settings(box)) as parts:
        again = Telling(parts)
        await again.step()
        assert box.received == []  # not yet due
        await make_due(parts)
        await again.step()
        await make_due(parts)
        await again.step()
        assert await queue_of(parts) == [("mail", "done", 2), ("mail", "done", 2)]
    assert len(box.received) == 2


async def test_mail_that_waits_for_long_is_told_by_status_with_how_much_since_when_and_why(
    parts_with: MakeParts, task: Task
) -> None:
    """A mail server that was away was told once, in the log, and for eight hours by nothing else."""
    async with parts_with(mail=mail_settings(None), push={"enabled": False}) as parts:
        jobs = Jobs.of(parts)

        async def notices_now() -> str:
            await jobs.maintenance.unsettled.look()
            return " ".join(features.status(parts).state(jobs.progress).notices)

        await record_completion(parts, task)
        await Telling(parts).step()
        assert "mail" not in await notices_now()

        await parts.database.execute(
            "UPDATE poddispatchd.delivery SET created_at = now() - interval '185 min'"
        )
        jobs = Jobs.of(parts)
        assert (
            "2 mails wait to be delivered, the oldest for 3 h 05 min: The mail server 127.0.0.1:9 cannot "
        ) in await notices_now()


async def test_only_who_did_not_get_it_gets_it_again(parts_with: MakeParts, box: Postbox, task: Task) -> None:
    admins = ["admin@example.org", "busy@example.org", "gone@example.org"]
    box.answers = {"busy@example.org": "450 Later", "gone@example.org": "550 Unknown"}
    async with parts_with(mail=mail_settings(box, admins=admins)) as parts:
        await record_failure(parts, task)
        notifier = Telling(parts)
        await notifier.step()
        box.answers = {}
        await make_due(parts)
        await notifier.step()

        assert await queue_of(parts) == [("mail", "done", 2)]
    assert [each.recipients for each in box.received] == [("admin@example.org",), ("busy@example.org",)]
    assert box.received[0].message["Message-ID"] == box.received[1].message["Message-ID"]


async def test_a_lost_answer_is_tried_again_under_the_same_message_id(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    box.hang_up_after = True
    async with parts_with(mail=mail_settings(box)) as parts:
        await record_failure(parts, task)
        notifier = Telling(parts)
        await notifier.step()
        assert await queue_of(parts) == [("mail", "open", 1)]
        box.hang_up_after = False
        await make_due(parts)
        await notifier.step()
        assert await queue_of(parts) == [("mail", "done", 2)]
    assert len({each.message["Message-ID"] for each in box.received}) == 1


async def test_mail_that_is_refused_or_tried_too_often_is_given_up_and_counted(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        notifier = Telling(parts)
        await record_failure(parts, task)
        box.data_answers = ["554 Spam"]
        await notifier.step()
        assert await queue_of(parts) == [("mail", "failed", 1)]
        await record_failure(parts, task)
        for _ in range(12):
            box.data_answers = ["451 Later"]
            await notifier.step()
            await make_due(parts)
        assert await queue_of(parts) == [("mail", "failed", 1), ("mail", "set_aside", 12)]
        assert counted(parts, "mail", "failed") == 2
        assert counted(parts, "mail", "retried") == 11
    assert box.received == []


async def test_a_mail_is_not_sent_again_because_the_database_went_away(
    parts_with: MakeParts, box: Postbox, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = queue.close_delivery

    async def lost(*_: object) -> None:
        raise DatabaseUnavailableError

    async with parts_with(mail=mail_settings(box)) as parts:
        await record_failure(parts, task)
        notifier = Telling(parts)
        monkeypatch.setattr(queue, "close_delivery", lost)
        with pytest.raises(DatabaseUnavailableError):
            await notifier.step()
        monkeypatch.setattr(queue, "close_delivery", close)
        await make_due(parts)  # even if its claim has run out
        await notifier.step()
        assert await queue_of(parts) == [("mail", "done", 1)]
    assert len(box.received) == 1


async def test_a_stop_finishes_the_mail_in_hand_and_gives_the_others_back(
    parts_with: MakeParts, box: Postbox, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        for _ in range(3):
            await record_failure(parts, task)
        notifier = Telling(parts)
        in_hand, go_on = asyncio.Event(), asyncio.Event()
        send = MailServer.send

        async def slowly(self: MailServer, *arguments: object) -> object:
            in_hand.set()
            await go_on.wait()
            return await send(self, *arguments)  # type: ignore[arg-type]  # passed on as they come

        monkeypatch.setattr(MailServer, "send", slowly)
        step = asyncio.create_task(notifier.step())
        await in_hand.wait()
        step.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(step, return_exceptions=True)

        assert step.cancelled()
        assert len(box.received) == 1
        assert await queue_of(parts) == [("mail", "done", 1), ("mail", "open", 0), ("mail", "open", 0)]
        await Telling(parts).step()
        assert len(box.received) == 3


async def test_two_daemons_tell_everyone_once(parts_with: MakeParts, box: Postbox, task: Task) -> None:
    async with parts_with(mail=mail_settings(box)) as one, parts_with(mail=mail_settings(box)) as other:
        for number in range(15):
            await record_failure(one, task, f"failure {number}")
        await asyncio.gather(Telling(one).drain(), Telling(other).drain())
        assert {state for _, state, _ in await queue_of(one)} == {"done"}
    assert len(box.received) == 15
    assert len({each.message["Message-ID"] for each in box.received}) == 15


async def test_what_a_killed_daemon_was_at_is_due_again_after_its_claim(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(None)) as parts:
        await record_failure(parts, task)
        await Telling(parts).step()
        await make_due(parts)
        async with parts.database.connection() as connection:
            (claimed,) = await DELIVERIES.claim(connection, "killed", 10, only=["mail"])
            assert await DELIVERIES.claim(connection, "other", 10, only=["mail"]) == []
        assert claimed.lease.attempts == 2
    async with parts_with(mail=mail_settings(box)) as parts:
        await make_due(parts)
        await Telling(parts).step()
    assert len(box.received) == 1


async def test_an_event_that_cannot_be_understood_holds_nobody_up(
    parts_with: MakeParts, box: Postbox, task: Task, pod_database: PodDatabase
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        await record_completion(parts, task)
        await record_failure(parts, task)
        async with pod_database.connection() as connection:
            await connection.execute("ALTER TABLE authentication_owner RENAME TO moved_away")
        await Telling(parts).step()
        # It is not forgotten either: it waits until the table is there again.
        [(event, state, words)] = await recorded_notices(parts)
        assert (event, state) == ("completed", "open")
        assert "42P01" in str(words)
        async with pod_database.connection() as connection:
            await connection.execute("ALTER TABLE moved_away RENAME TO authentication_owner")
            await connection.execute("UPDATE poddispatchd.notice SET next_attempt_at = now()")
        await Telling(parts).step()
        assert await recorded_notices(parts) == []
        assert len(box.received) == 3
        del box.received[1:]
    assert box.subjects == [f"[Django] [Pod] Error Encoding Video id: {task.video_id}"]


async def test_nobody_is_told_of_a_video_that_was_deleted_meanwhile(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        async with parts.database.transaction() as connection:
            await notices.add_completed(connection, task, VideoId(987654))
        await Telling(parts).step()
        assert await queue_of(parts) == []
    assert box.received == []


async def test_settled_deliveries_are_forgotten_after_their_time(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    async with parts_with(mail=mail_settings(box)) as parts:
        await record_failure(parts, task)
        await Telling(parts).step()
        await parts.database.execute(
            "UPDATE poddispatchd.delivery SET settled_at = now() - interval '91 days'"
        )
        async with parts.database.connection() as connection:
            await journal_purge.purge(connection, days=90, batch=100)
        assert await queue_of(parts) == []


async def test_a_mail_that_nobody_can_handle_holds_up_no_other(
    parts_with: MakeParts, box: Postbox, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = MailServer.send

    async def trip(self: MailServer, *arguments: object) -> object:
        if not box.received:
            box.received.append(Received("", (), EmailMessage()))
            raise RuntimeError("a bug")
        return await send(self, *arguments)  # type: ignore[arg-type]  # passed on as they come

    async with parts_with(mail=mail_settings(box)) as parts:
        for _ in range(2):
            await record_failure(parts, task)
        monkeypatch.setattr(MailServer, "send", trip)
        await Telling(parts).step()
        assert sorted(await queue_of(parts)) == [("mail", "done", 1), ("mail", "open", 1)]
        await make_due(parts)
        await Telling(parts).step()
        assert sorted(await queue_of(parts)) == [("mail", "done", 1), ("mail", "done", 2)]
    assert len(box.received) == 3


async def test_a_mail_over_which_the_server_hangs_up_is_no_failure_of_those_behind_it(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    """It stood first each time: the others were counted as tried, put off, and set aside with it."""
    box.hang_up_after = True
    async with parts_with(mail=mail_settings(box)) as parts:
        for _ in range(3):
            await record_failure(parts, task)
        notifier = Telling(parts)
        with capture_logs() as lines:
            await notifier.step()
            assert sorted(await queue_of(parts)) == [
                ("mail", "open", 0),
                ("mail", "open", 0),
                ("mail", "open", 1),
            ]
            await notifier.step()
            box.hang_up_after = False
            await notifier.step()
        assert sorted(await queue_of(parts)) == [
            ("mail", "done", 1),
            ("mail", "open", 1),
            ("mail", "open", 1),
        ]
    told = [line["event"] for line in lines if line["event"] in (Event.MAIL_DOWN, Event.MAIL_UP)]
    assert told == [Event.MAIL_DOWN, Event.MAIL_UP]


async def test_a_server_that_hangs_up_over_every_mail_is_called_ever_less_often(
    parts_with: MakeParts, box: Postbox, task: Task
) -> None:
    """It was called once for each of thousands of mails, as fast as it hung up."""
    box.hang_up_after = True
    async with parts_with(mail=mail_settings(box)) as parts:
        for _ in range(15):
            await record_failure(parts, task)
        telling = Telling(parts)
        await telling.notifier.step()
        mail = telling.notifier.mail
        assert [await mail.step() for _ in range(8)] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        box.hang_up_after = False
        assert await mail.step() < 60.0
        box.hang_up_after = True
        await make_due(parts)
        assert await mail.step() == 1.0
    assert box.connections == 10


async def test_a_server_that_takes_one_mail_over_each_connection_is_called_again_at_once(
    parts_with: MakeParts, box: Postbox, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = MailServer.send

    async def each_second_in_vain(self: MailServer, *arguments: object) -> object:
        box.hang_up_after = len(box.received) % 2 == 1
        return await send(self, *arguments)  # type: ignore[arg-type]  # passed on as they come

    async with parts_with(mail=mail_settings(box)) as parts:
        for _ in range(12):
            await record_failure(parts, task)
        monkeypatch.setattr(MailServer, "send", each_second_in_vain)
        telling = Telling(parts)
        await telling.notifier.step()
        assert await telling.notifier.mail.step() == 0.0
        assert await telling.notifier.mail.step() == 0.0
    assert (box.connections, len(box.received)) == (2, 4)


async def test_a_slow_server_is_left_the_rest_of_a_batch_for_the_next_step(
    parts_with: MakeParts, box: Postbox, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch must end before its claim does: else another daemon sends the same mails."""
    now, send = 0.0, MailServer.send

    async def slowly(self: MailServer, *arguments: object) -> object:
        nonlocal now
        now += 119.0
        return await send(self, *arguments)  # type: ignore[arg-type]  # passed on as they come

    async with parts_with(mail=mail_settings(box)) as parts:
        for _ in range(3):
            await record_failure(parts, task)
        monkeypatch.setattr(MailServer, "send", slowly)
        monkeypatch.setattr(parts.clock, "monotonic", lambda: now)
        await Telling(parts).step()
        assert sorted(await queue_of(parts)) == [
            ("mail", "done", 1),
            ("mail", "done", 1),
            ("mail", "open", 0),
        ]
        await Telling(parts).step()
    assert len(box.received) == 3
