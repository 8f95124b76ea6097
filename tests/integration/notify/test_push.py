"""Web push to a push service of our own: what arrives can be read by the browser, and by nobody else."""

import base64
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from msgspec.structs import asdict, replace
from py_vapid import Vapid02

from poddispatchd.config.notification import PushSettings
from poddispatchd.database.session_ends import SessionEnds
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import Task, TaskStatus, TaskType
from poddispatchd.errors import ConfigurationError
from poddispatchd.notify import push
from poddispatchd.notify.webpush import check_keys
from poddispatchd.pod import recipients
from poddispatchd.sandbox.pod.world import World, add_task, add_video
from poddispatchd.sandbox.ports import free_ports
from tests.integration.notify.bench import (
    Telling,
    daemon_parts,
    make_due,
    queue_of,
    record_completion,
    settings_of,
    task_of,
)
from tests.integration.notify.push_service import (
    CERTIFICATE,
    Browser,
    PushService,
    point,
    push_service,
    push_settings,
    unpadded,
)
from tests.plugins.postgres import PodDatabase

_NOWHERE = (
    "http://127.0.0.1:80/plain",
    "https://[",
    "https://",
    "https://xn--a-/x",
    "https://::1_a..[::1]u:p@",
)
"""Endpoints to which nothing can be posted; what host the last two name cannot be told."""


@pytest.fixture
def vapid() -> PushSettings:
    return push_settings()


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PushService]:
    """A push service over TLS, which the notifier's sessions trust."""
    client_side = ssl.create_default_context(cafile=str(CERTIFICATE))

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client_side))

    monkeypatch.setattr(push, "open_push_session", session)
    async with push_service() as made:
        yield made


@dataclass(slots=True)
class Scene:
    """A daemon whose owner of an encoded video has a browser."""

    pod: PodDatabase
    world: World
    settings: PushSettings
    service: PushService

    async def subscribe(
        self, browser: Browser | None, *, endpoint: str | None = None, owner: str = "subscriber"
    ) -> None:
        keys = ("p", "a") if browser is None else (unpadded(point(browser.key)), unpadded(browser.auth))
        async with self.pod.connection() as connection:
            await connection.execute("DELETE FROM webpush_pushinformation")
            subscription = await connection.fetchval(
                "INSERT INTO webpush_subscriptioninfo (browser, endpoint, auth, p256dh, user_agent) "
                "VALUES ('Firefox', $1, $3, $2, '') RETURNING id",
                endpoint or f"https://localhost:{self.service.port}/secret-of-the-browser",
                *keys,
            )
            await connection.execute(
                "INSERT INTO webpush_pushinformation (subscription_id, user_id) VALUES ($1, $2)",
                subscription,
                self.world.people[owner].id,
            )

    async def complete(
        self, kind: TaskType = TaskType.ENCODING, *, owner: str = "subscriber", times: int = 1
    ) -> list[tuple[str, str, int]]:
        """Complete a task, tell, and look at the queue."""
        async with self.pod.connection() as connection:
            video = await add_video(connection, self.world, title="Été <b>", owner=owner)
            pk = await add_task(connection, kind, video=video, status=TaskStatus.COMPLETED, task_id="rm-1")
        changes = {"push": asdict(self.settings)}
        async with daemon_parts(settings_of(self.pod, self.world.media_root, changes)) as parts:
            task: Task = await task_of(parts, pk)
            await record_completion(parts, task)
            notifier = Telling(parts)
            for _ in range(times):
                await notifier.step()
                await make_due(parts)
            return await queue_of(parts)


@pytest.fixture
def scene(pod_database: PodDatabase, world: World, vapid: PushSettings, service: PushService) -> Scene:
    return Scene(pod_database, world, vapid, service)


async def test_the_owners_browser_can_read_what_pods_key_has_signed(scene: Scene) -> None:
    browser = Browser()
    await scene.subscribe(browser)

    assert await scene.complete() == [("push", "done", 1)]

    ((path, headers, body),) = scene.service.got
    assert path == "/secret-of-the-browser"
    assert browser.read(body) == {
        "head": "[Pod] Encoding #16 completed",
        "body": "“Été <b>” is ready.",
        "url": "http://pod.example.org/video/0016-ete-b/",
        "icon": "/static/img/icon_x1024.png",
    }
    assert (headers["Content-Encoding"], headers["TTL"]) == ("aes128gcm", "86400")
    scheme, _, token = headers["Authorization"].partition(" ")
    assert scheme == "vapid"
    assert f"k={scene.settings.vapid_public_key}" in token
    assert Vapid02.verify(headers["Authorization"])
    claims = json.loads(base64.urlsafe_b64decode(token.removeprefix("t=").split(".")[1] + "=="))
    assert claims["sub"] == "mailto:admin@example.org"
    assert claims["aud"] == f"https://localhost:{scene.service.port}"


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (410, ("push", "dropped", 1)),
        (404, ("push", "dropped", 1)),
        (400, ("push", "failed", 1)),
        (307, ("push", "failed", 1)),
        (429, ("push", "open", 1)),
        (503, ("push", "open", 1)),
    ],
)
async def test_answers_of_a_push_service(scene: Scene, status: int, end: tuple[str, str, int]) -> None:
    await scene.subscribe(Browser())
    scene.service.status = status

    assert await scene.complete() == [end]

    assert len(scene.service.got) == 1
    async with scene.pod.connection() as connection:
        # Subscriptions are Pod's to delete, even those that have ended.
        assert await connection.fetchval("SELECT count(*) FROM webpush_pushinformation") == 1


