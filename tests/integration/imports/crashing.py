"""A daemon that imports what is due and dies, without a word, at the moment that its arguments name.

It is run as a process of its own; the standard input says with which Pod.
"""

import asyncio
import atexit
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from poddispatchd.app import features
from poddispatchd.domain.secret import SecretStr
from poddispatchd.imports import deletion, queue
from poddispatchd.imports.commit import ImportCommit
from poddispatchd.imports.deletion import Deletion
from poddispatchd.imports.preparation import Preparation
from poddispatchd.pod import duplicates
from poddispatchd.pod.media.directory import Directory
from poddispatchd.pod.media.placing import Ready
from poddispatchd.runner.result_download import ResultDownloader
from poddispatchd.sandbox.pod.schema import SchemaVariant
from tests.integration.imports.bench import StillClock, daemon_parts, idle, settings_of


def die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _then_die(function: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
    async def deadly(*arguments: object, **named: object) -> object:
        await function(*arguments, **named)
        die()

    return deadly


def _then_die_at_once(function: Callable[..., object]) -> Callable[..., object]:
    def deadly(*arguments: object) -> NoReturn:
        function(*arguments)
        die()

    return deadly


def _at_call(number: int, function: Callable[..., object]) -> Callable[..., object]:
    calls = iter(range(10**6))

    def deadly(*arguments: object, **named: object) -> object:
        if next(calls) == number:
            die()
        return function(*arguments, **named)

    return deadly


_link = Directory.link


def _link_then_die(source: Directory, name: str, into: Directory, new: str) -> None:
    _link(source, name, into, new)
    die()


def _set(owner: object, name: str, value: object) -> None:
    setattr(owner, name, value)


MOMENTS: dict[str, Callable[[], None]] = {
    "before the download": lambda: _set(ResultDownloader, "download", die),
    "during the download": lambda: _set(Directory, "replace_file", _at_call(2, Directory.replace_file)),
    "after the download": lambda: _set(Preparation, "prepare", die),
    "before the files are recorded": lambda: _set(ImportCommit, "record", die),
    "before the first rename": lambda: _set(ImportCommit, "record", _then_die(ImportCommit.record)),
    "amid the renames": lambda: _set(Ready, "swap", _at_call(3, Ready.swap)),
    "amid the links": lambda: _set(Directory, "link", _link_then_die),
    "after the renames": lambda: _set(duplicates, "complete", die),
    "within the transaction": lambda: _set(queue, "settle", _then_die(queue.settle)),
    "after the commit": lambda: _set(ImportCommit, "_tell", die),
    "before the clean-up": lambda: _set(Deletion, "delete_obsolete", die),
    "amid the clean-up": lambda: _set(deletion, "_delete", die),
    "after the clean-up": lambda: _set(deletion, "_delete", _then_die_at_once(deletion._delete)),
}
"""Names of moments, each with what makes the process die then."""


_OURS = str(Path(__file__).parents[3] / "poddispatchd")
_CALLS = "call "
_LIMIT = "limit "


def _die_at_call(number: int) -> None:
    """Die when so many functions of poddispatchd's have been called: at any moment of its work.

    With a number that is never reached, the count is printed at the end.
    """
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(_OURS):
            calls += 1
            if calls == number:
                die()

    threading.setprofile(count)
    sys.setprofile(count)
    atexit.register(lambda: sys.stdout.write(f"{calls}\n"))


async def main(moment: str, dsn: str, media_root: str, variant: str) -> None:
    settings = settings_of(SecretStr(dsn), Path(media_root), SchemaVariant(variant), {})
    if moment in MOMENTS:
        MOMENTS[moment]()
    if moment.startswith(_LIMIT):
        size = int(moment.removeprefix(_LIMIT))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    async with daemon_parts(settings, StillClock()) as parts:
        importer = features.importer(parts)
        if moment.startswith(_CALLS):
            _die_at_call(int(moment.removeprefix(_CALLS)))
        await importer.step()
        await idle(importer)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], **json.loads(sys.stdin.read())))
