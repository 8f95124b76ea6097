"""CIFS, NFSv3 without lockd, FUSE: what they refuse is done without if it can be, and named if it cannot.

A preloaded library lets the system calls of a real process fail as those file systems do.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from poddispatchd.pod.media import access
from poddispatchd.pod.media.tree import MediaTree
from tests.integration.imports.bench import bench
from tests.integration.imports.test_crashes import run_until
from tests.plugins.postgres import PodDatabase

needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="the library that refuses is compiled; test_refusals.py does without"
)
pytestmark = needs_gcc


def refusing(library: Path, root: Path, **calls: int) -> dict[str, str]:
    """The environment of a process whose calls fail."""
    return {
        "LD_PRELOAD": str(library),
        "REFUSE_ROOT": str(root),
        **{f"REFUSE_{call.upper()}": str(number) for call, number in calls.items()},
    }


def rehearsed(library: Path, root: Path, **calls: int) -> tuple[list[str], list[str]]:
    """What ``check`` finds when it rehearses an import in a process of its own."""
    code = (
        "import json, sys; from pathlib import Path; from poddispatchd.pod.media.access import rehearse;"
        "from poddispatchd.pod.media.tree import MediaTree;"
        "found = rehearse(MediaTree(Path(sys.argv[1])), 'videos', 0o644);"
        "print(json.dumps([found.problems, found.notes]))"
    )
    environment = {**os.environ, **refusing(library, root, **calls)}
    done = subprocess.run(
        [sys.executable, "-c", code, root],
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
        text=True,
    )
    problems, notes = json.loads(done.stdout.splitlines()[-1])
    return problems, notes


def test_check_finds_nothing_where_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    found = access.rehearse(MediaTree(tmp_path), "videos", 0o644)
    assert (found.problems, found.notes) == ((), ())
    assert list((tmp_path / "videos").iterdir()) == []


@pytest.mark.parametrize(
    ("calls", "problem", "note"),
    [
        ({"fsync_directory": errno.EINVAL}, "", "fsync of a directory"),
        ({"chmod": errno.EPERM}, "", "chmod"),
        ({"link": errno.EINVAL}, "", "no hard links"),
        ({"link": errno.EACCES}, "", "no hard links"),
        ({"flock": errno.ENOLCK}, "start rpc.statd (lockd)", ""),
        ({"flock": errno.EOPNOTSUPP}, "the file system has no working locks", ""),
        ({"fsync": errno.EIO}, "cannot be written and brought to stable storage", ""),
        ({"rename": errno.EACCES}, "cannot be renamed", ""),
        ({"link": errno.EROFS}, "cannot be linked", ""),
    ],
    ids=str,
)
def test_check_rehearses_what_an_import_does(
    library: Path, tmp_path: Path, calls: dict[str, int], problem: str, note: str
) -> None:
    (tmp_path / "videos").mkdir()
    problems, notes = rehearsed(library, tmp_path, **calls)
    assert bool(problems) is bool(problem)
    assert not problem or problem in problems[0]
    assert [note in words for words in notes] == ([True] if note else [])
    assert list((tmp_path / "videos").iterdir()) == []


@pytest.mark.slow
async def test_an_import_does_without_what_cifs_and_fuse_refuse(
    pod_database: PodDatabase, media_root: Path, library: Path
) -> None:
    async with bench(pod_database, media_root) as here:
        task = await here.ready(video=await here.video(encoded=True))
        calls = {"fsync_directory": errno.EINVAL, "chmod": errno.EPERM, "link": errno.EACCES}
        status, output = await run_until(here, "undisturbed", refusing(library, media_root, **calls))
        assert (status, await here.status(task)) == (0, "completed"), output
        assert output.count("media.quirk") == 2  # chmod and fsync of a directory, each told once
        assert here.staged() == []


@pytest.mark.slow
async def test_an_import_on_nfs_without_a_lock_manager_waits_and_names_it(
    pod_database: PodDatabase, media_root: Path, library: Path
) -> None:
    async with bench(pod_database, media_root) as here:
        task = await here.ready()
        refused = refusing(library, media_root, flock=errno.ENOLCK)
        status, output = await run_until(here, "undisturbed", refused)
        assert status == 0, output
        [(state, attempts, reason)] = await here.imports_of(task)
        assert (state, attempts, await here.status(task)) == ("open", 0, "running")
        assert "start rpc.statd (lockd)" in str(reason)
        await here.import_again()
        assert await here.status(task) == "completed"


@pytest.mark.slow
async def test_a_result_whose_names_are_too_long_for_the_file_system_ends_in_words(
    pod_database: PodDatabase, media_root: Path, library: Path
) -> None:
    """It was tried again for ever, with the advice that files of the staging directory cannot be written."""
    async with bench(pod_database, media_root) as here:
        video = await here.video(title="a" * 80)
        task = await here.ready(video=video)
        # Those of a result begin with what they are: 360p_, audio_192k_.
        longest = len(Path(video.path).name)
        status, output = await run_until(here, "undisturbed", refusing(library, media_root, longest=longest))
        assert (status, await here.status(task)) == (0, "failed"), output
        assert (
            "is too long for the file system of MEDIA_ROOT: shorten that of the source."
            in await here.words(task)
        )
        assert here.staged() == []
