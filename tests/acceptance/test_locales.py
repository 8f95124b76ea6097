"""The locale of a service is not that of Pod: on an old server it may be none of UTF-8."""

import asyncio
import sys

from poddispatchd.domain.task import TaskType
from tests.acceptance.process import environment
from tests.acceptance.rig import Rig

_NOT_UTF_8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Where Python takes names of files for ASCII; in fr_FR@euro it would take them for ISO 8859-15."""


async def test_files_with_accents_are_found_whatever_the_locale(rig: Rig) -> None:
    """Their tasks were never submitted, or failed: 'the source file does not exist'."""
    [task] = await rig.add(TaskType.ENCODING)
    [row] = await rig.fetch("SELECT id, video FROM video_video")
    old = rig.world.media_root / str(row["video"])
    new = old.with_name("été à la mer.mp4")
    old.rename(new)
    await rig.execute(
        "UPDATE video_video SET video = $2 WHERE id = $1",
        row["id"],
        str(new.relative_to(rig.world.media_root)),
    )

    daemon = await rig.start(env=_NOT_UTF_8, fresh=True)

    await daemon.event("task.completed", task=task)
    assert not [entry for entry in daemon.entries if entry["level"] == "error"]


async def test_what_a_command_is_given_and_says_stays_as_the_terminal_has_it(rig: Rig) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "poddispatchd", "-c", str(rig.config), "tasks", "list", "--status", "été"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(_NOT_UTF_8),
    )
    said, _ = await child.communicate()
    assert child.returncode == 2
    assert "'\\xe9t\\xe9'" in said.decode("ascii")
