"""The systemd unit of this machine's daemon: its user, its environment and credentials, where it may write.

Root asks for these, so that a command finds what the daemon finds, and ``check`` looks with its eyes.
"""

import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from poddispatchd.cli.environment_files import variables
from poddispatchd.config.loading import DEFAULT_PATH, NOT_SETTINGS, PREFIX
from poddispatchd.errors import MediaSlowError
from poddispatchd.pod.media.access import owner_of
from poddispatchd.pod.media.directory import real_path
from poddispatchd.pod.media.threads import Look
from poddispatchd.pod.media.tree import MediaTree

_ANSWERED_WITHIN = 5.0
"""Seconds that systemctl may take."""

_UMASK = 0o022
"""That of systemd."""

_LISTS = frozenset(
    {
        "LoadCredential",
        "ReadWritePaths",
        "BindPaths",
        "Environment",
        "EnvironmentFile",
        "SupplementaryGroups",
    }
)
"""Settings that add up, until an empty one begins anew."""


class Unit(Struct, frozen=True):
    """What is written in a unit and its drop-ins, as far as it matters here."""

    name: str
    user: str = "root"
    is_strict: bool = False
    writable: tuple[Path, ...] = ()
    credentials: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Settings that it is given as variables. Which file it reads its command line tells."""
    group: str = ""
    """Empty: that of its user."""
    more_groups: tuple[str, ...] = ()
    umask: int = _UMASK
    is_forgotten_at_boot: bool = False
    """It runs, and nothing starts it with the machine."""
    is_down: bool = False
    """It is started with the machine, and does not run."""

    def may_write(self, path: Path) -> bool:
        """Whether the sandbox of the unit lets the daemon write below a path, rights of files apart.

        It blocks: links are followed, as systemd does and the kernel.
        """
        return not self.is_strict or any(
            real_path(path).is_relative_to(real_path(place)) for place in self.writable
        )

    @property
    def account(self) -> "pwd.struct_passwd | None":
        """Its user, in its group; None where this machine does not know one of them."""
        try:
            found = pwd.getpwuid(int(self.user)) if self.user.isdigit() else pwd.getpwnam(self.user)
            if not self.group:
                return found
            group = _number_of(self.group)
        except KeyError:
            return None
        return pwd.struct_passwd((*found[:3], group, *found[4:]))

    @property
    def groups(self) -> frozenset[int]:
        """The groups that it is in besides those of its user, as far as this machine knows them."""
        known = set()
        for name in self.more_groups:
            with suppress(KeyError):
                known.add(_number_of(name))
        return frozenset(known)


def _number_of(group: str) -> int:
    """Raises ``KeyError`` where this machine does not know it."""
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid


def unit_of(config: Path | None) -> Unit | None:
    """The unit that runs with a configuration; None when there is none, or nobody can tell.

    ``/etc/poddispatchd/medicine.yaml`` belongs to the instance ``poddispatchd@medicine``; a file elsewhere to
    no unit.
    """
    path = config or DEFAULT_PATH
    systemctl = shutil.which("systemctl")
    if systemctl is None or path.parent != DEFAULT_PATH.parent:
        return None
    instance = "" if path == DEFAULT_PATH else path.stem
    name = f"poddispatchd@{instance}.service" if instance else "poddispatchd.service"
    text = _told(systemctl, "cat", "--no-pager", name)
    if text is None:
        return None
    # Other states, as "static" or "generated", are somebody's own arrangement.
    states = set((_told(systemctl, "show", "--property=ActiveState,UnitFileState", name) or "").split())
    is_forgotten = {"ActiveState=active", "UnitFileState=disabled"} <= states
    has_ended = not states.isdisjoint({"ActiveState=inactive", "ActiveState=failed"})
    is_down = has_ended and "UnitFileState=enabled" in states
    return replace(parsed(name, text, instance), is_forgotten_at_boot=is_forgotten, is_down=is_down)


def _told(systemctl: str, *arguments: str) -> str | None:
    """What systemctl prints; None where it fails or does not answer."""
    try:
        told = subprocess.run(  # noqa: S603 - a program of the system, and names of ours
            [systemctl, *arguments],
            capture_output=True,
            # A comment in a drop-in may be of any encoding.
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_ANSWERED_WITHIN,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout if told.returncode == 0 else None


def parsed(name: str, text: str, instance: str = "") -> Unit:
    """A unit from what ``systemctl cat`` prints: the file, then its drop-ins."""
    single: dict[str, str] = {}
    many: dict[str, list[str]] = {key: [] for key in _LISTS}
    section = ""
    # A backslash at the end of a line joins the next one to it.
    for line in text.replace("\\\n", " ").splitlines():
        if match := re.fullmatch(r"\[(\w+)\]\s*", line):
            section = match[1]
        key, equals, value = line.partition("=")
        if section != "Service" or not equals or line.startswith(("#", ";")):
            continue
        key, value = key.strip(), _specified(value.strip(), instance)
        if key not in _LISTS:
            single[key] = value
        elif value:
            many[key] += [value] if key == "EnvironmentFile" else _words(value)
        else:
            many[key].clear()
    credentials = dict(entry.split(":", 1) for entry in many["LoadCredential"] if ":/" in entry)
    places = [
        *many["ReadWritePaths"],
        *(entry.split(":")[1 if ":" in entry else 0] for entry in many["BindPaths"]),
    ]
    return Unit(
        name,
        single.get("User") or "root",
        single.get("ProtectSystem") == "strict",
        tuple(Path(place.lstrip("-+")) for place in places),
        {key: Path(path) for key, path in credentials.items()},
        _settings(many["Environment"], many["EnvironmentFile"]),
        single.get("Group", ""),
        tuple(many["SupplementaryGroups"]),
        _mode(single.get("UMask", "")),
    )


def _mode(octal: str) -> int:
    """A mode as a unit has it; systemd's own where there is none, or one that it ignores."""
    return int(octal, 8) if re.fullmatch("[0-7]{1,4}", octal) else _UMASK


