"""Mail over the wire, to a real SMTP server."""

import asyncio
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from poddispatchd.config.notification import MailSettings
from poddispatchd.domain.notices import Mail
from poddispatchd.errors import ConfigurationError, DeliveryError, DeliveryRefusedError
from poddispatchd.notify import smtp
from poddispatchd.notify.checks import check_mail
from poddispatchd.notify.smtp import Envelope, Sent, _own_name, mail_server
from tests.integration.certificates import Authority
from tests.integration.notify.bench import PASSWORD, USER, Postbox, mail_settings, postbox

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MAIL = Mail(
    sender="Pod à nous <pod@example.org>",
    to=("ada@example.org",),
    subject="[Pod] Encodage du #12 est terminée",
    text="« Été » est prête.\n",
    html="<p>« Été » est prête.</p>",
    bcc=("hidden@example.org",),
)


def settings(box: Postbox, **changes: object) -> MailSettings:
    return MailSettings.read(mail_settings(box, **changes))


def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS, and the authority that a client must trust."""
    file = Path(__file__).parents[1] / "runner" / "localhost.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    authority = tmp_path / "authority.pem"
    head, _, _ = file.read_text().partition("-----END CERTIFICATE-----")
    authority.write_text(head[head.index("-----BEGIN CERTIFICATE") :] + "-----END CERTIFICATE-----\n")
    return context, authority


async def test_a_mail_arrives_as_it_was_meant() -> None:
    envelope = Envelope.of(MAIL)
    async with postbox() as box, mail_server(settings(box)) as server:
        assert await server.send(envelope, NOON) == Sent()

    (got,) = box.received
    assert (got.sender, got.recipients) == ("pod@example.org", ("ada@example.org", "hidden@example.org"))
    assert got.message["From"] == "Pod à nous <pod@example.org>"
    assert got.message["Subject"] == MAIL.subject
    assert got.message["Message-ID"] == envelope.message_id
    text, html = got.message.iter_parts()
    assert text.get_content().splitlines() == MAIL.text.splitlines()
    assert html.get_content().strip() == MAIL.html
    assert "hidden" not in got.message.as_string()


async def test_one_refused_recipient_keeps_nobody_else_from_getting_it() -> None:
    async with postbox() as box, mail_server(settings(box)) as server:
        box.answers = {"ada@example.org": "550 No such user", "hidden@example.org": "250 OK"}
        sent = await server.send(Envelope.of(MAIL), NOON)

    assert (sent.left, sent.refused) == ((), ("ada@example.org",))
    assert sent.words == "1 of 2 recipients: 550 No such user"
    assert [each.recipients for each in box.received] == [("hidden@example.org",)]


async def test_who_is_to_be_tried_again_is_told_apart() -> None:
    async with postbox() as box, mail_server(settings(box)) as server:
        box.answers = {"ada@example.org": "450 Greylisted"}
        assert (await server.send(Envelope.of(MAIL), NOON)).left == ("ada@example.org",)


async def test_a_mail_nobody_takes_is_refused_or_tried_again() -> None:
    mail = Envelope.of(replace(MAIL, bcc=()))
    async with postbox() as box, mail_server(settings(box)) as server:
        box.answers = {"ada@example.org": "550 No such user"}
        with pytest.raises(DeliveryRefusedError, match="550 No such user"):
            await server.send(mail, NOON)
        box.answers = {"ada@example.org": "451 Later"}
        with pytest.raises(DeliveryError, match="451 Later") as later:
            await server.send(mail, NOON)
        assert not isinstance(later.value, DeliveryRefusedError)
        box.answers = {}
        box.data_answers = ["554 Spam", "452 Full"]
        with pytest.raises(DeliveryRefusedError, match="554 Spam"):
            await server.send(mail, NOON)
        with pytest.raises(DeliveryError, match="452 Full"):
            await server.send(mail, NOON)
        # The connection has survived all of it.
        assert await server.send(mail, NOON) == Sent()
    assert box.connections == 1


async def test_a_server_that_wants_a_login_refuses_the_settings_and_not_the_mail() -> None:
    """Such mails were once given up at once, all of them."""
    async with postbox() as box, mail_server(settings(box)) as server:
        box.data_answers = ["530 Authentication required"]
        with pytest.raises(DeliveryError, match="530") as wanted:
            await server.send(Envelope.of(replace(MAIL, bcc=())), NOON)
        assert not isinstance(wanted.value, DeliveryRefusedError)
        assert not server.is_connected


async def test_a_server_that_hangs_up_is_worth_another_try() -> None:
    async with postbox() as box, mail_server(settings(box)) as server:
        box.hang_up_after = True
        with pytest.raises(DeliveryError) as lost:
            await server.send(Envelope.of(MAIL), NOON)
        assert not isinstance(lost.value, DeliveryRefusedError)
        assert not server.is_connected


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_mail_goes_encrypted_with_a_login(tmp_path: Path, security: str) -> None:
    context, authority = certificate(tmp_path)
    encrypted = postbox(starttls=context) if security == "starttls" else postbox(tls=context)
    async with encrypted as box:
        known = settings(
            box,
            host="localhost",
            security=security,
            ca_file=str(authority),
            username=USER,
            password=PASSWORD,
        )
        async with mail_server(known) as server:
            await server.send(Envelope.of(MAIL), NOON)
        with pytest.raises(DeliveryError, match=r"(?i)certificate"):
            async with mail_server(structs.replace(known, ca_file=None)):
                raise AssertionError("an unknown authority was trusted")
    assert (len(box.received), box.logins) == (1, 1)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_that_has_expired_is_told_with_what_mends_it(
    tmp_path: Path, security: str
) -> None:
    """It was told in the words of OpenSSL, with the line of its source."""
    authority = Authority("a private one")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    context = authority.server(tmp_path, begins=-2, ends=-1)
    encrypted = postbox(starttls=context) if security == "starttls" else postbox(tls=context)
    async with encrypted as box:
        known = settings(box, host="localhost", security=security, ca_file=str(tmp_path / "ca.pem"))
        with pytest.raises(DeliveryError, match=r"its certificate has expired.*: renew it there") as told:
            async with mail_server(known):
                raise AssertionError("it was trusted")
    assert "_ssl.c" not in str(told.value)


async def test_the_check_logs_in_and_says_what_it_found() -> None:
    async with postbox() as box:
        good = settings(box, username=USER, password=PASSWORD)
        bad = settings(box, username=USER, password="battery staple")

        assert await check_mail(good) == (
            f"127.0.0.1:{box.port} answers (none, logged in as pod); 1 admins and 1 managers are told."
        )
        with pytest.raises(ConfigurationError, match="cannot be used: 535") as refused:
            await check_mail(bad)
    assert "battery" not in str(refused.value)


async def test_the_check_finds_out_whom_the_server_takes_mail_for_and_sends_none() -> None:
    async with postbox() as box:
        good = settings(box)
        box.answers = {good.admins[0]: "554 Relay access denied"}
        with pytest.raises(ConfigurationError, match=f"{good.admins[0]}: 554 Relay access denied"):
            await check_mail(good)
        box.answers = {good.admins[0]: "450 Greylisted"}
        await check_mail(good)
    assert box.received == []


async def test_the_check_asks_for_the_managers_of_establishments_too() -> None:
    """They were heard of with the first mail that was refused for one, which its owner did not get either."""
    by_name = {"use_establishment": True, "establishment_managers": {"etab_1": ["law@example.org"]}}
    async with postbox() as box:
        known = settings(box, **by_name)
        assert "and of 1 establishments theirs" in await check_mail(known)
        box.answers = {"law@example.org": "550 No such user"}
        with pytest.raises(ConfigurationError, match=r"law@example\.org: 550 No such user"):
            await check_mail(known)
        off = await check_mail(settings(box, **by_name | {"use_establishment": False}))
    assert "mail.establishment_managers count for nothing" in off


async def test_the_check_names_a_server_that_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be used: connection refused \(127\.0\.0\.1:9\)"):
        await check_mail(MailSettings.read(mail_settings(None)))


async def test_the_check_says_that_mail_is_disabled() -> None:
    assert await check_mail(MailSettings()) == (
        "It is disabled (mail.enabled): nobody is told of what is imported or fails."
    )


async def test_this_machines_name_is_looked_up_as_every_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library asked for it in the event loop's own pool: where no name server answers, each try to send
    mail held one of its few threads, then nobody else had one, and the process did not end.
    """
    asked: list[str] = []

    def in_the_pool() -> str:
        asked.append("in the pool")
        return "pod.example.org"

    monkeypatch.setattr(socket, "gethostname", lambda: "pod")

    async def known(host: str, _port: None, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        return [(2, 1, 6, "pod.example.org", ("127.0.0.1", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", known)

    assert await _own_name() == "pod.example.org"

    monkeypatch.undo()
    monkeypatch.setattr(socket, "getfqdn", in_the_pool)
    async with postbox() as box, mail_server(settings(box)) as server:
        await server.send(Envelope.of(MAIL), NOON)
    assert asked == ["pod"]


async def test_a_machine_whose_domain_nobody_knows_greets_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hangs(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(smtp, "_NAME_WITHIN", 0.01)
    monkeypatch.setattr(socket, "gethostname", lambda: "pod")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hangs)

    assert await _own_name() == "pod"
