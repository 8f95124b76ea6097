"""A Debian in a container, with poddispatchd installed as the README says and the unit file in place."""

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
UNIT = "poddispatchd.service"
SOCKET = "poddispatchd-webhook.socket"
TOOLS = ("debootstrap", "systemd-nspawn", "nsenter", "chroot")

SUITE = os.environ.get("PODDISPATCHD_TEST_SUITE", "bookworm")
"""The release of Debian in the containers: any that debootstrap knows."""
_PACKAGES = "systemd,python3,ca-certificates,procps"
_MIRROR = [os.environ["DEBIAN_MIRROR"]] if "DEBIAN_MIRROR" in os.environ else []
"""Where packages come from; debootstrap knows Debian's own mirrors."""

_WITHIN = 60.0
_LONGEST_COMMAND = 300.0

_T = TypeVar("_T")


def missing_tools() -> list[str]:
    """What this machine lacks for these tests."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "root"]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "poddispatchd"


def base_tree(*more: str) -> Path:
    """A minimal Debian, made once and kept in the cache; with more packages, one of its own."""
    cache = _cache()
    name = "-".join((SUITE, "rootfs", *more))
    tree = cache / name
    if not tree.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Another run may make the same one at this moment: whichever is there first stays.
        draft = Path(tempfile.mkdtemp(prefix=f"{name}.draft-", dir=cache))
        draft.chmod(0o755)
        packages = ",".join((_PACKAGES, *more))
        _run("debootstrap", "--variant=minbase", f"--include={packages}", SUITE, str(draft), *_MIRROR)
        _run("chroot", str(draft), "useradd", "--system", "--gid", "www-data", "--no-create-home", "pod")
        try:
            draft.rename(tree)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not tree.exists():
                raise
    return tree


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def python_of(tree: Path) -> str:
    """Debian's own Python in a tree, as "3.11"."""
    return str((tree / "usr/bin/python3").readlink()).removeprefix("python")


def wheels(work: Path, python: str, source: Path = REPOSITORY) -> Path:
    """What pip would download with that Python, and what builds poddispatchd: no index is asked then."""
    pure, found = work / "wheels-here", work / "wheels"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    constraints = ("--constraint", str(source / "constraints.txt"))
    # What is released as source only is pure Python: a wheel that is made here fits any Python.
    _run(*pip, "wheel", *constraints, "--wheel-dir", str(pure), str(source), "hatchling")
    [own] = pure.glob("poddispatchd-*.whl")
    other = ("--python-version", python, "--only-binary=:all:", "--find-links", str(pure))
    _run(*pip, "download", *constraints, *other, "--dest", str(found), str(own), "hatchling")
    for wheel in found.glob("poddispatchd-*.whl"):
        wheel.unlink()
    return found


def install(tree: Path, work: Path) -> None:
    """poddispatchd from a wheel under /opt, for the Python of the tree."""
    python = python_of(tree)
    found = wheels(work, python)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    [wheel] = (work / "wheels-here").glob("poddispatchd-*.whl")
    prefix = tree / "opt/poddispatchd"
    _run("chroot", str(tree), "/usr/bin/python3", "-m", "venv", "--without-pip", "/opt/poddispatchd")
    packages = prefix / f"lib/python{python}/site-packages"
    target = ("--target", str(packages), "--python-version", python, "--only-binary=:all:")
    _run(*pip, "install", "--no-index", "--find-links", str(found), *target, str(wheel))
    script = prefix / "bin/poddispatchd"
    script.write_text("#!/opt/poddispatchd/bin/python\nfrom poddispatchd.cli.entry import main\n\nmain()\n")
    script.chmod(0o755)


