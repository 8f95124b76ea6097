"""A campaign from the command to the last video, by a running daemon that is killed on the way."""

import asyncio
import json
from typing import cast

import pytest

from poddispatchd.domain.task import TaskType, VideoId
from poddispatchd.sandbox.fake_runner_manager import Behaviour, RunOutcome
from poddispatchd.sandbox.pod.world import add_task, add_video
from tests.acceptance.process import ANNOUNCED_WITHIN
from tests.acceptance.rig import SHORT_TERMS, Rig
from tests.integration.notify.bench import mail_settings, postbox
from tests.integration.notify.test_outgoing_events import listening

_PER_VIDEO = "SELECT video_id, count(*) AS tasks FROM runner_manager_task WHERE type = $1 GROUP BY video_id"

_SOON = {
    "poddispatchd.campaigns.job._EVERY": 1.0,
    "poddispatchd.campaigns.job._SOON": 0.5,
    "poddispatchd.notify.event_watch._EVERY": 0.5,
    "poddispatchd.notify.event_watch._JOURNAL_EVERY": 1.0,
}
"""Fractions of the times after which a campaign, and what tells of it, look for what nobody told them."""


async def _videos(rig: Rig, count: int) -> list[VideoId]:
    """Videos with captions to be made of them, were they encoded in the usual way."""
    async with rig.database.connection() as connection:
        return [
            (await add_video(connection, rig.world, title=f"Old lecture {number}", transcript="fr")).id
            for number in range(count)
        ]


async def _made(rig: Rig, videos: list[VideoId], *options: str) -> None:
    made = await rig.run(
        "campaigns", "create", "anew", "--type", "encoding", "--videos", ",".join(map(str, videos)), *options
    )
    assert made.status == 0, made.err


async def _campaign(rig: Rig) -> dict[str, object]:
    return cast("dict[str, object]", json.loads((await rig.run("campaigns", "show", "anew", "--json")).out))


@pytest.mark.timeout(300)
async def test_every_video_is_encoded_once_though_the_daemon_is_killed_and_nobody_is_told(rig: Rig) -> None:
    async with postbox() as box:
        rig.tree["mail"] = mail_settings(box, managers=[])
        daemon = await rig.start(constants=SHORT_TERMS | _SOON)
        videos = await _videos(rig, 6)
        await _made(rig, videos, "--at-most", "2")
        await daemon.events("campaign.task_added", 2)
        await daemon.kill()
        again = await rig.start(constants=SHORT_TERMS | _SOON)
        await again.event("campaign.done", campaign="anew")

        shown = await rig.run("campaigns", "show", "anew")
        assert "[##############################] 6 of 6 (100 %)" in shown.out
        assert (await _campaign(rig))["completed"] == 6
        [task, *_] = await rig.statuses()
        assert "\ncampaign        anew\n" in (await rig.run("tasks", "show", str(task))).out
        assert {row["tasks"] for row in await rig.fetch(_PER_VIDEO, "encoding")} == {1}
        assert len(await rig.fetch(_PER_VIDEO, "encoding")) == 6
        # No captions were made anew, and no owner got a mail; one whose video is encoded as ever does.
        assert await rig.fetch(_PER_VIDEO, "transcription") == []
        async with rig.database.connection() as connection:
            video = await add_video(connection, rig.world, title="A new lecture")
            await add_task(connection, TaskType.ENCODING, video=video)
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            while not box.received:
                await rig.look()
        assert [f"#{video.id} " in subject for subject in box.subjects] == [True]
        assert len(await rig.fetch("SELECT FROM poddispatchd.delivery")) == 1


@pytest.mark.timeout(300)
async def test_one_of_which_all_fails_pauses_itself_and_everybody_is_told(rig: Rig) -> None:
    rig.manager.faults.script = lambda _: Behaviour(outcome=RunOutcome.FAILED, error="no codec")
    async with listening() as endpoint:
        rig.set("events", url=endpoint.url, types=["campaign.paused", "campaign.done"], debounce="1s")
        daemon = await rig.start(constants=_SOON)
        rig.set("ops", listen=rig.ops.removeprefix("http://"))
        await _made(rig, await _videos(rig, 7))
        await daemon.event("campaign.paused", campaign="anew")
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            while not endpoint.got:
                await rig.look()
        assert 'poddispatchd_campaigns{state="paused"}' in (await rig.get("/metrics"))[1]

        [event] = endpoint.events
        data = cast("dict[str, object]", event["data"])
        assert (event["type"], data["campaign"], data["videos"]) == ("campaign.paused", "anew", 7)
        # The daemon looks at its figures now and then; the event goes out when they are told to others.
        async with asyncio.timeout(ANNOUNCED_WITHIN):
            while (status := await rig.run("status")).status != 1:
                await rig.look()
        assert "PROBLEM Campaign anew is paused. The last 5 tasks of it failed" in status.out.replace(
            "\n", " "
        )
        assert "Campaign anew (encoding), paused: [" in status.out
        [told] = json.loads((await rig.get("/api/status"))[1])["campaigns"]
        assert (told["name"], told["state"], told["counts"]["failed"] >= 5) == ("anew", "paused", True)
        assert "Campaigns" in (await rig.get("/status"))[1]


@pytest.mark.timeout(300)
async def test_users_come_first_while_a_campaign_runs(rig: Rig) -> None:
    """Each task of the campaign takes a while; what users ask for meanwhile waits for none of the rest."""
    rig.manager.faults.script = lambda _: Behaviour(seconds=1.0)
    daemon = await rig.start()
    await _made(rig, await _videos(rig, 30), "--at-most", "1")
    await daemon.events("campaign.task_added", 2)
    own = await rig.add(*[TaskType.ENCODING] * 6)
    for task in own:
        await daemon.event("task.completed", task=task)

    campaign = await _campaign(rig)
    assert cast("int", campaign["waiting"]) > 15
    assert (await rig.run("campaigns", "cancel", "anew")).status == 0
    assert (await _campaign(rig))["state"] == "cancelled"


async def test_outside_its_hours_a_campaign_waits_and_says_until_when(rig: Rig) -> None:
    await rig.start()
    [row] = await rig.fetch("SELECT extract(hour FROM now() AT TIME ZONE 'Europe/Paris')::int AS hour")
    hour = cast("int", row["hour"])
    await _made(rig, await _videos(rig, 1), "--window", f"{(hour + 3) % 24:02d}:00-{(hour + 4) % 24:02d}:00")

    shown = await rig.run("campaigns", "show", "anew")

    assert "begin in " in shown.out
    assert await rig.statuses() == {}
