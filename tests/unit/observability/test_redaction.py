"""What runner managers say is kept without the secrets that they repeat, and without losing a word."""

import pytest

from poddispatchd.domain.secret import SecretStr
from poddispatchd.observability.redaction import Redactor

TOKEN = "q7-long/token.of+a=manager"


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.register(SecretStr(TOKEN))
    made.register(SecretStr("encoding"))
    made.register(SecretStr("ffmpeg"))
    return made


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"curl -H 'Authorization: Bearer {TOKEN}' failed", "curl -H 'Authorization: ***' failed"),
        (f"token={TOKEN}&x=1", "token=***&x=1"),
        (f"{TOKEN}\n{TOKEN}", "***\n***"),
        ("headers: {'Authorization': 'Bearer of-somebody-else-42'}", "headers: {'Authorization': '***'}"),
        ("sent Bearer abcdef0123456789.", "sent Bearer ***"),
    ],
)
def test_a_token_that_is_repeated_is_taken_out(redactor: Redactor, said: str, kept: str) -> None:
    masked = redactor.said(said)
    assert TOKEN not in masked
    assert masked == kept


@pytest.mark.parametrize(
    "said",
    [
        "The bearer of this message is the encodings' owner.",
        "password: none needed; token: not found. Put the token into Pod's administration.",
        f"x{TOKEN}y is another word",
        "re-encodings of all, an encoding_log, ffmpeg -i source.mp4",
        "basic authorization is off",
        "http://pod.example.org/media/videos/a@b.mp4",
        "",
    ],
)
def test_what_is_no_secret_is_kept_to_the_letter(redactor: Redactor, said: str) -> None:
    assert redactor.said(said) == said
