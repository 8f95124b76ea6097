from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from poddispatchd.domain.mail_addresses import (
    address_of,
    bare_address,
    domain_of,
    is_address,
    mailbox,
    sender_of,
)
from poddispatchd.domain.notices import (
    Failure,
    Mail,
    MailRules,
    NotedVideo,
    Owner,
    completion_mails,
    completion_push,
    failure_mails,
    warning_mails,
)
from poddispatchd.domain.task import TaskType, VideoId
from poddispatchd.notify.smtp import Envelope

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LINK = "https://pod.example.org/video/0012-film/"
OWNER = Owner(7, "ada@example.org", "ada", "Ada Lovelace", "Etab_1", accepts_notifications=True)
VIDEO = NotedVideo(VideoId(12), "Film", "0012-film", NOON, OWNER)
RULES = MailRules(
    from_email="Pod <pod@example.org>",
    server_email="root@example.org",
    title_site="Pod",
    language="fr",
    admins=("admin@example.org", "second@example.org"),
    managers=("manager@example.org",),
)
FAILURE = Failure("Video id: 12", TaskType.ENCODING, 5, "video 12", "No space <left> & nothing else.", "rm-1")


def sent(mails: tuple[Mail, ...]) -> list[tuple[str, tuple[str, ...], tuple[str, ...], str]]:
    return [(mail.sender, mail.to, mail.bcc, mail.subject) for mail in mails]


def test_managers_are_told_first_then_the_owner() -> None:
    assert sent(completion_mails(RULES, TaskType.ENCODING, VIDEO, LINK)) == [
        ("root@example.org", ("manager@example.org",), (), "[Django] [Pod] Encodage du #12 est terminée"),
        ("Pod <pod@example.org>", ("ada@example.org",), (), "[Pod] Encodage du #12 est terminée"),
    ]


def test_a_studio_recording_is_an_encoding_and_a_transcription_is_not() -> None:
    rules = replace(RULES, language="en", managers=())

    subjects = [
        completion_mails(rules, kind, VIDEO, LINK)[0].subject
        for kind in (TaskType.STUDIO, TaskType.TRANSCRIPTION)
    ]

    assert subjects == ["[Pod] Encoding #12 completed", "[Pod] The transcripting of content #12 completed"]


def test_each_kind_of_mail_can_be_switched_off() -> None:
    rules = replace(RULES, on_encoding=False)

    assert completion_mails(rules, TaskType.ENCODING, VIDEO, LINK) == ()
    assert completion_mails(rules, TaskType.STUDIO, VIDEO, LINK) == ()
    assert len(completion_mails(rules, TaskType.TRANSCRIPTION, VIDEO, LINK)) == 2
    assert completion_mails(replace(RULES, on_transcripting=False), TaskType.TRANSCRIPTION, VIDEO, LINK) == ()


def test_a_manager_of_the_establishment_gets_a_blind_copy_even_when_pod_is_debugged() -> None:
    rules = replace(RULES, establishment_managers={"etab_1": ("etab@example.org",)}, debug=True)

    assert sent(completion_mails(rules, TaskType.ENCODING, VIDEO, LINK)) == [
        (
            "Pod <pod@example.org>",
            ("ada@example.org",),
            ("etab@example.org",),
            "[Pod] Encodage du #12 est terminée",
        )
    ]


def test_owners_get_no_mail_of_a_debugged_pod() -> None:
    mails = completion_mails(replace(RULES, debug=True), TaskType.ENCODING, VIDEO, LINK)

    assert [mail.to for mail in mails] == [("manager@example.org",)]


@pytest.mark.parametrize("address", ["", "nobody", "a@b, c@d", "é@example.org", "a@example.org\nBcc: x@y.z"])
def test_an_owner_without_a_usable_address_gets_no_mail_and_the_managers_do(address: str) -> None:
    video = replace(VIDEO, owner=replace(OWNER, email=address))
    rules = replace(RULES, establishment_managers={"etab_1": ("etab@example.org",)})

    mails = completion_mails(rules, TaskType.ENCODING, video, LINK)

    assert [(mail.to, mail.bcc) for mail in mails] == [(("etab@example.org",), ())]


