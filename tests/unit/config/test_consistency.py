"""Settings that cannot all be meant: which keys take part decides which lines of the file are named."""

import pytest

from poddispatchd.config.consistency import contradictions
from poddispatchd.config.model import Settings


def _found(**sections: dict[str, object]) -> list[tuple[str, str]]:
    """The keys of each contradiction, and what is said of it."""
    return [
        (" ".join(".".join(path) for path in paths), words)
        for paths, words in contradictions(Settings.read(sections))
    ]


def test_each_contradiction_names_all_keys_that_take_part_in_it() -> None:
    found = _found(
        webhook={"listen": "127.0.0.1:9000"},
        ops={"listen": "127.0.0.1:9000"},
        database={"dsn": "pod"},
        runners={"ca_file": "/nowhere/runners.pem"},
        mail={
            "enabled": True,
            "username": "pod",
            "security": "none",
            "host": "mail.example.org",
            "ca_file": "/nowhere/mail.pem",
        },
        push={"enabled": True},
        events={
            "url": "ftp://x",
            "command": ["post"],
            "secret": "short",
            "ca_file": "/nowhere/events.pem",
        },
        retention={"completed_days": 1, "opencast_files_days": 1},
        imports={"after": ["index"]},
    )

    assert [keys for keys, _ in found] == [
        "webhook.listen ops.listen",
        "database.dsn",
        "runners.ca_file",
        "mail.ca_file",
        "events.ca_file",
        "retention.opencast_files_days retention.completed_days",
        "mail.from_email",
        "mail.security mail.username",
        "push.vapid_private_key",
        "push.admin_email",
        "events.url",
        "events.url events.command",
        "events.secret",
        "events.command",
        "imports.after",
    ]
    for keys, words in found:
        assert words.startswith(keys.split()[0])


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("", True),
        ("https://chat.example.org/hooks/1", True),
        ("http://127.0.0.1:8080", True),
        ("chat.example.org", False),
        ("ftp://chat.example.org", False),
        ("https://", False),
        ("https://chat.example.org:0/", False),
        ("https://chat.example.org:70000/", False),
        ("https://chat.example.org/\x07", False),
    ],
)
def test_the_address_of_events_is_one_of_the_web_and_is_not_shown(url: str, *, is_one: bool) -> None:
    words = "events.url: write an address that starts with https:// or http://"
    assert _found(events={"url": url}) == ([] if is_one else [("events.url", words)])


@pytest.mark.parametrize(
    ("host", "is_one"),
    [("db", True), ("db:1", True), ("db:65535", True), ("db:0", False), ("db:65536", False), ("a@b", True)],
)
def test_the_port_of_the_database_is_one(host: str, *, is_one: bool) -> None:
    found = _found(database={"dsn": f"postgresql://user:secret@{host}/pod"})

    assert bool(found) is not is_one
    assert "secret" not in str(found)


def test_files_of_the_studio_may_stay_for_ever_or_go_before_their_tasks() -> None:
    for completed, files in ((0, 7), (8, 7), (60, 0)):
        assert _found(retention={"completed_days": completed, "opencast_files_days": files}) == []
