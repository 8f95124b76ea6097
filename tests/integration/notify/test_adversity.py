"""A mail server, a push service or a certificate in trouble holds up nothing but its own (invariant I12)."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest

from poddispatchd.app import features
from poddispatchd.app.parts import Parts
from poddispatchd.config.notification import MailSettings
from poddispatchd.domain.notices import PushMessage
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import ServiceUnreachableError
from poddispatchd.notify import push as push_module
from poddispatchd.notify import queue, webpush
from poddispatchd.notify.deliveries import Deliveries
from poddispatchd.notify.smtp import Envelope, MailServer, Sent, mail_server
from poddispatchd.notify.webpush import Target
from poddispatchd.pod import recipients
from poddispatchd.runtime.lease_queue import Leased
from poddispatchd.sandbox.pod.world import World
from tests.integration.notify.bench import (
    Telling,
    counted,
    daemon_parts,
    mail_settings,
    make_due,
    postbox,
    queue_of,
    settings_of,
)
from tests.plugins.postgres import PodDatabase

CERTIFICATE = Path(__file__).parents[1] / "runner" / "localhost.pem"

_PUSH = {"enabled": True, "vapid_private_key": SecretStr("x"), "admin_email": "admin@example.org"}


@asynccontextmanager
async def _silent_server() -> AsyncIterator[int]:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _deliver(parts: Parts, channel: str, task: int, **content: object) -> None:
    await parts.database.execute(
        "INSERT INTO poddispatchd.delivery (channel, task_pk, content) VALUES ($1, $2, $3)",
        *(channel, task, json.dumps(content)),
    )


def _mail() -> dict[str, object]:
    return {
        "sender": "pod@example.org",
        "to": ["admin@example.org"],
        "bcc": [],
        "subject": "s",
        "text": "t",
        "html": "h",
        "message_id": "<1@example.org>",
        "left": ["admin@example.org"],
    }


async def test_a_certificate_file_that_is_gone_delays_mail_and_nothing_is_left_claimed(
    pod_database: PodDatabase, world: World, tmp_path: Path
) -> None:
    """The notifier crashed at every step, with its claims held."""
    ca_file = tmp_path / "ca.pem"
    shutil.copy(CERTIFICATE, ca_file)
    mail = mail_settings(None, security="tls", ca_file=str(ca_file))
    async with daemon_parts(settings_of(pod_database, world.media_root, {"mail": mail})) as parts:
        ca_file.unlink()
        await _deliver(parts, "mail", 1, **_mail())
        await Telling(parts).step()
        assert await queue_of(parts) == [("mail", "open", 1)]
        [row] = await parts.database.fetch("SELECT lease_owner, last_error FROM poddispatchd.delivery")
        assert row["lease_owner"] is None
        assert "mail.ca_file" in row["last_error"]


async def test_however_many_events_wait_a_step_finds_out_about_a_few(
    pod_database: PodDatabase, world: World
) -> None:
    """Ten thousand of them on a slow database were one step: a job that is stuck, for the watchdog."""
    async with daemon_parts(settings_of(pod_database, world.media_root, {})) as parts:
        await parts.database.execute(
            "INSERT INTO poddispatchd.notice (event, task_pk, task_type, words)"
            " SELECT 'failed', number, 'encoding', 'why' FROM generate_series(1, 120) AS number"
        )
        notifier = features.notifier(parts)
        waits = [await notifier.step() for _ in range(3)]
        assert (waits[:2], waits[2] > 0.0) == ([0.0, 0.0], True)
        assert await parts.database.fetch("SELECT FROM poddispatchd.notice WHERE state = 'open'") == []


async def test_a_mail_whose_row_somebody_holds_is_sent_once_and_the_others_are_sent(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it was free nothing was sent any more: that this one was sent had to be written down first."""
    async with postbox() as box, pod_database.connection() as other:
        changes = {"mail": {**mail_settings(box)}}
        async with daemon_parts(settings_of(pod_database, world.media_root, changes)) as parts:
            for task in (1, 2, 3):
                await _deliver(parts, "mail", task, **_mail())
            held, send = other.transaction(), MailServer.send

            async def hold_first(self: MailServer, envelope: Envelope, at: datetime) -> Sent:
                if not box.received:
                    await held.start()
                    await other.execute("SELECT FROM poddispatchd.delivery WHERE task_pk = 1 FOR UPDATE")
                return await send(self, envelope, at)

            monkeypatch.setattr(MailServer, "send", hold_first)
            mail = features.notifier(parts).mail
            await mail.step()
            assert [state for _, state, _ in await queue_of(parts)] == ["open", "done", "done"]
            await _deliver(parts, "mail", 4, **_mail())
            await mail.step()
            assert len(box.received) == 4
            await held.rollback()
            await mail.step()
            assert {state for _, state, _ in await queue_of(parts)} == {"done"}
            assert len(box.received) == 4


