import ast
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poddispatchd.config.masking import MASK, dsn_password, mask_dsn, mask_text
from tests.unit.sources import Source, sources

# Letters that stand nowhere else in the addresses below, so that a piece of the password would be noticed.
PASSWORDS = st.text(alphabet="XYZ0%+ '\"\\/?#@:&=;,[]é", min_size=1, max_size=20)
MARK = "XYZXYZ"


@pytest.mark.parametrize(
    ("dsn", "masked"),
    [
        ("postgresql:///pod", "postgresql:///pod"),
        ("postgresql://pod@db.example.org:5432/pod", "postgresql://pod@db.example.org:5432/pod"),
        ("postgresql://pod:hunter2@host/db", "postgresql://pod:***@host/db"),
        ("postgres://pod:hunter2@h1:1,h2:2/db?sslmode=require", "postgres://pod:***@h1:1,h2:2/db?sslmode=require"),
        ("postgresql://:hunter2@host/db", "postgresql://:***@host/db"),
        ("postgresql://pod:hun%40ter2@[::1]:5432/db", "postgresql://pod:***@[::1]:5432/db"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
        ("postgresql://[::1]/db", "postgresql://[::1]/db"),
        ("postgresql://pod:hun@ter2@host/db", "postgresql://pod:***@host/db"),
        ("postgresql://pod:hun/ter2@host/db", "postgresql://pod:***@host/db"),
        ("postgresql://pod:hun?ter2@host/db", "postgresql://pod:***@host/db"),
        ("postgresql://pod:hun@t/?er2@host/db", "postgresql://pod:***@host/db"),
        ("postgresql://pod:hun@t#?er2@host/db", "postgresql://pod:***@host/db"),
        ("postgresql://pod:hunter2@host/db?password=hun@ter2", "postgresql://pod:***@***"),
        ("postgresql://pod@host/db?user=pod@realm", "postgresql://pod@host/db?user=pod@realm"),
        ("postgresql://pod:hunter2", "postgresql://pod:***"),
        ("postgresql:///pod?password=hunter2&user=pod", "postgresql:///pod?password=***&user=pod"),
        ("postgresql:///pod?user=pod&PassWord=hunter2&x", "postgresql:///pod?user=pod&password=***&***"),
        ("postgresql:///pod?pass%77ord=hunter2", "postgresql:///pod?password=***"),
        ("postgresql:///pod?sslpassword=hunter2", "postgresql:///pod?sslpassword=***"),
        ("host=h user=pod password=hunter2 dbname=db", "host=h user=pod password=*** dbname=db"),
        ("host = h password = 'it\\'s hunter2' dbname=db", "host=h password=*** dbname=db"),
        ("password='hunter2", MASK),
        ("password=my hunter2", MASK),
        ("hunter2", MASK),
        ("hunter2=x", MASK),
        ("", ""),
    ],
)  # fmt: skip
def test_a_password_is_masked_wherever_an_address_holds_it(dsn: str, masked: str) -> None:
    assert mask_dsn(dsn) == masked


@given(PASSWORDS)
def test_a_password_before_the_host_never_appears_however_badly_it_is_escaped(password: str) -> None:
    masked = mask_dsn(f"postgresql://pod:{MARK}{password}{MARK}@host/db?sslmode=require")

    assert "X" not in masked
    assert masked.startswith("postgresql://pod:***@")


@given(PASSWORDS)
def test_a_well_escaped_password_hides_nothing_else(password: str) -> None:
    masked = mask_dsn(f"postgresql://pod:{quote(password, safe='')}@host:5432/db?sslmode=require")

    assert masked == "postgresql://pod:***@host:5432/db?sslmode=require"


@given(PASSWORDS)
def test_a_password_in_the_query_never_appears(password: str) -> None:
    masked = mask_dsn(f"postgresql://pod@host/db?sslmode=require&password={MARK}{password}{MARK}")

    assert "X" not in masked


@given(PASSWORDS)
def test_a_password_among_pairs_never_appears_quoted_or_not(password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")

    assert mask_dsn(f"host=h password='{MARK}{quoted}' dbname=db") == "host=h password=*** dbname=db"
    assert "X" not in mask_dsn(f"host=h password={MARK}{password}{MARK} dbname=db")


@given(st.text())
def test_masking_never_fails_and_masks_the_same_again(text: str) -> None:
    mask_text(text)
    assert isinstance(mask_dsn(text), str)
    dsn_password(text)


@given(PASSWORDS)
def test_the_password_of_an_address_is_found_decoded(password: str) -> None:
    assume("\\" not in password)

    assert dsn_password(f"postgresql://pod:{quote(password, safe='')}@host/db") == password
    assert dsn_password(f"postgresql://host/db?user=pod&password={quote(password, safe='')}") == password


@pytest.mark.parametrize(
    "dsn", ["postgresql:///pod", "postgresql://pod@h/db", "host=h", "", "postgresql://[", "x"]
)
def test_an_address_without_password_has_none(dsn: str) -> None:
    assert dsn_password(dsn) is None


def test_the_password_among_pairs_is_found() -> None:
    assert dsn_password(r"host=h password='it\'s' dbname=db") == "it's"


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to postgresql://pod:hunter2x9@host/db: refused",
        "cannot connect to amqp://pod:hun@ter2x9@host/db",
        "Authorization: Bearer hunter2x9",
        "{'Authorization': 'Bearer hunter2x9', 'Accept': '*/*'}",
        'headers={"authorization": "hunter2x9"}',
        "sent Bearer hunter2x9 to the manager",
        "host=h password=hunter2x9 dbname=db",
        "host=h password='hun ter2x9' dbname=db",
        '{"client_token": "hunter2x9"}',
        "POST /x?token=hunter2x9&y=1",
    ],
)
def test_a_text_loses_what_looks_like_a_secret(text: str) -> None:
    masked = mask_text(text)

    assert "ter2x9" not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "piece",
    ["a-", "x://y:", "x://", "password='", "bearer ", "bearer", "authorization:", "a@", "://:", "token"],
)
def test_a_hostile_text_is_masked_in_no_time(piece: str) -> None:
    # Quadratic patterns would take minutes here, and the callback's text comes from outside.
    mask_text(piece * 20_000)


@pytest.mark.parametrize(
    "text",
    [
        "task 12 of http://pod.example.org:8000/video/1 is running",
        "basic checks passed, the bearer is unknown",
        "Bearer token missing",
        "mail to admin@example.org about 12:30",
        "max_tokens are 12",
        "a redirect is never followed with a token: put the final address into Pod's administration.",
        "no password: the token goes in its own field",
        "without authorization, the manager refuses",
    ],
)
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("text", ["token: theft4x", "password: put", "token: thesis work", "token=the one"])
def test_a_secret_that_resembles_a_word_of_a_sentence_is_masked(text: str) -> None:
    assert MASK in mask_text(text)


def _eaten(source: Source) -> list[str]:
    """Places of texts that masking changes."""
    # Docstrings are for readers of the code.
    documentation = {id(node.value) for node in source.nodes if isinstance(node, ast.Expr)}
    texts = (
        node
        for node in source.nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    )
    # The placeholder of an address looks like a password, and must.
    plain = ((node.lineno, str(node.value).replace("user:password@", "user@")) for node in texts)
    return [f"{source.name}:{line}" for line, text in plain if mask_text(text) != text]


def test_no_sentence_of_ours_is_eaten() -> None:
    """The remedy for a redirect read "never followed with a token: *** the final address"."""
    assert [place for source in sources() for place in _eaten(source)] == []
