"""MEDIA_ROOT and its links are looked at anew when a person says so, also while the file system hangs."""

from pathlib import Path
from threading import Event, Thread

import pytest

from poddispatchd.pod.media.directory import Directory, NotPlainError, real_path
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


@pytest.mark.parametrize("becomes", ["another link", "a link"])
def test_media_root_is_found_where_it_has_been_moved_to(tmp_path: Path, becomes: str) -> None:
    """It was called no directory, or missing, until the daemon was started anew."""
    media_root, old, new = tmp_path / "media", tmp_path / "old", tmp_path / "new"
    if becomes == "another link":
        old.mkdir()
        media_root.symlink_to(old)
    else:
        media_root.mkdir()
    media = MediaRoot(media_root)
    media.opened().close()

    media_root.resolve().rename(new)
    media_root.unlink(missing_ok=True)
    media_root.symlink_to(new)
    (new / "videos").mkdir()

    media.walk("videos").close()
    assert media.links() == {}


def test_media_root_that_is_gone_and_there_again_is_found(tmp_path: Path) -> None:
    media_root = tmp_path / "media"
    media_root.mkdir()
    media = MediaRoot(media_root)
    media.opened().close()

    media_root.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        media.opened()

    (tmp_path / "elsewhere").rename(media_root)
    media.opened().close()


def test_a_link_whose_old_place_is_gone_is_told_as_one_that_leads_elsewhere(tmp_path: Path) -> None:
    """It was told as missing: is it mounted, people were asked, where a reload was wanted."""
    media_root, old, new = tmp_path / "media", tmp_path / "old", tmp_path / "new"
    for directory in (media_root, old, new):
        directory.mkdir()
    videos = media_root / "videos"
    videos.symlink_to(old)
    media = MediaRoot(media_root)
    media.walk("videos").close()

    videos.unlink()
    videos.symlink_to(new)
    old.rmdir()
    with pytest.raises(NotPlainError, match="systemctl reload poddispatchd"):
        media.walk("videos")

    new.rmdir()
    with pytest.raises(FileNotFoundError):
        media.walk("videos")