async def test_however_many_rows_somebody_holds_none_of_them_is_waited_for_long(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mail waited a second for each row that was held: with nine of them a step took a minute."""
    async with postbox() as box, pod_database.connection() as other:
        changes = {"mail": {**mail_settings(box)}}
        async with daemon_parts(settings_of(pod_database, world.media_root, changes)) as parts:
            for task in range(1, 11):
                await _deliver(parts, "mail", task, **_mail())
            held, send = other.transaction(), MailServer.send

            async def hold(self: MailServer, envelope: Envelope, at: datetime) -> Sent:
                if not box.received:
                    await held.start()
                    await other.execute("SELECT FROM poddispatchd.delivery WHERE task_pk < 10 FOR UPDATE")
                return await send(self, envelope, at)

            monkeypatch.setattr(MailServer, "send", hold)
            mail, begun = features.notifier(parts).mail, time.monotonic()
            for _ in range(2):
                await mail.step()
            assert time.monotonic() - begun < 8
            assert [state for _, state, _ in await queue_of(parts)].count("done") == 1
            await held.rollback()
            await mail.step()
            assert {state for _, state, _ in await queue_of(parts)} == {"done"}
            assert len(box.received) == 10


async def test_a_mail_server_that_says_nothing_holds_up_neither_pushes_nor_other_events(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _silent_server() as port:
        changes = {"mail": {**mail_settings(None), "port": port, "timeout": "2s"}, "push": _PUSH}
        async with daemon_parts(settings_of(pod_database, world.media_root, changes)) as parts:
            await _deliver(parts, "mail", 1, **_mail())
            await _deliver(parts, "push", 2, subscription=1, head="h", body="b", url="u")
            _known_services(monkeypatch, {1: "good.example.org"})
            notifier = features.notifier(parts)
            mailing = asyncio.create_task(notifier.mail.step())
            await asyncio.sleep(0)
            async with asyncio.timeout(1.5):
                await notifier.step()
                await notifier.push.step()
            assert not mailing.done()
            assert await queue_of(parts) == [("mail", "open", 1), ("push", "done", 1)]
            await mailing
            assert await queue_of(parts) == [("mail", "open", 1), ("push", "done", 1)]


async def test_a_connection_to_a_mail_server_that_ends_none_ends_with_whoever_gives_up_on_it() -> None:
    """Who looked at its certificate, each hour, had no time left for its farewell, and left it behind."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def never_says_goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if line.upper().startswith(b"QUIT"):
                asked.set()
            else:
                writer.write(b"250 here\r\n")
        ended.set()
        writer.close()

    async def look(port: int) -> None:
        async with mail_server(MailSettings.read({**mail_settings(None), "port": port})):
            pass

    async with await asyncio.start_server(never_says_goodbye, "127.0.0.1", 0) as server:
        looking = asyncio.create_task(look(server.sockets[0].getsockname()[1]))
        await asked.wait()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        async with asyncio.timeout(5):
            await ended.wait()


def _known_services(monkeypatch: pytest.MonkeyPatch, services: dict[int, str]) -> list[str]:
    """Subscriptions of these push services, of which ``dead`` answers nobody; who was posted to."""
    posted: list[str] = []

    async def subscription(_: object, number: int) -> object:
        return Target(f"https://{services[number]}/secret", "a", "p")

    async def send(_: object, __: object, target: Target, ___: PushMessage, *, now: object) -> None:
        posted.append(target.service)
        await asyncio.sleep(0)
        if target.service.startswith("dead"):
            raise ServiceUnreachableError(f"{target.service} cannot be reached.")

    monkeypatch.setattr(recipients, "subscription", subscription)
    monkeypatch.setattr(push_module, "send_push", send)
    return posted


async def test_a_push_service_that_does_not_answer_is_asked_a_few_times_and_the_others_are_served(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = dict.fromkeys(range(1, 101), "dead.example.org") | {101: "good.example.org"}
    posted = _known_services(monkeypatch, services)
    async with daemon_parts(settings_of(pod_database, world.media_root, {"push": _PUSH})) as parts:
        for number in services:
            await _deliver(parts, "push", number, subscription=number, head="h", body="b", url="u")
        notifier = features.notifier(parts)
        begun = time.monotonic()
        while await notifier.push.step() == 0.0:
            pass
        assert time.monotonic() - begun < 10
        assert posted.count("good.example.org") == 1
        assert posted.count("dead.example.org") <= 2 * push_module._AT_ONE_SERVICE
        counted = await parts.database.fetch(
            "SELECT state, attempts, count(*) FROM poddispatchd.delivery GROUP BY 1, 2 ORDER BY 1, 2"
        )
        assert [tuple(row)[:2] for row in counted] == [("done", 1), ("open", 0), ("open", 1)]


async def test_a_delivery_that_nobody_can_read_is_set_aside_and_kept(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _known_services(monkeypatch, {1: "good.example.org"})
    async with daemon_parts(settings_of(pod_database, world.media_root, {"push": _PUSH})) as parts:
        await _deliver(parts, "push", 1, subscription="seven")
        await _deliver(parts, "push", 2, subscription=1, head="h", body="b", url="u")
        notifier = features.notifier(parts)
        for _ in range(12):
            await notifier.push.step()
            await parts.database.execute(
                "UPDATE poddispatchd.delivery SET next_attempt_at = now() WHERE state = 'open'"
            )
        assert await queue_of(parts) == [("push", "set_aside", 12), ("push", "done", 1)]
        assert await parts.database.fetch("SELECT FROM poddispatchd.delivery WHERE content IS NOT NULL")


@asynccontextmanager
async def _refusing_server(answer: bytes) -> AsyncIterator[int]:
    """A mail server that takes mail for nobody, in these bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            writer.write(answer if line.startswith(b"RCPT") else b"250 so be it\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_refusal_in_whatever_bytes_ends_the_mail_and_names_nobody_in_the_log(
    pod_database: PodDatabase, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL does not take all bytes: the mail was tried again every five minutes, for ever."""
    answer = b"550 5.1.1 <admin@example.org>: utilisateur d\xe9truit \x00\r\n"
    async with _refusing_server(answer) as port:
        changes = {"mail": mail_settings(None, port=port)}
        async with daemon_parts(settings_of(pod_database, world.media_root, changes)) as parts:
            await _deliver(parts, "mail", 1, **_mail())
            await Telling(parts).step()
            assert await queue_of(parts) == [("mail", "failed", 1)]
            words = await parts.database.fetchrow("SELECT last_error FROM poddispatchd.delivery")
    assert words is not None
    assert words[0] == "550 5.1.1 ADDRESS: utilisateur d truit"
    said = capsys.readouterr()
    assert "550 5.1.1" in said.out
    assert "admin@" not in said.out + said.err


async def test_who_got_a_mail_gets_it_once_though_its_row_is_held_while_the_others_are_tried_again(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had not got it could not be written down, and all got it again."""
    async with postbox() as box, pod_database.connection() as other:
        box.answers = {"busy@example.org": "450 Later"}
        changes = {"mail": mail_settings(box)}
        async with daemon_parts(settings_of(pod_database, world.media_root, changes)) as parts:
            both = ["admin@example.org", "busy@example.org"]
            await _deliver(parts, "mail", 1, **{**_mail(), "to": both, "left": both})
            held, send = other.transaction(), MailServer.send

            async def hold(self: MailServer, envelope: Envelope, at: datetime) -> Sent:
                if not box.received:
                    await held.start()
                    await other.execute("SELECT FROM poddispatchd.delivery FOR UPDATE")
                return await send(self, envelope, at)

            monkeypatch.setattr(MailServer, "send", hold)
            mail = features.notifier(parts).mail
            await mail.step()
            await held.rollback()
            box.answers = {}
            for _ in range(2):
                await mail.step()
                await make_due(parts)
            await mail.step()
            assert await queue_of(parts) == [("mail", "done", 2)]
    assert [mail.recipients for mail in box.received] == [("admin@example.org",), ("busy@example.org",)]


async def test_what_was_sent_is_not_sent_again_while_the_database_refuses_to_have_it_written_down(
    pod_database: PodDatabase, world: World
) -> None:
    """Its lease ran out, and it was sent anew every five minutes."""
    async with postbox() as box:
        changes = {"mail": mail_settings(box)}
        async with daemon_parts(settings_of(pod_database, world.media_root, changes)) as parts:
            await _deliver(parts, "mail", 1, **_mail())
            await parts.database.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
                " AS $$ BEGIN RAISE EXCEPTION 'no'; END $$"
            )
            await parts.database.execute(
                "CREATE TRIGGER refuses BEFORE UPDATE ON poddispatchd.delivery"
                " FOR EACH ROW WHEN (new.state = 'done') EXECUTE FUNCTION refuse()"
            )
            mail = features.notifier(parts).mail
            assert await mail.step() <= 10.0
            await make_due(parts)
            await mail.step()
            assert await queue_of(parts) == [("mail", "open", 1)]
            await parts.database.execute("DROP TRIGGER refuses ON poddispatchd.delivery")
            await mail.step()
            assert await queue_of(parts) == [("mail", "done", 1)]
    assert len(box.received) == 1


async def test_a_stop_while_it_is_written_down_that_a_push_was_posted_does_not_post_it_again(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was handed back as if nothing had come of it."""
    posted = _known_services(monkeypatch, {1: "good.example.org"})
    writing, close = asyncio.Event(), queue.close_delivery

    async def hangs(*_: object) -> None:
        writing.set()
        await asyncio.Event().wait()

    async with daemon_parts(settings_of(pod_database, world.media_root, {"push": _PUSH})) as parts:
        await _deliver(parts, "push", 1, subscription=1, head="h", body="b", url="u")
        monkeypatch.setattr(queue, "close_delivery", hangs)
        step = asyncio.create_task(features.notifier(parts).push.step())
        await writing.wait()
        monkeypatch.setattr(queue, "close_delivery", close)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
        assert await queue_of(parts) == [("push", "done", 1)]
    assert posted == ["good.example.org"]


async def test_a_push_has_time_for_those_before_it_at_a_slow_service(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those in the last of ten rows had failed before their turn came, or were cut off amid their posts."""
    services = dict.fromkeys(range(1, 51), "good.example.org")
    _known_services(monkeypatch, services)
    limits: list[float] = []

    async def attempt(
        self: Deliveries, leased: Leased, work: Callable[[], Awaitable[None]], *, within: float
    ) -> None:
        limits.append(within)
        await self.leases.attempt(leased.lease, work, within=within, task=None)

    monkeypatch.setattr(Deliveries, "attempt", attempt)
    async with daemon_parts(settings_of(pod_database, world.media_root, {"push": _PUSH})) as parts:
        for number in services:
            await _deliver(parts, "push", number, subscription=number, head="h", body="b", url="u")
        await features.notifier(parts).push.step()
    assert len(limits) == 50
    longest_post = webpush._TIMEOUT.total
    assert longest_post is not None
    assert min(limits) > longest_post * 50 / push_module._AT_ONE_SERVICE


async def test_what_is_given_up_because_its_channel_is_switched_off_is_told_and_counted(
    pod_database: PodDatabase, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """It went without a word."""
    async with daemon_parts(settings_of(pod_database, world.media_root, {})) as parts:
        for task in (1, 2):
            await _deliver(parts, "mail", task, **_mail())
        for _ in range(2):
            await Telling(parts).step()
        assert await queue_of(parts) == [("mail", "dropped", 0)] * 2
        assert counted(parts, "mail", "dropped") == 2
    [line] = [line for line in capsys.readouterr().out.splitlines() if "notice.dropped" in line]
    assert "rows=2" in line
