"""What is typed, or pasted, where a person gives words: refused or kept in one piece, never a traceback."""

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Pod
from tests.plugins.postgres import database_with_journal as pod_database

__all__ = ["pod_database"]

_TERMINAL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil"
_NO_UNICODE = "caf\udce9"
"""As Python gives an argument that was typed in another encoding than the terminal's."""

_UNPRINTABLE = set("\x1b\x07\x9b\u202e\r\0")


@pytest.mark.parametrize(
    "command",
    [
        ("runners", "pause", "first", "--reason", "{}"),
        ("runners", "pause", "{}"),
        ("runners", "pause", "first", "--until", "{}"),
        ("runners", "resume", "{}"),
        ("campaigns", "create", "{}", "--type", "encoding", "--videos", "1"),
        ("campaigns", "create", "name", "--type", "encoding", "--videos", "{}"),
        ("campaigns", "create", "name", "--type", "encoding", "--videos", "1", "--window", "{}"),
        ("campaigns", "show", "{}"),
        ("campaigns", "cancel", "{}"),
        ("tasks", "list", "--status", "{}"),
        ("tasks", "cancel", "{}"),
        ("tasks", "show", "{}"),
        ("failures", "list", "--reason", "{}"),
        ("failures", "show", "{}"),
        ("queues", "list", "{}"),
        ("report", "--since", "{}"),
        ("report", "--json", "--until", "{}"),
    ],
    ids=" ".join,
)
async def test_odd_words_are_a_mistake_in_words(pod: Pod, command: tuple[str, ...]) -> None:
    for words in (_TERMINAL, _NO_UNICODE, "", "x" * 201, "a\nb\tc"):
        said = await pod.run(*(part.format(words) for part in command))

        assert said.status in (0, 1, 2), (words, said)
        assert "Traceback" not in said.err, (words, said)
        assert "bug" not in said.err.lower(), (words, said)
        assert not _UNPRINTABLE & set(said.out + said.err), (words, said)
        assert len(said.out + said.err) < 3000, (words, said)


@pytest.mark.parametrize("reason", [_TERMINAL, "why\n 3  third\u2028 4  fourth\tc"], ids=ascii)
async def test_a_reason_that_acts_on_terminals_is_shown_as_text_everywhere(pod: Pod, reason: str) -> None:
    lines = len((await pod.run("runners", "list")).out.splitlines())
    assert (await pod.run("runners", "pause", "first", "--reason", reason)).status == 0
    listed = await pod.run("runners", "list")
    assert len(listed.out.splitlines()) == lines + 1  # the reason, and no line of its own making
    for command in (("runners", "list"), ("runners", "list", "--json"), ("status",), ("check",)):
        said = await pod.run(*command)
        assert not _UNPRINTABLE & set(said.out + said.err)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT id FROM video_video\0 WHERE false",
        b"\xff\xfe",
        b"",
        b";",
        b"SELECT 1) AS own OFFSET 0) AS chosen (id); DROP TABLE video_video; --",
        b"SELECT 1; DROP TABLE video_video",
        b"DELETE FROM video_video RETURNING id",
        b"WITH gone AS (DELETE FROM video_video RETURNING id) SELECT id FROM gone",
        b"SELECT 1e400",
        b"SELECT 'NaN'::numeric",
        b"SELECT password FROM auth_user",
        b"SELECT set_config('session_replication_role', 'replica', false)",
        b"SELECT -1",
        b"SELECT 99999999999999999999",
        b"SELECT " + b"(" * 20_000,
        b"COPY video_video TO PROGRAM 'true'",
        b"SELECT pg_sleep(-1), 1",
        b"SELECT repeat('x', 100000000)",
    ],
    ids=lambda text: ascii(text[:40]),
)
async def test_sql_that_is_no_list_of_videos_is_refused_in_words(
    pod: Pod, text: bytes, tmp_path: Path
) -> None:
    before = await pod.fetch("SELECT id FROM video_video ORDER BY id")
    file = tmp_path / "videos.sql"
    file.write_bytes(text)

    said = await pod.run("campaigns", "create", "name", "--type", "encoding", "--sql-file", str(file))

    assert said.status in (1, 2), said
    assert "Traceback" not in said.err
    assert "bug" not in said.err.lower()
    assert len(said.err) < 500
    assert await pod.fetch("SELECT id FROM video_video ORDER BY id") == before
    assert await pod.fetch("SELECT FROM poddispatchd.campaign") == []
