"""One pass on a recorded Pod, and all of its effect: rows, files, mail, and what managers were asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import getaddresses

from msgspec.structs import replace

from poddispatchd.app.once import run_once
from poddispatchd.config.model import (
    DispatchSettings,
    ImportsSettings,
    RetentionSettings,
    RunnersSettings,
    Settings,
)
from poddispatchd.runner.client import NOBODYS
from tests.integration.notify.bench import Postbox, Received, postbox
from tests.integration.notify.test_recorded_mails import Sent, recorded_mails
from tests.integration.notify.test_recorded_mails import settings_of as mailing
from tests.integration.pod.imports.changes import Changes, actual_changes, snapshot
from tests.integration.pod.imports.expected import recorded_changes
from tests.plugins.shared_world import RECORDED_RUNNER_BASE, SharedWorld, SharedWorldFactory
from tests.recorded.manager import Request, recorded_manager
from tests.recorded.values import Json, items, mapping, text

LONGEST_RETENTION = 36500
"""Days; the configuration takes no more, which is as good as keeping everything."""


@dataclass(slots=True)
class Effect:
    """What a pass changed; whom it told; its requests, as ``GET /path``, those for results in any order."""

    changes: Changes
    mails: Sent
    asked: list[str]

    def rewrite(self, *words: tuple[str, str]) -> None:
        """Write other words for those of the rows, paths and mails, as they stand in their JSON."""
        changes = self.changes
        parts = [changes.inserted, changes.updated, changes.written, self.mails]
        document = json.dumps(parts, ensure_ascii=False)
        for word, other in words:
            document = document.replace(word, other)
        changes.inserted, changes.updated, changes.written, mails = json.loads(document)
        self.mails = sorted(tuple(mail) for mail in mails)

    def only_about(self, video: int) -> None:
        """Leave out everything that is about other videos."""
        changes = self.changes
        changes.inserted = {
            table: rows
            for table, all_rows in changes.inserted.items()
            if (rows := [row for row in all_rows if row.get("video_id") == video])
        }
        changes.updated = {key: row for key, row in changes.updated.items() if key == f"video_video {video}"}
        changes.written = {
            path: print_ for path, print_ in changes.written.items() if f"/{video:04d}/" in path
        }
        self.mails, self.asked = [], []


@dataclass(frozen=True, slots=True)
class Passed:
    """A pass that was made here, with its requests as they came."""

    effect: Effect
    requests: list[Request]


def recorded_effect(case: Mapping[str, Json]) -> Effect:
    """What the recorded pass of Pod did."""
    [step] = items(case["steps"])
    expect = mapping(mapping(step)["expect"])
    asked = [" ".join(text(part) for part in items(pair)) for pair in items(expect["runner_requests"])]
    return Effect(recorded_changes(expect), sorted(recorded_mails(expect)), asked)


async def make_pass(shared_world: SharedWorldFactory, case: Mapping[str, Json]) -> Passed:
    """Make a pass on a case's start state, with runner managers that answer as recorded."""
    world = await shared_world(text(case["variant"]))
    async with recorded_manager(case.get("runner")) as (manager, base), postbox() as box:
        await world.apply(case, base)
        async with world.database.connection() as connection:
            before = await snapshot(connection, world.media_root)
            assert (await run_once(_settings_of(world, case, box))).scheduled
            changes = actual_changes(before, await snapshot(connection, world.media_root), world.media_root)
    # What is quoted of a manager's address has the recorded one.
    document = json.dumps([changes.inserted, changes.updated]).replace(base, RECORDED_RUNNER_BASE)
    changes.inserted, changes.updated = json.loads(document)
    asked = [
        f"{request.method} {request.path}"
        for request in manager.requests
        # Whether a manager answers that gave no record.
        if not request.path.endswith(NOBODYS)
    ]
    return Passed(Effect(changes, sorted(map(_mail, box.received)), asked), manager.requests)


def _settings_of(world: SharedWorld, case: Mapping[str, Json], box: Postbox) -> Settings:
    """A case's settings as a person would carry them over."""
    settings = mailing(world, dict(case))
    recorded = mapping(case["settings"])
    pod = replace(
        settings.pod,
        use_transcription=recorded["USE_TRANSCRIPTION"],
        title_etb=recorded["TITLE_ETB"],
        version=recorded["VERSION"],
    )
    return replace(
        settings,
        pod=pod,
        dispatch=DispatchSettings.read({"grace": "0s"}),
        imports=ImportsSettings.read({"keep_free": "1B", "concurrency": 1}),
        mail=replace(settings.mail, host="127.0.0.1", port=box.port),
        # As Pod: what is lost is submitted again by the same pass.
        reconcile=replace(settings.reconcile, retry_wait=0.0),
        retention=RetentionSettings(completed_days=_days(recorded.get("RM_TASKS_DELETED_AFTER_DAYS"))),
        runners=RunnersSettings.read({"request_timeout": "2s"}),
    )


def _days(value: Json) -> int:
    """RM_TASKS_DELETED_AFTER_DAYS; what Pod takes for never is 0."""
    try:
        return min(max(int(str(value)), 0), LONGEST_RETENTION)
    except ValueError:
        return 0


def _mail(received: Received) -> tuple[str, list[str], list[str], str]:
    named = [
        address
        for header in ("To", "Cc")
        for _, address in getaddresses(received.message.get_all(header, []))
    ]
    to = [address for _, address in getaddresses(received.message.get_all("To", []))]
    hidden = [address for address in received.recipients if address not in named]
    return (str(received.message["From"]), to, hidden, str(received.message["Subject"]))
