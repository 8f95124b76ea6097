"""What a first installation gets wrong, as far as the settings and their file alone tell."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp import web

from poddispatchd.app import go_live_checks
from poddispatchd.app.go_live_checks import (
    configuration_findings,
    listener_findings,
    proxy_findings,
    time_zone_findings,
    user_findings,
    webhook_finding,
)
from poddispatchd.config.listeners import OpsSettings, WebhookSettings
from poddispatchd.config.model import DatabaseSettings, PodSettings, Settings
from poddispatchd.config.units import Address
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.site import Site
from poddispatchd.domain.situation import Severity
from poddispatchd.domain.task import SiteId
from tests.integration.certificates import Authority

_CERTIFICATE = Path(__file__).parents[2] / "integration" / "runner" / "localhost.pem"

_WITH_PASSWORD = Settings(database=DatabaseSettings(dsn=SecretStr("postgresql://pod:hunter2@host/db")))


def _written(tmp_path: Path, mode: int) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("database: {dsn: 'postgresql://pod:hunter2@host/db'}\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("everybody", ["0.0.0.0/0", "::/0"])
def test_trusting_everybody_as_a_web_server_is_a_problem(everybody: str) -> None:
    settings = Settings(webhook=WebhookSettings(trusted_proxies=(ip_network(everybody),)))
    [found] = proxy_findings(settings)
    assert (found.severity, everybody in found.sentence) == (Severity.PROBLEM, True)


def test_trusting_the_web_servers_that_stand_in_front_is_none() -> None:
    networks = (ip_network("127.0.0.1"), ip_network("10.1.2.0/24"))
    assert not list(proxy_findings(Settings(webhook=WebhookSettings(trusted_proxies=networks))))


@pytest.mark.parametrize(
    ("mode", "severity", "words"),
    [
        (0o600, Severity.NORMAL, "is valid"),
        (0o644, Severity.PROBLEM, "can be read by everybody on this machine, and it holds a password"),
        (0o602, Severity.PROBLEM, "can be changed by everybody on this machine"),
    ],
)
def test_who_else_may_read_or_change_the_configuration_is_told(
    tmp_path: Path, mode: int, severity: Severity, words: str
) -> None:
    path = _written(tmp_path, mode)
    [found] = configuration_findings(_WITH_PASSWORD, path)
    assert (found.severity, words in found.sentence, "hunter2" in found.sentence) == (severity, True, False)


def test_everybody_may_read_a_configuration_without_a_password(tmp_path: Path) -> None:
    [found] = configuration_findings(Settings(), _written(tmp_path, 0o644))
    assert found.severity is Severity.NORMAL


def test_a_configuration_that_is_not_there_leaves_the_defaults(tmp_path: Path) -> None:
    [found] = configuration_findings(Settings(), None, default=tmp_path / "config.yaml")
    assert (found.severity, "There is no " in found.sentence) == (Severity.NOTICE, True)


def test_a_configuration_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    [found] = configuration_findings(Settings(), tmp_path)
    assert (found.severity, "Is a directory" in found.sentence) == (Severity.PROBLEM, True)


@pytest.mark.parametrize(("host", "count"), [("localhost", 0), ("::1", 0), ("192.0.2.1", 1), ("pod.lan", 1)])
def test_a_private_listener_that_others_reach_is_told(host: str, count: int) -> None:
    settings = Settings(ops=OpsSettings(listen=Address(host, 9100)))
    assert [found.severity for found in listener_findings(settings)] == [Severity.NOTICE] * count


@pytest.mark.parametrize(("user", "owner", "count"), [(0, 1000, 1), (0, 0, 0), (1000, 1000, 0)])
def test_what_root_found_is_not_taken_for_what_the_service_may_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, owner: int, count: int
) -> None:
    seen = os.stat_result((0o40755, 0, 0, 1, owner, owner, 0, 0, 0, 0))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(Path, "stat", lambda _self: seen)
    assert len(list(user_findings(Settings(pod=PodSettings(media_root=tmp_path))))) == count


def test_root_without_a_media_tree_has_other_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not list(user_findings(Settings(pod=PodSettings(media_root=tmp_path / "gone"))))


@pytest.mark.parametrize(
    ("zone", "here", "severity", "words"),
    [
        ("Europe/Paris", "Europe/Paris", Severity.NORMAL, "Europe/Paris, where it is 13:00 now."),
        ("Europe/Paris", "Europe/Madrid", Severity.NORMAL, "13:00"),
        ("Europe/Paris", "Etc/UTC", Severity.NORMAL, "13:00"),
        (
            "Europe/Paris",
            "Indian/Reunion",
            Severity.NOTICE,
            "and on this machine 16:00: time windows open by",
        ),
        ("Europe/Paris", "Africa/Lagos", Severity.NOTICE, "and on this machine 13:00"),  # but not in summer
        ("Indian/Reunion", "Europe/Paris", Severity.NOTICE, "Indian/Reunion, where it is 16:00 now, and on"),
    ],
)
def test_a_time_zone_that_is_not_the_one_of_this_machine_is_told(
    zone: str, here: str, severity: Severity, words: str
) -> None:
    """Windows of a Pod on La Réunion opened by the hours of Paris, the default, and nothing said so."""
    now = datetime(2026, 1, 15, 12, tzinfo=UTC)
    settings = Settings(pod=PodSettings(time_zone=zone))
    [found] = time_zone_findings(settings, now, lambda at: at.astimezone(ZoneInfo(here)))
    assert (found.severity, words in found.sentence) == (severity, True)


@pytest.fixture
async def answers() -> AsyncIterator[tuple[Site, dict[str, int]]]:
    """A site whose web server answers the notifying address so, by method."""
    said: dict[str, int] = {}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=said[request.method])

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(host, port)] = runner.addresses
    yield Site(SiteId(1), f"{host}:{port}"), said
    await runner.cleanup()


@pytest.mark.parametrize(
    ("get", "post", "severity", "words"),
    [
        (405, 403, Severity.NORMAL, "it is poddispatchd that does"),
        (405, 404, Severity.PROBLEM, "it is Pod's own webhook"),
        (405, 500, Severity.NOTICE, "with 500 instead of 403"),
        (200, 403, Severity.NOTICE, "answers 200 where a webhook answers 405"),
        (502, 403, Severity.NOTICE, "answers 502: the web server passes it on to where nobody answers"),
    ],
)
async def test_who_answers_at_the_address_that_runner_managers_are_given_is_found_out(
    answers: tuple[Site, dict[str, int]], get: int, post: int, severity: Severity, words: str
) -> None:
    site, said = answers
    said.update(GET=get, POST=post)
    found = await webhook_finding(Settings(pod=PodSettings(https=False)), site)
    assert (found.severity, words in found.sentence) == (severity, True)


@pytest.mark.parametrize(
    ("https", "words"), [(False, "(connection refused)"), (True, "WRONG_VERSION_NUMBER")]
)
async def test_why_that_address_cannot_be_reached_is_told(
    answers: tuple[Site, dict[str, int]], https: bool, words: str
) -> None:
    site = answers[0] if https else Site(SiteId(1), "127.0.0.1:9")
    found = await webhook_finding(Settings(pod=PodSettings(https=https)), site)
    assert (found.severity, "cannot be reached from here" in found.sentence) == (Severity.NOTICE, True)
    assert words in found.sentence


async def test_a_domain_that_no_host_can_have_is_told() -> None:
    """A part of it with more than 63 letters ended the whole check with a traceback."""
    found = await webhook_finding(Settings(), Site(SiteId(1), f"{'a' * 70}.example.org"))
    assert found.severity is Severity.NOTICE
    assert "no host can have this name" in found.sentence


async def _told_of(
    answer: Callable[[web.Request], Awaitable[web.Response]], *, tls: ssl.SSLContext | None = None
) -> str:
    """What is said when this is all that answers at the address."""
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    [(_, port)] = runner.addresses
    settings = Settings(pod=PodSettings(https=tls is not None))
    found = await webhook_finding(settings, Site(SiteId(1), f"localhost:{port}"))
    await runner.cleanup()
    assert found.severity is Severity.NOTICE
    return found.sentence


async def _hangs_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _says_nothing(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize(("days", "severity"), [(10, Severity.NOTICE), (40, Severity.NORMAL)])
async def test_the_days_that_are_left_of_the_web_server_s_certificate_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, severity: Severity
) -> None:
    authority = Authority("a private one")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)

    def trust_it(context: ssl.SSLContext, _: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
        context.load_verify_locations(tmp_path / "ca.pem")

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", trust_it)

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=405 if request.method == "GET" else 403)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server(tmp_path, ends=days)).start()
    found = await webhook_finding(Settings(), Site(SiteId(1), f"localhost:{runner.addresses[0][1]}"))
    await runner.cleanup()
    assert f"its TLS certificate ends in {days - 1} days" in found.sentence.replace("Its", "its")
    assert found.severity is severity


async def test_a_certificate_that_is_not_trusted_here_is_told() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(_CERTIFICATE)
    assert "its TLS certificate is not trusted (self-signed" in await _told_of(_hangs_up, tls=tls)


async def test_a_server_that_hangs_up_or_says_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the connection failed" in await _told_of(_hangs_up)
    monkeypatch.setattr(go_live_checks, "_URL_TIMEOUT", aiohttp.ClientTimeout(total=0.05))
    assert "no answer in time" in await _told_of(_says_nothing)


async def test_a_name_that_this_machine_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = await webhook_finding(Settings(), Site(SiteId(1), "pod.example.org"))
    assert "cannot be reached from here (this machine does not know the name)" in found.sentence
