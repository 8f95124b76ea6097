"""Recorded imports once more, on the daemon's own way: from the callback over HTTP to rows and files."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from poddispatchd.app import features
from poddispatchd.app.parts import Parts
from poddispatchd.callbacks.receiver import CallbackReceiver
from poddispatchd.config.units import Address
from poddispatchd.web.listener import listening
from poddispatchd.web.webhook import webhook_application
from tests.integration.imports.bench import StillClock, daemon_parts, idle, settings_of
from tests.integration.pod.imports.changes import Snapshot, snapshot
from tests.plugins.shared_world import SharedWorld, SharedWorldFactory
from tests.recorded.manager import RecordedManager, recorded_manager
from tests.recorded.values import Json, items, mapping, text

_ROUNDS = 8
"""More than the attempts of an import: what is open after them waits for something."""


@dataclass(slots=True)
class Replay:
    """A Pod, the runner managers it was recorded with, and a daemon between them."""

    world: SharedWorld
    manager: RecordedManager
    parts: Parts
    address: Address

    async def callback(self, stimulus: Mapping[str, Json]) -> tuple[int, Json]:
        """Call the webhook as the manager did; status and document of the answer."""
        headers = [(text(items(pair)[0]), text(items(pair)[1])) for pair in items(stimulus["headers"])]
        url = f"http://{self.address.host}:{self.address.port}{stimulus['path']}"
        body = text(stimulus["body"]).encode()
        async with (
            aiohttp.ClientSession() as http,
            http.request(text(stimulus["method"]), url, headers=headers, data=body) as answer,
        ):
            return answer.status, await answer.json()

    async def settle(self) -> None:
        """Let the callback have its effect: every attempt at an import, one after the other."""
        inbox, importer = features.callback_worker(self.parts), features.importer(self.parts)
        while await inbox.step() <= 0.1:
            pass
        for _ in range(_ROUNDS):
            async with self.world.database.connection() as connection:
                due = "UPDATE poddispatchd.import SET next_attempt_at = now() WHERE state = 'open'"
                if await connection.execute(due) == "UPDATE 0":
                    return
            await importer.step()
            await idle(importer)

    async def snapshot(self) -> Snapshot:
        async with self.world.database.connection() as connection:
            return await snapshot(connection, self.world.media_root)

    async def waiting(self) -> str:
        """Why the import waits; no attempt of it has counted."""
        async with self.world.database.connection() as connection:
            row = await connection.fetchrow("SELECT state, attempts, last_error FROM poddispatchd.import")
        assert row is not None
        state, attempts, reason = row
        assert (state, attempts) == ("open", 0)
        return str(reason)

    async def a_day_later(self) -> None:
        """What has kept an import from going on has done so for more than a day."""
        async with self.world.database.connection() as connection:
            await connection.execute(
                "UPDATE poddispatchd.import SET obstructed_since = now() - interval '25 hours'"
            )
        await self.settle()


@asynccontextmanager
async def replaying(
    shared_world: SharedWorldFactory, case: Mapping[str, Json], **pod: Json
) -> AsyncIterator[Replay]:
    """A case's start state with everything at work; ``pod`` are settings that replace the recorded ones."""
    world = await shared_world(text(case["variant"]))
    async with recorded_manager(case["runner"]) as (manager, url):
        await world.apply(case, url)
        # A lost result is not made again here: what cannot be imported fails, and says why.
        changes: dict[str, dict[str, object]] = {
            "pod": {**_pod_settings(case), **pod},
            "reconcile": {"max_attempts": 1},
        }
        settings = settings_of(world.database.dsn, world.media_root, world.database.variant, changes)
        clock = StillClock()
        async with daemon_parts(settings, clock) as parts:
            receiver = CallbackReceiver(parts.database, parts.registry, parts.wakeups, clock)
            webhook = webhook_application(receiver, settings.webhook, metrics=parts.metrics, clock=clock)
            async with listening(webhook, Address("127.0.0.1", 0), "webhook.listen") as address:
                yield Replay(world, manager, parts, address)


def _pod_settings(case: Mapping[str, Json]) -> dict[str, Json]:
    """How a case's Pod is set up, in our words."""
    pod = {**mapping(case["settings"]), **mapping(case.get("settings_changed") or {})}
    mode = pod.get("FILE_UPLOAD_PERMISSIONS", "0644")
    return {
        "site_id": pod["SITE_ID"],
        "use_transcription": pod["USE_TRANSCRIPTION"],
        "transcription_type": pod["TRANSCRIPTION_TYPE"],
        "captions_strict_accessibility": pod.get("CAPTIONS_STRICT_ACCESSIBILITY", False),
        "language": pod["LANGUAGE_CODE"],
        "time_zone": "UTC",
        "file_permissions": f"{mode:o}" if isinstance(mode, int) else mode,
    }
