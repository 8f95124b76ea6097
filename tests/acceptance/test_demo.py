"""The demo is the first that people see: it ends well, and looks well on a terminal."""

import asyncio
import os
import pty
import re
import sys

import pytest


def _read_all(terminal: int) -> str:
    """What comes until the other end is closed, which Linux tells as an error."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


@pytest.mark.slow
async def test_the_demo_paints_its_live_view_and_prints_no_escapes() -> None:
    """Its cursor movements were made harmless on their way to the terminal, and stood there as text."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "poddispatchd", "demo", "--tasks", "3", "--seconds", "0.2"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )
    os.close(theirs)
    said = await asyncio.to_thread(_read_all, ours)
    os.close(ours)

    assert await process.wait() == 0, said
    assert "\x1b[2K" in said
    assert "\\x1b" not in said
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said)
    assert "3 of 3 tasks completed" in plain
    assert f"{sys.executable} -m poddispatchd -c " in plain
