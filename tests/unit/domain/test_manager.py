import pytest

from poddispatchd.domain.manager import RunnerManager, token_bytes
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.task import ManagerId, SiteId


@pytest.mark.parametrize(
    ("token", "sent"), [("été", b"\xe9t\xe9"), (" plain\n", b"plain"), ("日本", None), ("a\nb", None)]
)
def test_a_token_is_what_a_header_can_carry(token: str, sent: bytes | None) -> None:
    assert token_bytes(token) == sent


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://m.example.org:8443/runner", "https://m.example.org:8443/runner"),
        ("http://pod:pass/w@rd@m.example.org/x", "http://…@m.example.org/x"),
        # Somebody forgot the scheme, or mistyped it.
        ("pod:hunter2@m.example.org", "…@m.example.org"),
        ("http:/pod:hunter2@m.example.org//x", "…@m.example.org//x"),
        (" HTTP://pod:hunter2@m.example.org", " HTTP://…@m.example.org"),
        ("http://pod:hun?ter2@m.example.org", "http://…"),
        ("https://m.example.org/?token=hunter2", "https://m.example.org/?…"),
        ("https://m.example.org/#hunter2", "https://m.example.org/#…"),
        ("m.example.org?token=hun@ter2", "…"),
        ("", ""),
    ],
)
def test_no_address_is_shown_with_what_may_be_secret(url: str, shown: str) -> None:
    manager = RunnerManager(ManagerId(1), "m", 1, url, SecretStr("x"), SiteId(1))
    assert manager.shown_url == shown
