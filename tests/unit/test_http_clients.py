"""Whoever is asked by HTTP may be hostile: each session of ours is bounded."""

import re

from tests.unit.sources import of_the_product

_SESSION = re.compile(r"ClientSession\((?!\))")
_BOUND = re.compile(r"bound\(\s*(aiohttp\.TCP|TCP|Trusting)Connector\(")
_CONNECTOR = re.compile(r"(?<!class )\b(TCP|Trusting)Connector\(")


def test_every_http_session_has_bounded_connections() -> None:
    """A push service is named by a user's browser; interim answers for ever of one stopped the loop."""
    found = 0
    for source in of_the_product():
        text, path = source.text, source.name
        sessions = len(_SESSION.findall(text))
        found += sessions
        assert len(_BOUND.findall(text)) >= sessions, path
        assert len(_BOUND.findall(text)) == len(_CONNECTOR.findall(text)), path
    assert found >= 4
