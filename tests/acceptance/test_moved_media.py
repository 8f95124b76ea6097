"""The media tree is moved to another disk while the daemon runs: nothing is put where nobody looks."""

import shutil
import signal
from pathlib import Path

from poddispatchd.domain.task import TaskType
from tests.acceptance.rig import Rig


def _moved(rig: Rig, number: int) -> None:
    """All videos are copied to a new disk, and the link to them is changed."""
    link = rig.directory / "media" / "videos"
    old = link.resolve()
    new = rig.directory / f"disk {number}"
    # What imports leave behind is being removed.
    shutil.copytree(old, new, ignore=shutil.ignore_patterns(".*"))
    shutil.rmtree(link) if number == 1 else link.unlink()
    link.symlink_to(new)


async def _films(rig: Rig) -> list[Path]:
    rows = await rig.fetch("SELECT source_file FROM video_encode_transcript_encodingvideo")
    return [rig.directory / "media" / str(row["source_file"]) for row in rows]


async def test_a_link_to_another_disk_is_followed_after_a_reload_and_nothing_goes_the_old_way(
    rig: Rig,
) -> None:
    """All that was imported after the move went to the old disk, and was gone with it."""
    tasks = await rig.add(TaskType.ENCODING)
    _moved(rig, 1)
    daemon = await rig.start(constants={"poddispatchd.domain.import_failures._SHORTEST_WAIT": 0.2})
    await daemon.event("task.completed", task=tasks[0])

    _moved(rig, 2)
    tasks += await rig.add(TaskType.ENCODING)
    told = await daemon.event("media.missing")
    assert "systemctl reload" in str(told["reason"])
    assert (await rig.statuses())[tasks[1]] != "completed"
    daemon.signal(signal.SIGHUP)
    await daemon.event("config.reloaded")
    await daemon.event("task.completed", task=tasks[1])

    films = await _films(rig)
    assert len(films) == 8
    assert all(film.is_file() for film in films)
    assert "Traceback" not in daemon.text
