"""Columns that a newer Pod has besides are no trouble: at the start, under the daemon, and for ``check``."""

from pathlib import Path

import pytest

from poddispatchd.app.checks import CheckLevel, run_checks
from poddispatchd.sandbox.pod.schema import upgrade_schema
from tests.integration.dispatch.scene import scene
from tests.plugins.postgres import PodDatabase


@pytest.mark.parametrize("when", ["before the start", "under the daemon"])
async def test_the_address_of_a_managers_administration_changes_nothing(
    pod_database: PodDatabase, media_root: Path, when: str
) -> None:
    async with scene(pod_database, media_root) as pod:
        if when == "before the start":
            await upgrade_schema(pod.connection)
        daemon = await pod.daemon()
        first = await pod.encoding()
        await daemon.settle()
        if when == "under the daemon":
            await upgrade_schema(pod.connection)
        daemon.clock.advance(15)
        second = await pod.transcription()
        await daemon.settle()
        assert [await pod.status(pk) for pk in (first, second)] == ["running", "running"]
        findings = [finding async for finding in run_checks(pod.settings())]
        tables = [finding for finding in findings if finding.subject == "Pod's tables"]
        assert tables
        assert {finding.severity for finding in tables} == {CheckLevel.FINE}
