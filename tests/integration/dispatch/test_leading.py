"""Several daemons, one database: one of them schedules, and a lost connection is a lost lead."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.journal import scheduling, submissions
from poddispatchd.observability.events import Event
from poddispatchd.runner.client import RunnerClient
from poddispatchd.runtime.database_session import CHANNEL, DatabaseSession
from poddispatchd.sandbox.fake_runner_manager import AnswerFault, Endpoint, FaultKind
from tests.integration.dispatch.scene import Daemon, Scene, Spec, scene
from tests.integration.journal.aging import age_journal
from tests.plugins.postgres import PodDatabase


async def _until_leading(daemon: Daemon) -> int:
    session = daemon.parts.session
    async with asyncio.timeout(10):
        while session.term is None:
            session.suspect()
            await asyncio.sleep(0.01)
    return session.term


async def _until_down(session: DatabaseSession) -> None:
    async with asyncio.timeout(10):
        while session.is_up:  # noqa: ASYNC110 - it tells nobody that it is down
            await asyncio.sleep(0.001)


async def _until_lease_is(session: DatabaseSession, *, blocked: bool) -> None:
    async with asyncio.timeout(20):
        while (session.lease_problem is not None) != blocked:
            session.suspect()
            await asyncio.sleep(0.05)


async def test_one_of_two_daemons_schedules(pod_database: PodDatabase, media_root: Path) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        leader, standby = await pod.daemon(), await pod.daemon()
        assert (leader.parts.session.term, standby.parts.session.term) == (1, None)
        await pod.encodings(3)
        await standby.settle()
        assert pod.posts("first") == 0
        await leader.settle()
        assert await pod.statuses() == {"running": 3}


async def test_the_standby_takes_over_when_the_leader_does_not_renew_its_lease(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root, Spec("first", runners=9)) as pod:
        leader, standby = await pod.daemon(), await pod.daemon()
        with capture_logs() as logs:
            await pod.expire_lease()
            term = await _until_leading(standby)
            leader.parts.session.suspect()
            async with asyncio.timeout(10):
                while leader.parts.session.term is not None:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.01)
        assert (term, leader.parts.session.term) == (2, None)
        events = [entry["event"] for entry in logs]
        assert events.count(Event.LEADER_LOST) == events.count(Event.LEADER_ACQUIRED) == 1
        await pod.encodings(2)
        await leader.settle()
        assert pod.posts("first") == 0
        await standby.settle()
        assert await pod.statuses() == {"running": 2}


async def test_the_standby_takes_over_at_once_when_the_leader_stops(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        leader, standby = await pod.daemon(), await pod.daemon()
        begun = asyncio.get_running_loop().time()
        await leader.parts.session.resign()
        async with asyncio.timeout(5):
            while standby.parts.session.term is None:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        # It was told: its own next look would have been seconds later.
        assert asyncio.get_running_loop().time() - begun < 2


async def test_a_leader_that_lost_its_connection_begins_a_new_term_at_once(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """Its own lease does not keep it away; what it had under way is fenced by the new term."""
    async with scene(pod_database, media_root) as pod:
        leader = await pod.daemon()
        await _cut_everything_off(pod)
        await _until_down(leader.parts.session)
        assert leader.parts.session.term is None
        await leader.parts.session.available()
        assert leader.parts.session.term == 2


async def test_a_session_that_holds_the_leaders_row_ends_no_term_before_its_lease(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod, pod_database.connection() as other:
        session = (await pod.daemon()).parts.session
        with capture_logs() as logs:
            async with other.transaction():
                await other.execute("SELECT FROM poddispatchd.leader FOR UPDATE")
                await _until_lease_is(session, blocked=True)
                assert session.is_up
            await _until_lease_is(session, blocked=False)
        assert session.term == 1
        assert [entry["event"] for entry in logs].count(Event.LEADER_BLOCKED) == 1


async def test_a_leader_that_does_not_know_yet_that_it_is_none_writes_nothing(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        stale = await pod.daemon()
        assert stale.parts.session.term == 1
        await pod.connection.execute("UPDATE poddispatchd.leader SET term = 2, instance = 'another'")
        [pk] = await pod.encodings(1)
        await stale.settle()
        assert (await pod.status(pk), pod.posts("first")) == ("pending", 0)
        assert await submissions.open_submissions(pod.connection) == []
        assert (await scheduling.leader(pod.connection)).instance == "another"


async def test_a_stale_leaders_post_on_the_way_ends_in_one_run(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        [pk] = await pod.encodings(1)
        old, new = await pod.daemon(), await pod.daemon()
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.SLOW, seconds=0.5))
        await old.dispatcher.step()
        await pod.fakes["first"].wait_for(lambda: bool(pod.fakes["first"].tasks))
        await pod.expire_lease()
        await _until_leading(new)
        await asyncio.gather(new.settle(), old.dispatcher.drain())
        [task_id] = pod.fakes["first"].tasks
        row = await pod.row(pk)
        assert (row["status"], row["task_id"]) == ("running", task_id)
        assert not any("/task/stop/" in entry.path for entry in pod.fakes["first"].requests)
        assert await submissions.open_submissions(pod.connection) == []


async def test_notifications_are_proved_to_arrive_and_wake_the_dispatcher(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        daemon = await pod.daemon()
        assert daemon.parts.session.listening
        wake = daemon.parts.wakeups.dispatcher
        await wake.wait(0)
        for _ in range(100):
            await pod.connection.execute(f"NOTIFY {CHANNEL}")
        assert await wake.wait(5)


async def test_a_pooler_that_swallows_notifications_is_noticed_and_polling_goes_on(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        monkeypatch.setattr("poddispatchd.runtime.database_session._PROBE_TIMEOUT", 0.2)
        monkeypatch.setattr(DatabaseSession, "_notified", lambda *_: None)
        daemon = await pod.daemon()
        session = daemon.parts.session
        assert (session.is_up, session.listening, session.term) == (True, False, 1)
        [pk] = await pod.encodings(1)
        await daemon.settle()
        assert await pod.status(pk) == "running"


async def test_a_leader_that_hears_nothing_any_more_goes_on_renewing_its_lease(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for its own notification instead, for longer than a lease lasts: another one scheduled."""
    monkeypatch.setattr("poddispatchd.runtime.leadership._RENEW_EVERY", 0.05)
    async with scene(pod_database, media_root) as pod:
        session = (await pod.daemon()).parts.session
        monkeypatch.setattr("poddispatchd.runtime.database_session._PROBE_TIMEOUT", 60.0)
        assert session._connection is not None
        await session._connection.execute("UNLISTEN *")
        session.suspect()
        async with asyncio.timeout(20):
            while session._probes < 2:  # noqa: ASYNC110 - it tells nobody that it has asked
                await asyncio.sleep(0.01)
        asked = await pod.connection.fetchval("SELECT now()")
        is_later = "SELECT lease_expires_at > $1::timestamptz + interval '7.2 s' FROM poddispatchd.leader"
        async with asyncio.timeout(20):
            while not await pod.connection.fetchval(is_later, asked):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        assert (session.is_up, session.term) == (True, 1)


