import pytest
from pydantic import SecretStr

from poddispatchd.callbacks.tokens import managers_of_token
from poddispatchd.domain.manager import RunnerManager, token_bytes
from poddispatchd.domain.task import ManagerId, SiteId


def _manager(number: int, token: str) -> RunnerManager:
    return RunnerManager(ManagerId(number), "rm", 1, "http://rm.test/", SecretStr(token), SiteId(1))


@pytest.mark.parametrize("sent", [b"\xe9t\xe9", "été".encode()])
def test_a_token_beyond_ascii_is_known_in_latin_1_and_in_utf_8(sent: bytes) -> None:
    managers = [_manager(1, " été "), _manager(2, "plain"), _manager(3, "日本"), _manager(4, "")]
    assert managers_of_token(sent, managers) == (1,)
    assert managers_of_token(sent[:-1], managers) == ()


@pytest.mark.parametrize(
    ("token", "sent"), [("été", b"\xe9t\xe9"), (" plain\n", b"plain"), ("日本", None), ("a\nb", None)]
)
def test_a_token_is_what_a_header_can_carry(token: str, sent: bytes | None) -> None:
    assert token_bytes(token) == sent
