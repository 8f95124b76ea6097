"""What settings name as a file of certificates may be anything: nothing of it may be read without an end."""

import os
import ssl
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from poddispatchd.config.certificate_files import ends_in_file, require_file, trust
from poddispatchd.config.loading import load_settings
from poddispatchd.database.certificates import require_files
from poddispatchd.database.connect_errors import UnusableFileError
from poddispatchd.errors import ConfigurationError
from tests.integration.certificates import Authority

_MOST = 8 * 2**20


def _fifo(file: Path) -> None:
    os.mkfifo(file)


def _zero(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _directory(file: Path) -> None:
    file.mkdir()


def _large(file: Path) -> None:
    """A good one, and a byte more than is read."""
    file.write_bytes(Authority("ours").certificate)
    os.truncate(file, _MOST + 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_fifo, "It is not a regular file"),
        (_zero, "It is not a regular file"),
        (_directory, "Is a directory"),
        (_large, "It is larger than 8 MiB, which no file of certificates is"),
    ],
)
def test_nothing_is_read_that_is_no_file_or_has_no_end(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    """``check`` hung with a FIFO, as the start did, and read a device until no memory was left."""
    file = tmp_path / "ca.pem"
    make(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for read in (ends_in_file, lambda path: trust(context, path), require_file):
        with pytest.raises(OSError, match=words) as caught:
            read(file)
        assert caught.value.filename == str(file)
        assert caught.value.errno
    (tmp_path / "config.yaml").write_text("{}")
    with pytest.raises(ConfigurationError, match=f"runners.ca_file: {file} cannot be read: {words}"):
        load_settings(tmp_path / "config.yaml", environ={"PODDISPATCHD_RUNNERS__CA_FILE": str(file)})


def test_what_is_refused_stays_closed(tmp_path: Path) -> None:
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            ends_in_file(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


@pytest.mark.parametrize(
    ("mode", "is_read"),
    [("disable", False), ("allow", True), ("prefer", True), ("require", True), ("verify-full", True)],
)
def test_a_file_of_the_databases_address_is_looked_at_wherever_the_driver_reads_it(
    tmp_path: Path, mode: str, is_read: bool
) -> None:
    """With sslmode=allow it reads our certificate, too: a FIFO was waited for, for ever."""
    file = tmp_path / "ours.pem"
    os.mkfifo(file)
    with pytest.raises(UnusableFileError) if is_read else nullcontext():
        require_files(f"postgresql://here/pod?sslmode={mode}&sslcert={file}")


def test_what_is_as_large_as_a_file_may_be_is_read(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    _large(file)
    os.truncate(file, _MOST)
    require_file(file)
    assert len(ends_in_file(file)) == 1


def test_comments_in_any_language_and_coding_stand_beside_certificates(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes("# Autorité de l'université\n".encode("latin-1") + Authority("ours").certificate)
    assert len(ends_in_file(file)) == 1


def test_no_file_of_libpq_is_an_empty_one() -> None:
    require_file("/dev/null")
    assert ends_in_file(Path("/dev/null")) == []