async def test_a_push_is_tried_again_and_then_not_any_more(scene: Scene) -> None:
    await scene.subscribe(Browser())
    scene.service.status = 503

    assert await scene.complete(times=14) == [("push", "set_aside", 12)]

    assert len(scene.service.got) == 12


@pytest.mark.parametrize(
    ("kind", "owner"), [(TaskType.TRANSCRIPTION, "subscriber"), (TaskType.ENCODING, "employee")]
)
async def test_transcriptions_and_owners_who_accept_none_get_no_push(
    scene: Scene, kind: TaskType, owner: str
) -> None:
    await scene.subscribe(Browser(), owner=owner)

    assert await scene.complete(kind, owner=owner) == []


async def test_a_subscription_that_cannot_be_used_holds_nothing_up(scene: Scene) -> None:
    await scene.subscribe(None)
    assert await scene.complete() == [("push", "failed", 1)]
    for number, endpoint in enumerate(_NOWHERE, 1):
        await scene.subscribe(Browser(), endpoint=endpoint)
        assert (await scene.complete())[number:] == [("push", "failed", 1)]
    assert scene.service.got == []


@pytest.mark.parametrize(
    ("endpoint", "state"),
    [
        ("https://somebody@localhost:{port}/x", "failed"),
        ("https://localhost:0x50/x", "failed"),
        ("https://localhost:{closed}/x", "open"),
    ],
    ids=["with a user", "no port", "a port where nobody answers"],
)
async def test_whatever_endpoint_somebody_has_the_others_of_its_host_get_their_pushes(
    scene: Scene, endpoint: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any user of Pod could have those of everybody put off for a minute, with each video of his."""
    bad = endpoint.format(port=scene.service.port, closed=free_ports(1)[0])
    async with scene.pod.connection() as connection:
        await connection.execute("DELETE FROM webpush_pushinformation")
        # The latest one is told first.
        for address in (f"https://localhost:{scene.service.port}/good", bad):
            browser = Browser()
            await connection.execute(
                "WITH made AS (INSERT INTO webpush_subscriptioninfo"
                " (browser, endpoint, auth, p256dh, user_agent)"
                " VALUES ('Firefox', $1, $2, $3, '') RETURNING id)"
                " INSERT INTO webpush_pushinformation (subscription_id, user_id) SELECT id, $4 FROM made",
                *(address, unpadded(browser.auth), unpadded(point(browser.key))),
                scene.world.people["subscriber"].id,
            )
    # One after the other: the second one meets what became of the first.
    monkeypatch.setattr(push, "_AT_ONE_SERVICE", 1)
    assert await scene.complete() == [("push", state, 1), ("push", "done", 1)]
    assert [path for path, _, _ in scene.service.got] == ["/good"]


async def test_of_any_number_of_subscriptions_the_latest_are_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many one user has made: all were queued in one transaction, and tried twelve times each."""
    monkeypatch.setattr(recipients, "MOST_BROWSERS", 3)
    async with scene.pod.connection() as connection:
        await connection.execute("DELETE FROM webpush_pushinformation")
        rows = await connection.fetch(
            "INSERT INTO webpush_subscriptioninfo (browser, endpoint, auth, p256dh, user_agent)"
            " SELECT 'Firefox', 'https://localhost:1/' || n, 'a', 'p', '' FROM generate_series(1, 9) AS n"
            " RETURNING id"
        )
        await connection.execute(
            "INSERT INTO webpush_pushinformation (subscription_id, user_id) SELECT unnest($1::bigint[]), $2",
            *([row["id"] for row in rows], scene.world.people["subscriber"].id),
        )
    assert await scene.complete() == [("push", "failed", 1)] * 3


async def test_a_pod_without_web_push_gets_none(scene: Scene) -> None:
    async with scene.pod.connection() as connection:
        await connection.execute("DROP TABLE webpush_pushinformation")
    assert await scene.complete() == []


async def test_a_table_over_which_sessions_end_keeps_nobody_else_from_being_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a task was planned twelve times, ended a session each time, and no mail was sent of it."""
    monkeypatch.setattr(SessionEnds, "is_usual", lambda _: True)
    async with scene.pod.connection() as connection:
        await connection.execute(
            "ALTER TABLE webpush_pushinformation RENAME TO pushinformation;"
            " CREATE VIEW webpush_pushinformation AS"
            " SELECT * FROM pushinformation WHERE pg_terminate_backend(pg_backend_pid())"
        )
        assert await scene.complete() == []
        assert await connection.fetchval("SELECT count(*) FROM poddispatchd.notice") == 0


async def test_the_address_of_a_subscription_is_in_no_log(
    scene: Scene, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    await scene.subscribe(Browser())
    scene.service.status = 400
    await scene.complete()

    written = capsys.readouterr()
    said = written.out + written.err + caplog.text
    assert "localhost answers 400" in said
    assert "secret-of-the-browser" not in said


def test_keys_that_do_not_belong_together_are_found(vapid: PushSettings) -> None:
    check_keys(vapid)
    with pytest.raises(ConfigurationError, match="vapid_public_key: it does not belong"):
        check_keys(replace(vapid, vapid_public_key="B" + "A" * 86))
    with pytest.raises(ConfigurationError, match="vapid_private_key: nothing can be signed") as refused:
        check_keys(replace(vapid, vapid_private_key=SecretStr("hunter2")))
    assert "hunter2" not in str(refused.value)
