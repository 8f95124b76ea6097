"""Where a server was looked for in vain is named: a socket, a host, the file of a service."""

from pathlib import Path

import pytest

from poddispatchd.database.pool import Database
from poddispatchd.domain.secret import SecretStr
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError, PoddispatchdError


async def _refused(dsn: str) -> PoddispatchdError:
    with pytest.raises(PoddispatchdError) as refused:
        await Database(SecretStr(dsn)).open()
    return refused.value


async def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    """'No such file or directory', of which nobody knew which one."""
    refused = await _refused(f"postgresql://pod@/pod?host={tmp_path}&port=5433")
    assert str(refused) == (
        f"The database cannot be reached: no such file or directory ({tmp_path}/.s.PGSQL.5433)."
    )
    assert type(refused) is DatabaseUnavailableError


async def test_a_host_that_nobody_knows_is_named() -> None:
    refused = await _refused("postgresql://pod:secret@pg.invalid/pod")
    assert str(refused).endswith(" (pg.invalid).")
    assert type(refused) is DatabaseUnavailableError


async def test_a_service_that_is_in_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver does without it, and looks for a server on this machine."""
    file = tmp_path / "services"
    file.write_text(f"[other]\nhost={tmp_path}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGHOST", str(tmp_path))
    refused = await _refused("postgresql://?service=pod")
    assert str(refused) == (f"database.dsn: its service pod is not in {file} (PGSERVICEFILE names another).")
    assert type(refused) is ConfigurationError
    assert type(await _refused("postgresql://?service=other")) is DatabaseUnavailableError


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("[pod]\nhost=localhost\npassword=a%b\n", "the driver takes a % in {} for more than a character"),
        ("host=localhost\npassword=a-secret\n", "{} is no file of services"),
        ("[pod]\npassword=a-secret\npassword=a-secret\n", "{} is no file of services"),
    ],
)
async def test_a_file_of_services_that_the_driver_cannot_read_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, words: str
) -> None:
    """libpq reads a % as it stands; the daemon ended in a traceback, at each start."""
    file = tmp_path / "services"
    file.write_text(lines)
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    refused = await _refused("postgresql://?service=pod")
    assert type(refused) is ConfigurationError
    assert words.format(file) in str(refused)
    assert "secret" not in str(refused)