async def test_a_daemon_that_hears_nothing_any_more_says_so_and_listens_again(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poddispatchd.runtime.database_session._PROBE_TIMEOUT", 0.5)
    async with scene(pod_database, media_root) as pod:
        session = (await pod.daemon()).parts.session
        assert session._connection is not None
        with capture_logs() as logs:
            await session._connection.execute("UNLISTEN *")
            async with asyncio.timeout(20):
                # It may be deaf for a moment only: what it has told is there to be read later.
                while len(changes := _listener_changes(logs)) < 2:
                    session.suspect()
                    await asyncio.sleep(0.05)
        assert changes == [False, True]
        assert (session.is_up, session.term) == (True, 1)


def _listener_changes(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [entry["listening"] for entry in logs if entry["event"] == Event.LISTENER_CHANGED]


async def test_after_a_loss_of_the_database_everything_is_looked_at_again(
    pod_database: PodDatabase, media_root: Path
) -> None:
    async with scene(pod_database, media_root) as pod:
        daemon = await pod.daemon()
        await daemon.settle()
        [pk] = await pod.encodings(1)
        await _cut_everything_off(pod)
        await _until_down(daemon.parts.session)
        assert daemon.parts.session.term is None
        await daemon.parts.session.available()
        for wake in (
            daemon.parts.wakeups.dispatcher,
            daemon.parts.wakeups.reconciler,
            daemon.parts.wakeups.inbox,
        ):
            assert await wake.wait(5)
        await daemon.settle()
        assert await pod.status(pk) == "running"
        assert daemon.parts.session.term == 2


async def test_a_surprise_in_the_session_does_not_end_it(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        daemon = await pod.daemon()
        take_lease = scheduling.take_lease
        calls = []

        async def surprising(*arguments: object, **options: object) -> object:
            calls.append(1)
            if len(calls) == 1:
                raise RuntimeError("nobody foresaw this")
            return await take_lease(*arguments, **options)  # type: ignore[arg-type]  # passed on

        monkeypatch.setattr(scheduling, "take_lease", surprising)
        with capture_logs() as logs:
            await _cut_everything_off(pod)
            await _until_down(daemon.parts.session)
            await daemon.parts.session.available()
        assert daemon.parts.session.term == 2
        assert Event.SERVICE_CRASHED in [entry["event"] for entry in logs]


async def test_a_submission_that_fails_in_an_unforeseen_way_neither_spins_nor_blocks(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(pod_database, media_root) as pod:
        first, second = await pod.encodings(2)
        daemon = await pod.daemon()
        execute, calls = RunnerClient.execute, []

        async def surprising(*arguments: object) -> object:
            calls.append(1)
            if len(calls) == 1:
                raise RuntimeError("nobody foresaw this")
            return await execute(*arguments)  # type: ignore[arg-type]  # passed on

        monkeypatch.setattr(RunnerClient, "execute", surprising)
        with capture_logs():
            await daemon.settle()
            assert await pod.status(first) == "pending"
            daemon.clock.advance(30)
            await daemon.settle()
        # The intent of the first one is open: its bytes were posted again, and both run.
        assert [await pod.status(pk) for pk in (first, second)] == ["running", "running"]
        assert len(calls) == 3


async def test_what_another_daemon_has_posted_since_is_not_posted_again_by_who_schedules_once_more(
    pod_database: PodDatabase, media_root: Path
) -> None:
    """It remembered when it had posted itself, long ago: its manager was still at work on the other's."""
    async with scene(pod_database, media_root) as pod:
        leader, standby = await pod.daemon(), await pod.daemon()
        leader.clock.stop()
        pod.fakes["first"].faults.inject(Endpoint.EXECUTE, AnswerFault(kind=FaultKind.DROP), times=2)
        [pk] = await pod.encodings(1)
        await leader.settle()
        await age_journal(pod.connection, 30)
        await _until_leading_again(pod, standby)
        await standby.settle()
        assert pod.posts("first") == 2

        leader.clock.advance(31)
        await _until_leading_again(pod, leader)
        await leader.settle()
        assert (pod.posts("first"), await pod.status(pk)) == (2, "pending")
        leader.clock.advance(31)
        await leader.settle()
        assert (pod.posts("first"), await pod.status(pk)) == (3, "running")


async def _until_leading_again(pod: Scene, daemon: Daemon) -> None:
    """Not before it knows that somebody else did."""
    before = daemon.parts.session.term
    async with asyncio.timeout(10):
        while (term := daemon.parts.session.term) is None or term == before:
            await pod.expire_lease()
            daemon.parts.session.suspect()
            await asyncio.sleep(0.01)


async def _cut_everything_off(pod: Scene) -> None:
    await pod.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
