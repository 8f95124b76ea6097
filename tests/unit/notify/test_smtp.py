"""Mail as it travels."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from poddispatchd.domain.mail_addresses import is_address, sender_of
from poddispatchd.domain.notices import Mail
from poddispatchd.notify.mail_words import unnamed_answers
from poddispatchd.notify.smtp import Envelope


def test_nothing_that_a_runner_wrote_acts_on_whoever_reads_the_mail() -> None:
    hostile = "It failed: \x1b]0;owned\x07\u202e"
    mail = Mail("pod@example.org", ("admin@example.org",), "failed", hostile, f"<p>{hostile}</p>", ())
    message = Envelope.of(mail).message(datetime(2026, 3, 14, tzinfo=UTC))
    for part in message.iter_parts():
        content = part.get_content()
        assert r"\x1b]0;owned\x07\u202e" in content
        assert not set("\x1b\x07\u202e") & set(content)


def test_the_sender_is_one_mailbox_whatever_its_name_holds() -> None:
    mail = Mail("Pod: université <pod@example.org>", ("admin@example.org",), "failed", "text", "<p>text</p>")

    head = Envelope.of(mail).message(datetime(2026, 3, 14, tzinfo=UTC)).as_bytes().partition(b"\r\nTo:")[0]

    assert head == b"From: =?utf-8?q?Pod=3A_universit=C3=A9?= <pod@example.org>"


@pytest.mark.parametrize(
    "address",
    [
        "=?utf-8?q?a=0D=0ABcc=3A_x=40example=2Enet?=@example.org",
        "a@=?utf-8?q?b=0D=0ABcc=3A_x?=",
        "=?utf-8?b?YUBiCg==?=@example.org",
    ],
)
def test_an_address_that_a_header_would_read_as_something_else_is_none(address: str) -> None:
    """Its mail was tried twelve times, each ending in an error nobody foresaw; or it wrote headers itself."""
    assert not is_address(address)


def test_an_id_that_a_runner_manager_gave_writes_no_headers() -> None:
    """With an encoded word in it, it ended the head of the mail, and the rest of it was the text."""
    hostile = "[Pod] Error Encoding Task id: =?utf-8?q?x=0D=0ABcc=3A_a=40example=2Enet=0D=0A=0D=0Atext?="
    mail = Mail("pod@example.org", ("admin@example.org",), hostile, "text", "<p>text</p>")

    sent = Envelope.of(mail).message(datetime(2026, 3, 14, tzinfo=UTC)).as_bytes()

    read = message_from_bytes(sent, policy=default)
    assert read["Subject"] == hostile.replace("=?", "= ?")
    assert (read["Bcc"], read["Auto-Submitted"]) == (None, "auto-generated")


def test_the_name_of_a_sender_that_is_encoded_twice_is_none() -> None:
    assert sender_of("=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3D0D=3D0ABcc=3D3A=5Fx=3F=3D?= <a@example.org>") is None


def test_the_answers_of_a_server_are_told_without_the_people_they_are_about() -> None:
    answers = {
        "ada.lovelace@example.org": (550, "5.1.1 <ada.lovelace@example.org>: no \x00such \udce9\n user"),
        "bob@example.org": (450, "mailbox of Bob is full, write to bob@other.example.org"),
    }
    assert unnamed_answers(answers, of=3) == (
        "1 of 3 recipients: 550 5.1.1 ADDRESS: no such user; "
        "1 of 3 recipients: 450 mailbox of ADDRESS is full, write to ADDRESS"
    )
    assert unnamed_answers(
        answers | {"bob@example.org": (550, answers["ada.lovelace@example.org"][1])}, of=2
    ) == ("2 of 2 recipients: 550 5.1.1 ADDRESS: no such user")