def build_package(work: Path, source: Path = REPOSITORY) -> Path:
    """The package, built in a container of the suite as ``make deb`` builds it: for its Python."""
    tree = base_tree("python3-venv")
    for name in ("wheels", "dist"):
        (work / name).mkdir(parents=True, exist_ok=True)
    if not any((work / "wheels").iterdir()):
        wheels(work, python_of(tree), source)
    pip = "/tmp/pip/bin/python -m pip"
    environment = {
        "PIP": pip,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "/mnt/wheels",
        "DEBFULLNAME": "Operations",
        "DEBEMAIL": "operations@example.org",
    }
    _run(
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--read-only"),
        *(f"--directory={tree}", f"--bind={work}:/mnt", f"--bind-ro={source}:/srv"),
        *(f"--setenv={name}={value}" for name, value in environment.items()),
        *("sh", "-ec", "python3 -m venv /tmp/pip; sh /srv/packaging/build-deb.sh /mnt/dist"),
    )
    [built] = (work / "dist").glob("poddispatchd_*.deb")
    return built


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted container. It shares the network of this machine."""

    leader: int
    tree: Path

    def run(self, *command: str, check: bool = True, of: int | None = None) -> str:
        """A command inside; ``of`` runs it in the mount namespace of one of its processes."""
        done = subprocess.run(
            ["nsenter", "--target", str(of or self.leader), "--mount", "--uts", "--ipc", "--pid", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_COMMAND,
        )
        assert not check or done.returncode == 0, (
            f"{command}: {done.stdout}{done.stderr}{self.journal_text()}"
        )
        return done.stdout.strip()

    def systemctl(self, *arguments: str) -> str:
        """``systemctl``, which must succeed."""
        return self.run("systemctl", *arguments)

    def property(self, name: str, unit: str = UNIT) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", unit, "--property", name, "--value")

    def systemd_version(self) -> int:
        """Of the container's systemd, as 257."""
        return int(self.run("systemctl", "--version").split()[1])

    def journal(self) -> list[Mapping[str, str]]:
        """What the unit wrote, and systemd about it."""
        text = self.run("journalctl", "--unit", UNIT, "--output", "json", check=False)
        return [json.loads(line) for line in text.splitlines()]

    def journal_text(self) -> str:
        """The same for people."""
        done = subprocess.run(
            [
                "nsenter",
                "--target",
                str(self.leader),
                "--mount",
                "--pid",
                "journalctl",
                "-u",
                UNIT,
                "-n",
                "30",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    def lines(self, event: str) -> list[Mapping[str, str]]:
        """The daemon's own lines about an event."""
        return [
            line
            for line in self.journal()
            if line.get("SYSLOG_IDENTIFIER") == "poddispatchd" and line["MESSAGE"].split(" ")[0] == event
        ]

    def until(self, what: Callable[[], _T]) -> _T:
        """Ask until the answer is true."""
        deadline = time.monotonic() + _WITHIN
        while not (answer := what()):
            assert time.monotonic() < deadline, f"it never came:\n{self.journal_text()}"
            time.sleep(0.1)
        return answer

    def process(self) -> int:
        """The daemon's process, as this machine numbers it."""
        inside = self.property("MainPID")
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                numbers = fields.get("NSpid", "").split()
                if len(numbers) > 1 and numbers[-1] == inside and fields["Name"].strip() == "poddispatchd":
                    return int(status.parent.name)
        raise AssertionError(f"no process {inside}:\n{self.journal_text()}")


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Wait until no other run of these tests is at something that has fixed names on this machine."""
    lock = _cache() / f"{what}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _control_groups() -> Iterator[list[Path]]:
    """Control groups of their own for a container, where they can be made; systemd's hierarchies only.

    systemd-nspawn puts what it boots into "payload" below its own: two runs at once would share that, and the
    groups of their units.
    """
    name, made = f"poddispatchd-tests-{os.getpid()}-{secrets.token_hex(4)}", []
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, hierarchy, group = line.split(":", 2)
        places = {"name=systemd": ("systemd",), "": ("unified", "")}.get(hierarchy, ())
        for root in (Path("/sys/fs/cgroup") / place for place in places):
            with suppress(OSError):
                if (root / "cgroup.procs").exists():
                    own = root / group.lstrip("/") / name
                    own.mkdir()
                    made.append(own)
                    break
    try:
        yield made
    finally:
        for own in made:
            for place in sorted(own.rglob("*/"), key=lambda each: len(each.parts), reverse=True):
                with suppress(OSError):
                    place.rmdir()
            with suppress(OSError):
                own.rmdir()


@contextmanager
def booted(tree: Path, binds: Mapping[Path, str]) -> Iterator[Machine]:
    """Boot a tree; what was written into it is there until it is deleted."""
    options = [f"--bind={outside}:{inside}" for outside, inside in binds.items()]
    with _control_groups() as groups, _booted(tree, options, groups) as machine:
        yield machine


@contextmanager
def _booted(tree: Path, options: Sequence[str], groups: Sequence[Path]) -> Iterator[Machine]:
    enter = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
    nspawn = subprocess.Popen(
        [
            *("sh", "-c", f'{enter}exec "$@"', "sh"),
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe"),
            *("--link-journal=no", f"--directory={tree}", *options),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # As Debian 12 and later boot: systemd 258 refuses the older hierarchy, which this machine may have.
        env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
    )
    try:
        leader = _leader(nspawn)
        machine = Machine(leader, tree)
        machine.until(
            lambda: machine.run("systemctl", "is-system-running", check=False) in ("running", "degraded")
        )
        yield machine
    finally:
        # SIGTERM is an orderly power-off of what runs inside.
        nspawn.terminate()
        try:
            nspawn.wait(30)
        except subprocess.TimeoutExpired:
            nspawn.kill()
            nspawn.wait()


def _leader(nspawn: "subprocess.Popen[bytes]") -> int:
    """The container's process 1, as this machine numbers it."""
    deadline = time.monotonic() + _WITHIN
    while time.monotonic() < deadline:
        assert nspawn.poll() is None, "systemd-nspawn ended at once"
        for child in Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
                for inner in Path(f"/proc/{child}/task/{child}/children").read_text().split():
                    if Path(f"/proc/{inner}/comm").read_text().strip() == "systemd":
                        return int(inner)
        time.sleep(0.1)
    raise AssertionError("no systemd came up in the container")
