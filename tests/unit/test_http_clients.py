"""Whoever is asked by HTTP may be hostile: each session of ours is bounded."""

import re
from pathlib import Path

import poddispatchd

_SESSION = re.compile(r"ClientSession\((?!\))")
_BOUND = re.compile(r"bound\(\s*(aiohttp\.)?TCPConnector\(")
_CONNECTOR = re.compile(r"TCPConnector\(")


def test_every_http_session_has_bounded_connections() -> None:
    """A push service is named by a user's browser; interim answers for ever of one stopped the loop."""
    root = Path(poddispatchd.__file__).parent
    found = 0
    for path in root.rglob("*.py"):
        if path.is_relative_to(root / "sandbox"):
            continue
        text = path.read_text(encoding="utf-8")
        sessions = len(_SESSION.findall(text))
        found += sessions
        assert len(_BOUND.findall(text)) >= sessions, path
        assert len(_BOUND.findall(text)) == len(_CONNECTOR.findall(text)), path
    assert found >= 4
