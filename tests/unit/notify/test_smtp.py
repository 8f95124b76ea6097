"""Mail as it travels."""

from datetime import UTC, datetime

from poddispatchd.domain.notices import Mail
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