def test_a_mail_about_long_words_holds_their_end_where_people_learn_what_to_do() -> None:
    """The advice stands behind what the runner said, and was cut off with its last line."""
    said = "Traceback\n" + "  a line of it\n" * 400 + "ValueError: No closing quotation\nRename the file."
    (mail,) = failure_mails(RULES, replace(FAILURE, words=said))
    for content in (mail.text, mail.html.replace("<br>", "\n")):
        assert "Traceback\n  a line of it" in content
        assert "a line of it\nValueError: No closing quotation\nRename the file." in content
        assert "[…]" in content
        assert len(content) < 6000


def test_failures_are_told_to_the_admins_with_their_reason() -> None:
    (mail,) = failure_mails(RULES, FAILURE)

    assert sent((mail,)) == [
        ("root@example.org", RULES.admins, (), "[Django] [Pod] Error Encoding Video id: 12"),
    ]
    assert "No space <left> & nothing else." in mail.text
    assert "No space &lt;left&gt; &amp; nothing else." in mail.html
    assert failure_mails(replace(RULES, admins=()), FAILURE) == ()


@pytest.mark.parametrize(
    ("language", "words"), [("fr", "est importé, avec réserve"), ("en", "with a warning")]
)
def test_an_odd_result_that_was_imported_is_told_to_the_admins_once(language: str, words: str) -> None:
    (mail,) = warning_mails(replace(RULES, language=language), FAILURE)
    (failure,) = failure_mails(RULES, FAILURE)
    assert (mail.to, mail.sender) == (failure.to, failure.sender)
    assert mail.subject == failure.subject.replace("Error Encoding", "Warning Encoding")
    assert words in mail.text
    assert FAILURE.words in mail.text
    assert warning_mails(replace(RULES, admins=()), FAILURE) == ()


def test_what_a_runner_manager_calls_a_task_adds_no_header() -> None:
    (mail,) = failure_mails(RULES, replace(FAILURE, subject="Task id: x\r\nBcc: thief@example.org"))

    message = message_from_bytes(Envelope.of(mail).message(NOON).as_bytes(), policy=default)

    assert message["Bcc"] is None
    assert message["Subject"] == "[Django] [Pod] Error Encoding Task id: x Bcc: thief@example.org"


def test_only_mail_to_managers_says_who_brought_the_video() -> None:
    to_managers, to_owner = completion_mails(RULES, TaskType.ENCODING, VIDEO, LINK)

    assert "Ada Lovelace (ada)" in to_managers.text
    assert "01/03/2026 12:00" in to_managers.html
    assert "Lovelace" not in to_owner.text + to_owner.html
    assert LINK in to_owner.text
    assert f'<a href="{LINK}">' in to_owner.html


@pytest.mark.parametrize(
    ("language", "hello"), [("fr", "Bonjour,"), ("fr-ca", "Bonjour,"), ("en", "Hello,"), ("nl", "Hello,")]
)
def test_mail_is_french_or_english(language: str, hello: str) -> None:
    rules = replace(RULES, language=language)

    mails = (*completion_mails(rules, TaskType.TRANSCRIPTION, VIDEO, LINK), *failure_mails(rules, FAILURE))

    assert {mail.text.partition("\n")[0] for mail in mails} == {hello}