def _specified(value: str, instance: str) -> str:
    """A value with its specifiers resolved, as far as ours have any."""
    return "%".join(part.replace("%i", instance) for part in value.split("%%"))


def _words(value: str) -> list[str]:
    """The words of a value, which may be quoted; one that nobody can read has none."""
    try:
        return shlex.split(value)
    except ValueError:
        return []


def _settings(assigned: Iterable[str], files: Iterable[str]) -> Mapping[str, str]:
    """What is set in the unit itself, and over that what is set in files, as far as root can read these."""
    found = dict(each.split("=", 1) for each in assigned if "=" in each)
    for file in files:
        found.update(variables(file))
    return {
        name: value for name, value in found.items() if name.startswith(PREFIX) and name not in NOT_SETTINGS
    }


def run_as(
    account: "pwd.struct_passwd",
    function: Callable[[], int],
    *,
    groups: Iterable[int] = (),
    umask: int = _UMASK,
) -> int:
    """Run a function in a process of another user, and return its exit status. Only root may.

    Args:
        account: the user.
        function: it prints what it has to say, and returns an exit status.
        groups: in which the process is besides those of the user.
        umask: of the process.
    """
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        _become(account, function, groups, umask)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


async def work_as_its_user(unit: Unit | None, tree: MediaTree) -> str | None:
    """Become the user of the unit for good, where this is root: what root writes under MEDIA_ROOT is root's.

    Neither the daemon nor Pod could write beside it any more. Nor could the web server read what is of
    another group than the unit's, or was written under the umask of root's shell.

    Args:
        unit: the one with this configuration; None when there is none.
        tree: MEDIA_ROOT. One that does not answer is told by whoever works in it.

    Returns:
        What root should know, where there is nobody to become; None where all is well.
    """
    if os.geteuid() != 0:
        return None
    account = None if unit is None else unit.account
    if unit is not None and account is not None:
        if account.pw_uid != 0:
            _take_over(account, unit.groups, unit.umask)
        return None
    try:
        owner = await tree.look(Look.ACCESS, owner_of, tree.top)
    except (OSError, MediaSlowError):
        return None
    if owner == 0:
        return None
    return (
        f"This is root, and {tree.root} is not root's: what is imported will be, and Pod cannot write "
        "beside it. Run this as the user of Pod: runuser -u pod -- poddispatchd …"
    )


def _take_over(account: "pwd.struct_passwd", groups: Iterable[int], umask: int) -> None:
    # Groups first: who is not root any more may not change them.
    os.setgroups(sorted({*os.getgrouplist(account.pw_name, account.pw_gid), *groups}))
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.umask(umask)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)


def _become(
    account: "pwd.struct_passwd", function: Callable[[], int], groups: Iterable[int], umask: int
) -> None:  # pragma: no cover - see above
    import sys
    import traceback

    status = 1
    try:
        _take_over(account, groups, umask)
        status = function()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:  # noqa: BLE001 - nothing of it may go on in the place of the parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
