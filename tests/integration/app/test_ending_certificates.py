"""A certificate that is about to end is told by ``check`` before nobody can be reached by it."""

from pathlib import Path

import pytest

from poddispatchd.app.checks import _telling
from poddispatchd.app.findings import CheckLevel
from poddispatchd.app.manager_checks import manager_findings
from poddispatchd.config.model import RunnersSettings, Settings
from poddispatchd.config.notification import EventsSettings, MailSettings
from tests.integration.certificates import Authority
from tests.integration.notify.bench import mail_settings, postbox
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


async def test_those_of_the_mail_server_and_of_the_endpoint_of_events_are_told_too(tmp_path: Path) -> None:
    authority = Authority("a private one")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    ca_file = str(tmp_path / "ca.pem")
    async with (
        postbox(tls=authority.server(tmp_path, ends=10)) as box,
        RawServer([], tls=authority.server(tmp_path, ends=30)) as endpoint,
    ):
        settings = Settings(
            mail=MailSettings.read(mail_settings(box, host="localhost", security="tls", ca_file=ca_file)),
            events=EventsSettings.read({"url": endpoint.url, "ca_file": ca_file}),
        )
        found = [each for each in await _telling(settings) if "certificate" in each.words]
    [mail, events] = found
    assert (mail.subject, mail.severity) == ("mail", CheckLevel.NOTE)
    assert mail.words.startswith("The certificate of its server ends in 9 days, at ")
    assert (events.subject, events.severity) == ("events", CheckLevel.FINE)
    assert "ends in 29 days" in events.words
