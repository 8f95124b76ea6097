"""Events from the commit to the endpoint: a real endpoint, a real command, real queues."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web

from poddispatchd.app import features
from poddispatchd.app.parts import Parts
from poddispatchd.config.notification import EventsSettings
from poddispatchd.domain.breaker import BreakerState
from poddispatchd.domain.outgoing_events import EventType, OutgoingEvent
from poddispatchd.domain.task import TaskStatus, TaskType
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError, ServiceUnreachableError
from poddispatchd.notify import queue
from poddispatchd.notify.checks import check_events
from poddispatchd.notify.event_post import hand_over
from poddispatchd.notify.event_sender import EventSender
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, FaultKind
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from tests.integration.certificates import Authority
from tests.integration.counting import counted as statements
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.integration.notify.bench import (
    SteadyClock,
    Telling,
    counted,
    daemon_parts,
    make_due,
    queue_of,
    record_failure,
    settings_of,
    task_of,
)
from tests.integration.runner.raw_server import RawServer
from tests.plugins.postgres import PodDatabase

_SECRET = "a secret of twenty-four characters"


@dataclass(slots=True)
class Endpoint:
    """What was posted, and how it is answered."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytes = b"thank you"
    got: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.got.append((dict(request.headers), await request.read()))
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        return web.Response(status=self.status, headers=self.headers, body=self.answer)

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, body in self.got]

    @property
    def types(self) -> list[object]:
        return [event["type"] for event in self.events]


