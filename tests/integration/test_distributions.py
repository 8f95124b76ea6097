"""The source archive makes the wheel, and the wheel carries all that a system needs besides the program."""

import os
import runpy
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from poddispatchd import __version__

_REPOSITORY = Path(__file__).resolve().parents[2]
_CARRIED = ("systemd", "share", "contrib", "config.yaml.example")
"""What lies below share/poddispatchd of an environment as it does in the source."""


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def _files(root: Path, names: Iterable[str]) -> dict[str, bytes]:
    found = [each for name in names for each in ((root / name), *(root / name).rglob("*")) if each.is_file()]
    return {each.relative_to(root).as_posix(): each.read_bytes() for each in found}


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel that the unpacked source archive makes."""
    work = tmp_path_factory.mktemp("distributions")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", work, cwd=_REPOSITORY)
    with tarfile.open(work / f"poddispatchd-{__version__}.tar.gz") as archive:
        # Debian 12's Python knows no filters yet.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(work)
    source = work / f"poddispatchd-{__version__}"
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", work, cwd=source)
    [wheel] = work.glob("*.whl")
    prefix = work / "environment"
    venv.create(prefix, with_pip=False)
    _run(sys.executable, "-m", "pip", "--python", prefix / "bin/python", "install", "--no-deps", wheel)
    # What it depends on comes from here: an index is not needed.
    [packages] = prefix.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return prefix


def test_the_program_of_the_wheel_runs(prefix: Path) -> None:
    module = _run(
        prefix / "bin/python", "-c", "import poddispatchd; print(poddispatchd.__file__)", cwd=prefix
    )

    assert module.startswith(str(prefix))
    assert __version__ in _run(prefix / "bin/poddispatchd", "--version", cwd=prefix)


def test_the_program_of_the_wheel_tells_the_commit_that_the_archive_was_made_of(prefix: Path) -> None:
    """All releases were 0.1.0: two installations could not be told apart."""
    expected = __version__
    if (_REPOSITORY / ".git").exists():
        git = ("git", "-C", _REPOSITORY, "-c", "safe.directory=*")
        expected += f"+g{_run(*git, 'rev-parse', '--short=10', 'HEAD').strip()}"
    told = _run(prefix / "bin/poddispatchd", "--version", cwd=prefix).strip()
    assert told.removesuffix(".dirty") == f"poddispatchd, version {expected}"


def _copy(source: Path) -> Path:
    """As much of the source as is built from, without a commit."""
    source.mkdir()
    built_from = ("poddispatchd", "packaging", "pyproject.toml", ".gitignore", "README.md", "LICENSE")
    for name in (*built_from, *_CARRIED):
        if (_REPOSITORY / name).is_dir():
            shutil.copytree(_REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(_REPOSITORY / name, source / name)
    return source


def test_what_the_targets_of_make_leave_is_no_part_of_an_archive(tmp_path: Path) -> None:
    """Beside the coverage of all tests the archive took minutes: each of their processes leaves a file."""
    source = _copy(tmp_path / "source")
    left = {
        ".coverage",
        ".coverage.host.pid1.Xa",
        ".venv/bin/x",
        "dist/a.deb",
        "mutants/a",
        ".mypy_cache/a",
    }
    for name in left:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("left", encoding="utf-8")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path, cwd=source)
    with tarfile.open(tmp_path / f"poddispatchd-{__version__}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert "poddispatchd/py.typed" in names
    assert names & left == set()


@pytest.mark.parametrize("inside", ["nothing", "another checkout"])
def test_an_archive_without_a_commit_makes_a_wheel_of_the_plain_version(tmp_path: Path, inside: str) -> None:
    """Downloaded as a tarball, and unpacked wherever it was: in /etc under etckeeper, say."""
    source = _copy(tmp_path / "source")
    if inside != "nothing":
        _run("git", "init", "--quiet", tmp_path)
        _run("git", "-C", tmp_path, "add", "source/README.md")
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
        _run("git", "-C", tmp_path, *who, "commit", "--quiet", "-m", "another project")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "_revision" in name]


def test_the_commit_is_that_of_the_source_whoever_s_hook_builds_and_nothing_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook of another repository has git look at that one; root's build left an index that its owner could
    not read."""
    revision_of = runpy.run_path(str(_REPOSITORY / "packaging/revision.py"))["revision_of"]
    source, other = tmp_path / "source", tmp_path / "other"
    commits = [_committed(source), _committed(other)]
    index = source / ".git/index"
    os.utime(source / "README.md", (1, 1))
    before = (index.stat().st_ino, index.read_bytes())
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))

    found = revision_of(source)

    assert found == f"g{commits[0]}" != f"g{commits[1]}"
    assert (index.stat().st_ino, index.read_bytes()) == before
    (source / "README.md").write_text("Something else.\n", encoding="utf-8")
    assert revision_of(source) == f"{found}.dirty"