class _Structure(HTMLParser):
    """The tags of a document and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the base class wants it
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


@given(
    title=st.text(alphabet=st.sampled_from("<>&\"'/{}b=ié\n\r\t \x00\u2028"), max_size=60),
    kind=st.sampled_from(TaskType),
)
def test_a_title_is_text_in_html_and_nothing_else(title: str, kind: TaskType) -> None:
    plain = completion_mails(RULES, kind, VIDEO, LINK)
    odd = completion_mails(RULES, kind, replace(VIDEO, title=title), LINK)

    for mail, usual in zip(odd, plain, strict=True):
        structure, expected = _Structure(), _Structure()
        structure.feed(mail.html)
        expected.feed(usual.html)
        assert structure.tags == expected.tags
        shown = " ".join("".join(char if char.isprintable() else " " for char in title).split()) or "#12"
        assert shown in structure.words
        assert shown in mail.text
        if set(title) & set("<>&\"'"):
            assert f"<b>{title}</b>" not in mail.html
        assert mail.subject == usual.subject


@given(words=st.text(max_size=80), subject=st.text(max_size=80), site=st.text(max_size=20))
def test_whatever_is_written_the_message_can_be_read_back(words: str, subject: str, site: str) -> None:
    (mail,) = failure_mails(replace(RULES, title_site=site), replace(FAILURE, words=words, subject=subject))

    raw = Envelope.of(mail).message(NOON).as_bytes()
    message = message_from_bytes(raw, policy=default)

    assert raw.isascii()
    assert message["To"] == "admin@example.org, second@example.org"
    assert sorted(message.keys()) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    )
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]


def test_a_mail_survives_the_journal() -> None:
    for mail in completion_mails(RULES, TaskType.ENCODING, VIDEO, LINK):
        envelope = Envelope.of(mail)
        assert Envelope.from_content(envelope.to_content()) == envelope


def test_blind_copies_are_in_no_header_and_nobody_is_told_twice() -> None:
    copies = ("etab@example.org", "ada@example.org")
    rules = replace(RULES, establishment_managers={"etab_1": copies})
    (mail,) = completion_mails(rules, TaskType.ENCODING, VIDEO, LINK)
    envelope = Envelope.of(mail)

    assert envelope.left == ("ada@example.org", "etab@example.org")
    assert b"etab@example.org" not in envelope.message(NOON).as_bytes()


def test_a_push_follows_encodings_of_owners_who_accept_it() -> None:
    def head(kind: TaskType, video: NotedVideo = VIDEO) -> str | None:
        push = completion_push(title_site="Pod", language="en", task_type=kind, video=video, link=LINK)
        return None if push is None else push.head

    assert head(TaskType.ENCODING) == "[Pod] Encoding #12 completed"
    assert head(TaskType.STUDIO) == "[Pod] Encoding #12 completed"
    assert head(TaskType.TRANSCRIPTION) is None
    assert head(TaskType.ENCODING, replace(VIDEO, owner=replace(OWNER, accepts_notifications=False))) is None


@pytest.mark.parametrize("text", ["a@b", "a.b+c@example.org"])
def test_addresses_are_taken(text: str) -> None:
    assert is_address(text)
    assert bare_address(text) == text
    assert mailbox(f"Pod à nous <{text}>") == f"Pod à nous <{text}>"


@pytest.mark.parametrize("text", ["a", "a@", "@b", "a@b\n", "a b@c", "a@b,c@d", "Pod <a@b>"])
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="write a mail address"):
        bare_address(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Pod", "Pod <>", "Pod\n <a@b>", "Pod <a@b>\r\nBcc: c@d", "=?utf-8?q?Pod=0A?= <a@b>", "a@b, c@d"),
        *("Pod <a@b>, Other <c@d>", "group: a@b;", "a..b@c", "=?no-such-charset?q?Pod?= <a@b>"),
    ],
)
def test_a_sender_is_one_mailbox_on_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="write a mail address"):
        mailbox(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("pod@example.org", ""),
        ("Pod: noreply <pod@example.org>", "Pod: noreply"),
        ("Pod, Université (web) <pod@example.org>", "Pod, Université (web)"),
        ('"Pod, \\"web\\"" <pod@example.org>', 'Pod, "web"'),
        ("=?utf-8?q?Universit=C3=A9?= <pod@example.org>", "Université"),
    ],
)
def test_whatever_a_name_holds_is_one_name_of_one_sender(text: str, name: str) -> None:
    """A colon in it made a group of the sender, which servers refuse; Django writes it in quotes."""
    found = sender_of(mailbox(text))

    assert found is not None
    assert (found.display_name, found.addr_spec) == (name, "pod@example.org")
    assert (address_of(text), domain_of(text)) == ("pod@example.org", "example.org")


def test_white_space_without_end_is_no_sender() -> None:
    """It was tried by the cube of its length: eight hundred spaces took a second, and these five minutes."""
    assert sender_of(" " * 5000 + "Pod pod" + " " * 5000) is None
