"""A certificate that is about to end is told by ``check`` before nothing can be given to its manager."""

from pathlib import Path

import pytest

from poddispatchd.app.findings import CheckLevel
from poddispatchd.app.manager_checks import manager_findings
from poddispatchd.config.model import RunnersSettings, Settings
from tests.integration.certificates import Authority
from tests.integration.runner.raw_server import RawServer, reply
from tests.unit.runner.managers import manager

_ROOT = reply(body=b'{"version": "1.7.1", "health_check": "api/health"}')
_HEALTH = reply(body=b'{"status": "healthy"}')


@pytest.mark.parametrize(("days", "level"), [(10, CheckLevel.NOTE), (30, CheckLevel.FINE)])
async def test_a_certificate_that_nobody_renews_is_told_two_weeks_before_its_end(
    tmp_path: Path, days: int, level: CheckLevel
) -> None:
    authority = Authority("a private one")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    settings = Settings(runners=RunnersSettings(ca_file=tmp_path / "ca.pem"))
    async with RawServer([_ROOT, _HEALTH], tls=authority.server(tmp_path, ends=days)) as server:
        found, _ = await manager_findings(settings, [manager(server.url)])
    assert found.severity is level
    assert f"its TLS certificate ends in {days - 1} days" in found.words.replace("Its", "its")
    assert ("see why it has not been renewed" in found.words) is (level is CheckLevel.NOTE)
