"""MEDIA_ROOT and its links are looked at anew when a person says so, also while the file system hangs."""

from pathlib import Path
from threading import Event, Thread

import pytest

from poddispatchd.pod.media.directory import Directory, real_path
from poddispatchd.pod.media.root import MediaRoot


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Where a path leads is answered when this is set."""
    answers = Event()

    def late(path: Path) -> Path:
        assert answers.wait(60)
        return real_path(path)

    monkeypatch.setattr("poddispatchd.pod.media.root.real_path", late)
    return answers


def test_a_reload_waits_for_nobody_who_hangs_in_the_file_system(tmp_path: Path, hanging: Event) -> None:
    """It is the event loop that asks: all would have stood still, until the watchdog ended it."""
    media = MediaRoot(tmp_path)
    at_work = Thread(target=lambda: media.opened().close(), daemon=True)
    at_work.start()

    asking = Thread(target=media.look_anew, daemon=True)
    asking.start()
    asking.join(10)
    has_returned = not asking.is_alive()

    hanging.set()
    at_work.join(60)
    assert has_returned


def test_what_is_asked_for_while_links_are_looked_at_is_another_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    root = tmp_path / "media"
    root.mkdir()
    (root / "videos").symlink_to(old)
    media, links = MediaRoot(root), Directory.links

    def meanwhile(directory: Directory) -> dict[str, str]:
        found = links(directory)
        if (root / "videos").readlink() == old:
            (root / "videos").unlink()
            (root / "videos").symlink_to(new)
            media.look_anew()
        return found

    monkeypatch.setattr(Directory, "links", meanwhile)
    media.opened().close()
    assert media.links() == {"videos": new}
