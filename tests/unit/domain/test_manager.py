import pytest

from poddispatchd.domain.manager import token_bytes


@pytest.mark.parametrize(
    ("token", "sent"), [("été", b"\xe9t\xe9"), (" plain\n", b"plain"), ("日本", None), ("a\nb", None)]
)
def test_a_token_is_what_a_header_can_carry(token: str, sent: bytes | None) -> None:
    assert token_bytes(token) == sent
