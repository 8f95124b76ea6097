"""A media tree that cannot be used when the daemon starts: what may pass keeps nobody down over night."""

import errno
import os
from pathlib import Path

import pytest

from poddispatchd.errors import ConfigurationError
from poddispatchd.pod.media.directory import Directory
from tests.integration.imports.bench import Bench, bench, daemon_parts
from tests.plugins.postgres import PodDatabase


def _refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def create_file(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Directory, "create_file", create_file)


async def _started_anew(here: Bench) -> None:
    async with daemon_parts(here.parts.settings, here.clock) as parts:
        assert parts.registry.all()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE])
async def test_a_daemon_starts_on_a_disk_that_is_full_or_broken_for_now(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It ended for good: systemd does not start again what says that its configuration is wrong."""
    async with bench(pod_database, media_root) as here:
        _refuse(monkeypatch, number)
        await _started_anew(here)


async def test_a_daemon_says_what_a_person_must_change(
    pod_database: PodDatabase, media_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(pod_database, media_root) as here:
        _refuse(monkeypatch, errno.EACCES)
        with pytest.raises(ConfigurationError, match=r"pod\.media_root: .* cannot be written"):
            await _started_anew(here)
