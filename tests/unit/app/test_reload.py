"""A changed configuration, read again while the daemon runs: taken over, or refused in words that stay."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poddispatchd.app import reload
from poddispatchd.app.reload import ConfigurationFile, ConfigurationReload
from poddispatchd.config.model import LogSettings, PodSettings, Settings
from poddispatchd.errors import ConfigurationError, DatabaseUnavailableError
from poddispatchd.observability.metrics import Metrics

_NOW = Settings()
_OTHER_SITE = Settings(pod=PodSettings(site_id=7))


async def _agrees(_: Settings) -> None:
    pass


async def _is_away(_: Settings) -> None:
    raise DatabaseUnavailableError("It is away.")


async def _never_answers(_: Settings) -> None:
    await asyncio.Event().wait()


def _reading(fresh: Settings) -> tuple[ConfigurationReload, Metrics]:
    metrics = Metrics()
    return ConfigurationReload(lambda: fresh, metrics), metrics


async def test_a_good_configuration_takes_the_words_about_a_bad_one_away() -> None:
    reading, metrics = _reading(_OTHER_SITE)
    reading.refuse("log.level: loud cannot be used")
    assert metrics.config_reload_success._value.get() == 0

    assert await reading.read(_NOW, _agrees) is _OTHER_SITE

    assert (reading.problems, reading.words()) == ((), ())
    assert metrics.config_reload_success._value.get() == 1


async def test_before_the_database_was_reached_nothing_is_compared() -> None:
    reading, _ = _reading(_OTHER_SITE)
    assert await reading.read(_NOW, None) is _OTHER_SITE


@pytest.mark.parametrize("verify", [_is_away, _never_answers])
async def test_what_must_be_compared_with_pod_is_refused_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, verify: Callable[[Settings], Awaitable[None]]
) -> None:
    monkeypatch.setattr(reload, "_READ_WITHIN", 0.5)
    reading, _ = _reading(_OTHER_SITE)
    with capture_logs() as logged:
        assert await reading.read(_NOW, verify) is None
    assert [entry["event"] for entry in logged] == ["config.invalid"]
    [words] = reading.words()
    assert "stays in effect: pod.site_id: it cannot be compared with Pod's sites" in words


@pytest.mark.parametrize("verify", [_is_away, _never_answers])
async def test_what_pod_knows_nothing_of_is_taken_over_without_the_database(
    monkeypatch: pytest.MonkeyPatch, verify: Callable[[Settings], Awaitable[None]]
) -> None:
    monkeypatch.setattr(reload, "_READ_WITHIN", 0.5)
    fresh = Settings(log=LogSettings(level="debug"))
    reading, _ = _reading(fresh)
    assert await reading.read(_NOW, verify) is fresh


async def test_every_problem_of_a_bad_file_is_told() -> None:
    def load() -> Settings:
        raise ConfigurationError("one", "two")

    reading = ConfigurationReload(load, Metrics())
    assert await reading.read(_NOW, _agrees) is None
    assert reading.problems == ("one", "two")


async def test_where_the_system_gives_no_thread_a_later_reload_is_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was said of every later reload that the file system does not answer."""

    class NoThread:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    reading, _ = _reading(_OTHER_SITE)
    with monkeypatch.context() as system:
        system.setattr(reload, "Thread", NoThread)
        assert await reading.read(_NOW, _agrees) is None
    [words] = reading.words()
    assert "gives the daemon no thread" in words
    assert await reading.read(_NOW, _agrees) is _OTHER_SITE


def test_a_file_that_came_while_the_daemon_ran_is_not_to_be_empty_later(tmp_path: Path) -> None:
    """Only what was there at the start was known to be: a full disk gave all defaults to the others."""
    path = tmp_path / "config.yaml"
    file = ConfigurationFile(None, environ={}, default_path=path)
    assert file.settings() == Settings()
    path.write_text("pod: {site_id: 7}\n", encoding="utf-8")
    assert file.settings() == _OTHER_SITE

    path.write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="it is empty"):
        file.settings()
    path.unlink()
    with pytest.raises(ConfigurationError, match="there is no such file"):
        file.settings()


def test_a_configuration_from_a_pipe_is_not_waited_for_a_second_time(tmp_path: Path) -> None:
    """The daemon stood still at its start, before it had told anybody anything."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    opened = threading.Event()

    def open_it() -> None:
        ConfigurationFile(path, environ={})
        opened.set()

    threading.Thread(target=open_it, daemon=True).start()
    assert opened.wait(20)