@asynccontextmanager
async def listening() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    application = web.Application()
    application.router.add_post("/{path:.*}", endpoint.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/s3cr3t-path"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with listening() as one:
        yield one


async def _failed(parts: Parts, world: World, pod: PodDatabase, words: str) -> int:
    async with pod.connection() as connection:
        video = await add_video(connection, world)
        pk = await add_task(connection, TaskType.ENCODING, video=video, status=TaskStatus.FAILED)
    await record_failure(parts, await task_of(parts, pk), words)
    return pk


@asynccontextmanager
async def _telling(
    pod: PodDatabase, world: World, **events: object
) -> AsyncIterator[tuple[Parts, EventSender]]:
    settings = settings_of(pod, world.media_root, {"events": events})
    async with daemon_parts(settings) as parts:
        yield parts, features.event_sender(parts)


async def test_a_failed_task_is_posted_signed_and_without_anything_personal(
    pod_database: PodDatabase, world: World, endpoint: Endpoint
) -> None:
    async with _telling(pod_database, world, url=endpoint.url, secret=_SECRET) as (parts, sender):
        words = "Traceback\nno such file: /srv/media/videos/ab12/jean.dupont.mp4 (token=abcdefgh) for 3 s\n"
        pk = await _failed(parts, world, pod_database, words)
        await Telling(parts).step()
        assert await sender.step() > 60
        assert await queue_of(parts) == [("event", "done", 1)]
        assert counted(parts, "events", "sent") == 1

    [(headers, body)] = endpoint.got
    [event] = endpoint.events
    data = cast("dict[str, object]", event["data"])
    assert (event["type"], data["task"], data["reason"]) == (
        "task.failed",
        pk,
        "no such file: PATH (token=***) for N s",
    )
    assert b"dupont" not in body
    signed = f"{event['id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(_SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert (headers["webhook-id"], headers["Content-Type"]) == (event["id"], "application/json")


async def test_without_an_endpoint_nothing_is_queued_and_no_statement_is_sent(
    pod_database: PodDatabase, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _telling(pod_database, world) as (parts, sender):
        scheduler = features.scheduler_watch(parts)
        watch = features.event_watch(parts, scheduler)
        await sender.step()  # what was queued before it was switched off is dropped, once
        await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        with statements(monkeypatch) as cost:
            delays = [await each.step() for each in (sender, watch, scheduler)]
        assert await queue_of(parts) == []
    assert cost.statements == []
    assert min(delays) >= 600


@pytest.mark.parametrize("status", [301, 404, 500, 503])
async def test_what_is_not_taken_is_tried_again_with_the_same_id_and_then_set_aside_in_words(
    pod_database: PodDatabase, world: World, endpoint: Endpoint, status: int
) -> None:
    endpoint.status, endpoint.headers = status, {"Location": endpoint.url}
    async with _telling(pod_database, world, url=endpoint.url) as (parts, sender):
        await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        for _ in range(12):
            await sender.step()
            await make_due(parts)
        assert await queue_of(parts) == [("event", "set_aside", 12)]
        assert (counted(parts, "events", "retried"), counted(parts, "events", "failed")) == (11, 1)
        [row] = await parts.database.fetch("SELECT last_error FROM poddispatchd.delivery")
    assert len({event["id"] for event in endpoint.events}) == 1
    # No redirect was followed.
    assert len(endpoint.got) == 12
    assert row[0].startswith(f"127.0.0.1 answers {status}")
    assert "s3cr3t" not in row[0]


async def test_an_event_that_is_no_news_any_more_is_set_aside_after_its_next_failure(
    pod_database: PodDatabase, world: World, endpoint: Endpoint
) -> None:
    endpoint.status = 500
    async with _telling(pod_database, world, url=endpoint.url) as (parts, sender):
        await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        await parts.database.execute(
            "UPDATE poddispatchd.delivery SET created_at = now() - interval '25 hours'"
        )
        await sender.step()
        assert await queue_of(parts) == [("event", "set_aside", 1)]


@pytest.mark.parametrize("age", ["0", "25 hours"])
async def test_a_delivery_that_fails_after_its_lease_is_neither_counted_as_failed_nor_taken_from_its_holder(
    pod_database: PodDatabase, world: World, endpoint: Endpoint, age: str
) -> None:
    endpoint.status, endpoint.hold = 500, asyncio.Event()
    async with _telling(pod_database, world, url=endpoint.url) as (parts, sender):
        await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        await parts.database.execute(
            f"UPDATE poddispatchd.delivery SET created_at = now() - interval '{age}'"
        )
        sending = asyncio.create_task(sender.step())
        await endpoint.reached.wait()
        await parts.database.execute("UPDATE poddispatchd.delivery SET lease_owner = 'another daemon'")
        endpoint.hold.set()
        await sending
        counts = [counted(parts, "events", outcome) for outcome in ("retried", "failed")]
        [row] = await parts.database.fetch("SELECT state, lease_owner FROM poddispatchd.delivery")
    assert counts == [0, 0]
    assert tuple(row) == ("open", "another daemon")


async def test_an_event_is_news_however_far_ahead_our_clock_is(
    pod_database: PodDatabase, world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One day, and each event was set aside at the first failure of its endpoint."""
    monkeypatch.setattr(SteadyClock, "now", lambda _: datetime.now(UTC) + timedelta(days=3))
    endpoint.status = 500
    async with _telling(pod_database, world, url=endpoint.url) as (parts, sender):
        await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        await sender.step()
        assert await queue_of(parts) == [("event", "open", 1)]


async def test_an_endpoint_that_is_not_there_is_left_alone_for_a_while(
    pod_database: PodDatabase, world: World, endpoint: Endpoint
) -> None:
    async with _telling(pod_database, world, url="http://127.0.0.1:1/") as (parts, sender):
        for _ in range(3):
            await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        await sender.step()
        # One was tried, the others wait uncounted.
        assert await queue_of(parts) == [("event", "open", 1), ("event", "open", 0), ("event", "open", 0)]


async def test_one_that_asks_for_a_rest_gets_it(
    pod_database: PodDatabase, world: World, endpoint: Endpoint
) -> None:
    endpoint.status, endpoint.headers = 429, {"Retry-After": "120"}
    async with _telling(pod_database, world, url=endpoint.url) as (parts, sender):
        for _ in range(2):
            await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        await sender.step()
        assert len(endpoint.got) == 1
        [later] = await parts.database.fetch(
            "SELECT extract(epoch FROM next_attempt_at - now()) > 100 FROM poddispatchd.delivery"
            " WHERE attempts = 0"
        )
    assert later[0]


async def test_an_endpoint_that_hangs_is_given_up_after_its_time_and_holds_up_no_mail(
    pod_database: PodDatabase, world: World, endpoint: Endpoint
) -> None:
    endpoint.hold = asyncio.Event()
    async with _telling(pod_database, world, url=endpoint.url, timeout="300ms") as (parts, sender):
        await _failed(parts, world, pod_database, "It went wrong.")
        telling = Telling(parts)
        await telling.step()
        sending = asyncio.create_task(sender.step())
        await telling.step()
        await sending
        endpoint.hold.set()
        [row] = await parts.database.fetch("SELECT state, last_error FROM poddispatchd.delivery")
    assert tuple(row) == ("open", "127.0.0.1 cannot be reached (no answer in time).")


async def test_a_full_backlog_takes_no_more(
    pod_database: PodDatabase, world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "MOST_EVENTS", 2)
    async with _telling(pod_database, world, url=endpoint.url) as (parts, _):
        for _ in range(4):
            await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        assert await queue_of(parts) == [("event", "open", 0)] * 2


async def test_a_command_reads_the_event_and_its_failure_is_tried_again(
    pod_database: PodDatabase, world: World, tmp_path: Path
) -> None:
    script, said = tmp_path / "tell.sh", tmp_path / "said"
    script.write_text(f"#!/bin/sh\ncat >> {said}\n[ -e {tmp_path}/fixed ]\n")
    script.chmod(0o755)
    async with _telling(pod_database, world, command=[str(script)]) as (parts, sender):
        await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        await sender.step()
        assert await queue_of(parts) == [("event", "open", 1)]
        (tmp_path / "fixed").touch()
        await make_due(parts)
        await sender.step()
        assert await queue_of(parts) == [("event", "done", 2)]
    first, second = (json.loads(line) for line in said.read_text().splitlines())
    assert first == second
    assert first["type"] == "task.failed"


async def test_a_command_that_reads_nothing_is_none_the_worse(
    pod_database: PodDatabase, world: World
) -> None:
    async with _telling(pod_database, world, command=["/bin/true"]) as (parts, sender):
        await _failed(parts, world, pod_database, "It went wrong.")
        await Telling(parts).step()
        await sender.step()
        assert await queue_of(parts) == [("event", "done", 1)]


# --- managers, queues, who schedules ---------------------------------------------------------------------


class Watching:
    """The watches of one daemon, and what it sends."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.scheduler = features.scheduler_watch(daemon.parts)
        self.watch = features.event_watch(daemon.parts, self.scheduler)
        self.sender = features.event_sender(daemon.parts)

    async def look(self, *, after: float = 0.0) -> None:
        self.daemon.clock.advance(after)
        await self.watch.step()
        await self.scheduler.step()
        if self.daemon.parts.session.is_up:
            await self.sender.step()

    async def ask(self) -> None:
        """Have the manager asked: what it answers is learnt."""
        manager = self.daemon.parts.registry.all()[0]
        await features.prober(self.daemon.parts).is_well(manager.id)


def _down(pod: Scene) -> None:
    pod.fakes["first"].faults.inject("health", AnswerFault(kind=FaultKind.STATUS, status=500), times=None)


async def _watching(pod: Scene, url: str) -> Watching:
    return Watching(await pod.daemon(events={"url": url}))


async def test_a_manager_is_told_to_be_down_and_up_once_and_not_again_by_who_takes_over(
    pod_database: PodDatabase, media_root: Path, endpoint: Endpoint
) -> None:
    async with scene(pod_database, media_root, Spec("first")) as pod:
        first = await _watching(pod, endpoint.url)
        await first.look()
        _down(pod)
        for _ in range(2):
            await first.ask()
        await first.look()
        assert endpoint.types == []
        await first.look(after=61)
        await first.look(after=61)
        assert endpoint.types == ["runner_manager.down"]

        await first.daemon.parts.session.resign()
        second = await _watching(pod, endpoint.url)
        # It has asked nobody yet: its breaker is closed, and says nothing.
        await second.look()
        await second.look(after=61)
        await second.look(after=61)
        assert endpoint.types == ["runner_manager.down"]

        pod.fakes["first"].faults.clear()
        await second.look(after=61)
        await second.daemon.probe()
        await second.look(after=5)
        await second.look(after=61)
        await second.look(after=61)
    assert endpoint.types == ["runner_manager.down", "runner_manager.up"]
    assert endpoint.events[0]["data"]["runner_manager"] == "first"  # type: ignore[index]


async def test_asking_whether_it_is_up_again_shuts_no_manager_that_hides_its_health(
    pod_database: PodDatabase, media_root: Path, endpoint: Endpoint
) -> None:
    """Behind a proxy with pages of its own for a 404 it took tasks, and was called misconfigured over it."""
    async with scene(pod_database, media_root, Spec("first")) as pod:
        here = await _watching(pod, endpoint.url)
        page = AnswerFault(kind=FaultKind.STATUS, status=404)
        for name in ("root", "health", "status"):
            pod.fakes["first"].faults.inject(name, page, times=None)
        [manager] = here.daemon.parts.registry.all()
        await pod.connection.execute(
            "INSERT INTO poddispatchd.told (subject, state) VALUES ($1, 'down')",
            f"runner manager {manager.id}",
        )
        for _ in range(3):
            await here.look(after=61)
        [report] = here.daemon.parts.registry.reports()
        assert report.state is BreakerState.CLOSED
        assert [request.path for request in pod.fakes["first"].requests if "health" in request.path]
        await pod.encodings(1)
        await here.daemon.settle()
        assert await pod.statuses() == {"running": 1}


async def test_what_is_set_aside_is_told_once_and_again_when_it_is_set_aside_again(
    pod_database: PodDatabase, media_root: Path, endpoint: Endpoint
) -> None:
    put_aside = (
        "UPDATE poddispatchd.import SET state = 'set_aside', finished_at = clock_timestamp(), attempts = 10,"
        " last_error = 'It took longer than 60 s.'"
    )
    async with scene(pod_database, media_root, Spec("first")) as pod:
        first = await _watching(pod, endpoint.url)
        pk = await pod.encoding()
        await pod.connection.execute(
            "INSERT INTO poddispatchd.import (task_pk, runner_manager_id, task_id) VALUES ($1, $2, 'x')",
            pk,
            pod.ids["first"],
        )
        await pod.connection.execute(put_aside)
        await first.look()
        await first.look(after=61)
        await first.daemon.parts.session.resign()
        second = await _watching(pod, endpoint.url)
        await second.look()
        assert endpoint.types == ["queue.item_set_aside"]
        await pod.connection.execute(put_aside)
        await second.look(after=61)
    assert endpoint.types == ["queue.item_set_aside"] * 2
    data = cast("dict[str, object]", endpoint.events[0]["data"])
    assert (data["queue"], data["task"], data["reason"]) == ("imports", pk, "It took longer than N s.")


async def test_a_campaign_that_paused_itself_or_is_done_is_told_once(
    pod_database: PodDatabase, media_root: Path, endpoint: Endpoint
) -> None:
    async with scene(pod_database, media_root, Spec("first")) as pod:
        first = await _watching(pod, endpoint.url)
        await pod.connection.execute(
            "INSERT INTO poddispatchd.campaign"
            " (name, task_type, at_most, created_by, changed_by, state, words) VALUES"
            " ('broken', 'encoding', 1, 'eve', 'poddispatchd', 'paused',"
            "  'This release cannot read its hours.'),"
            " ('by-hand', 'encoding', 1, 'eve', 'eve', 'paused', ''),"
            " ('over', 'transcription', 1, 'eve', 'poddispatchd', 'done', '')"
        )
        await pod.connection.execute(
            "INSERT INTO poddispatchd.campaign_video (campaign_id, place, video_id, state)"
            " SELECT id, n, n, CASE WHEN n < 3 THEN 'completed' ELSE 'failed' END"
            " FROM poddispatchd.campaign, generate_series(1, 3) AS n"
        )
        await first.look()
        await first.look(after=61)
        await first.daemon.parts.session.resign()
        second = await _watching(pod, endpoint.url)
        await second.look()
        assert sorted(map(str, endpoint.types)) == ["campaign.done", "campaign.paused"]
        # Resumed, it pauses itself once more.
        await pod.connection.execute(
            "UPDATE poddispatchd.campaign SET changed_at = clock_timestamp() WHERE name = 'broken'"
        )
        await second.look(after=61)
    assert endpoint.types.count("campaign.paused") == 2
    by_type = {str(event["type"]): event for event in endpoint.events}
    paused = cast("dict[str, object]", by_type["campaign.paused"]["data"])
    assert (paused["campaign"], paused["completed"], paused["videos"], paused["reason"]) == (
        "broken",
        2,
        3,
        "Cette version ne sait pas lire ses heures.",
    )
    assert "over est terminée : 2 vidéos sur 3 réussies, 1 en échec" in str(by_type["campaign.done"]["text"])


async def test_that_nobody_schedules_is_told_although_the_database_is_gone_and_its_end_as_well(
    pod_database: PodDatabase, media_root: Path, endpoint: Endpoint
) -> None:
    async with scene(pod_database, media_root, Spec("first")) as pod:
        daemon = await pod.daemon(events={"url": endpoint.url})
        watching = Watching(daemon)
        await watching.look()
        daemon.session.cancel()
        await asyncio.gather(daemon.session, return_exceptions=True)
        session = daemon.parts.session
        session._lost(_gone())
        for _ in range(4):
            await watching.look(after=31)
        assert endpoint.types == ["scheduler.missing"]
        assert "database cannot be reached" in str(endpoint.events[0]["text"])

        daemon.session = asyncio.create_task(session.run())
        await session.available()
        await watching.look(after=5)
        await watching.look(after=5)
        daemon.session.cancel()
        await asyncio.gather(daemon.session, return_exceptions=True)
    assert endpoint.types == ["scheduler.missing", "scheduler.back"]


async def test_of_two_daemons_one_tells_that_nobody_schedules_while_the_database_answers(
    pod_database: PodDatabase, media_root: Path, endpoint: Endpoint
) -> None:
    async with scene(pod_database, media_root, Spec("first")) as pod:
        both = [await _watching(pod, endpoint.url) for _ in range(2)]
        # They schedule no more, and go on: the one that stands by first, or it would take over.
        for each in reversed(both):
            await each.daemon.parts.session.resign()
        for _ in range(4):
            for each in both:
                await each.look(after=31)
        assert endpoint.types == ["scheduler.missing"]

        successor = await _watching(pod, endpoint.url)
        for each in (successor, *both, successor):
            await each.look(after=61)
        assert endpoint.types == ["scheduler.missing", "scheduler.back"]

        await successor.daemon.parts.session.resign()
        for _ in range(4):
            for each in (successor, *both):
                await each.look(after=31)
    assert endpoint.types == ["scheduler.missing", "scheduler.back", "scheduler.missing"]


def _gone() -> DatabaseUnavailableError:
    return DatabaseUnavailableError("The database cannot be reached: no answer in time.")


# --- check -----------------------------------------------------------------------------------------------


async def test_check_names_the_host_and_never_the_address(tmp_path: Path) -> None:
    authority = Authority("a private one")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    requests: list[bytes] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0, ssl=authority.server(tmp_path))
    port = server.sockets[0].getsockname()[1]
    url = f"https://localhost:{port}/hooks/s3cr3t"
    async with server:
        words = await check_events(EventsSettings.read({"url": url, "ca_file": str(tmp_path / "ca.pem")}))
        with pytest.raises(ConfigurationError, match=r"localhost is not trusted.*events.ca_file") as refused:
            await check_events(EventsSettings.read({"url": url}))
    with pytest.raises(ConfigurationError, match=r"events.url: localhost cannot be reached") as gone:
        await check_events(EventsSettings.read({"url": url, "ca_file": str(tmp_path / "ca.pem")}))

    assert words.startswith("Events are posted to localhost (https), unsigned")
    assert "s3cr3t" not in f"{words} {refused.value} {gone.value}"
    assert b"".join(requests) == b""


async def test_check_wants_a_command_that_can_be_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        await check_events(EventsSettings(command=(str(tmp_path / "none"),)))


async def test_check_says_that_nobody_is_told() -> None:
    assert "No other program is told" in await check_events(EventsSettings())


async def test_a_certificate_that_has_expired_is_told_as_such(tmp_path: Path) -> None:
    """Whatever was wrong, the words were to see ``events.ca_file``."""
    authority = Authority("a private one")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    event = OutgoingEvent("1", EventType.TASK_FAILED, datetime.now(UTC), "A task failed.")
    async with RawServer([], tls=authority.server(tmp_path, begins=-2, ends=-1)) as server:
        settings = EventsSettings.read({"url": server.url, "ca_file": str(tmp_path / "ca.pem")})
        with pytest.raises(ServiceUnreachableError, match="certificate of localhost has expired") as told:
            await hand_over(settings, event, now=datetime.now(UTC))
    assert "events.ca_file" not in str(told.value)