def test_a_source_in_a_directory_whose_name_is_no_text_is_built_all_the_same(tmp_path: Path) -> None:
    revision_of = runpy.run_path(str(_REPOSITORY / "packaging/revision.py"))["revision_of"]
    source = tmp_path / os.fsdecode(b"\xe9t\xe9")
    _committed(source)
    assert revision_of(source) is None


def _committed(directory: Path) -> str:
    """Make a checkout with a commit of its own; what that is called for short."""
    directory.mkdir()
    (directory / "README.md").write_text(f"{directory.name!r}\n", encoding="utf-8")
    git = ("git", "-C", directory, "-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    for command in (("init", "--quiet"), ("add", "README.md"), ("commit", "--quiet", "-m", "first")):
        _run(*git, *command)
    return _run(*git, "rev-parse", "--short=10", "HEAD").strip()


def test_what_is_built_twice_is_the_same_to_the_byte(tmp_path: Path) -> None:
    made = []
    for place in ("one", "two"):
        command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / place)
        _run("/usr/bin/env", "SOURCE_DATE_EPOCH=1700000000", *command, cwd=_REPOSITORY)
        [wheel] = (tmp_path / place).glob("*.whl")
        made.append(wheel.read_bytes())
    assert made[0] == made[1]


def test_the_wheel_has_what_the_system_needs_as_the_source_has_it(prefix: Path) -> None:
    carried = _files(prefix / "share/poddispatchd", _CARRIED)

    assert carried == _files(_REPOSITORY, _CARRIED)
    for name in ("systemd/poddispatchd-webhook.socket", "contrib/nginx/poddispatchd.conf"):
        assert name in carried
    for manual in ("man8/poddispatchd.8", "man5/poddispatchd.yaml.5"):
        assert (prefix / "share/man" / manual).read_bytes() == (
            _REPOSITORY / "share/man" / Path(manual).name
        ).read_bytes()


def test_its_units_are_put_in_place_without_a_checkout(prefix: Path, tmp_path: Path) -> None:
    script = prefix / "share/poddispatchd/systemd/install.sh"
    shell = shutil.which("sh")
    assert shell is not None
    _run("/usr/bin/env", f"DESTDIR={tmp_path}", shell, script, "/srv/pod/media")

    for name in (
        "etc/systemd/system/poddispatchd.service",
        "etc/systemd/system/poddispatchd-webhook.socket",
        "usr/lib/sysusers.d/poddispatchd.conf",
        "usr/lib/tmpfiles.d/poddispatchd.conf",
        "usr/lib/systemd/catalog/poddispatchd.catalog",
        "usr/share/man/man8/poddispatchd.8",
        "usr/share/bash-completion/completions/poddispatchd",
    ):
        assert (tmp_path / name).stat().st_size
    drop_in = tmp_path / "etc/systemd/system/poddispatchd.service.d/media.conf"
    assert "/srv/pod/media" in drop_in.read_text(encoding="utf-8")
