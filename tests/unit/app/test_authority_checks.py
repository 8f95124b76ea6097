"""Files of authorities: when the last of their certificates ends, nothing of theirs is trusted."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poddispatchd.app.authority_checks import authority_findings
from poddispatchd.config.model import DatabaseSettings, RunnersSettings, Settings
from poddispatchd.config.notification import MailSettings
from poddispatchd.domain.secret import SecretStr
from poddispatchd.domain.situation import Severity
from tests.integration.certificates import Authority


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Two authorities whose certificates end in a day, and a text that is none."""
    file = tmp_path / "ca.pem"
    both = Authority("one").certificate + Authority("other").certificate
    file.write_bytes(b"# ours\n" + both + b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n")
    return file


def test_the_end_of_the_last_certificate_of_each_file_that_is_used_is_told(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    settings = Settings(
        runners=RunnersSettings(ca_file=bundle),
        mail=MailSettings(ca_file=bundle),  # nobody is sent any
        database=DatabaseSettings(dsn=SecretStr(f"postgresql://h/pod?sslrootcert={bundle}")),
    )
    now = datetime.now(UTC)
    near = list(authority_findings(settings, now))
    far = list(authority_findings(settings, now - timedelta(days=100)))

    assert [found.severity for found in near] == [Severity.NOTICE] * 2
    assert near[0].sentence.startswith(f"runners.ca_file, {bundle}: the last of its 2 certificates ends in ")
    assert near[1].sentence.startswith("sslrootcert in database.dsn, ")
    assert [(found.severity, "ends in 100 days" in found.sentence) for found in far] == [
        (Severity.NORMAL, True)
    ] * 2


def test_a_file_that_is_gone_or_holds_none_is_told_by_whoever_needs_it(tmp_path: Path) -> None:
    """A FIFO was waited for, for ever."""
    (tmp_path / "empty.pem").touch()
    os.mkfifo(tmp_path / "fifo.pem")
    for name in ("gone.pem", "empty.pem", "fifo.pem"):
        settings = Settings(runners=RunnersSettings(ca_file=tmp_path / name))
        assert list(authority_findings(settings, datetime.now(UTC))) == []
