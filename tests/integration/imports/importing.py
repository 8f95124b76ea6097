"""A daemon that imports what is due whenever it is told to, while system calls of its process fail.

It is run with ``refusing.c`` preloaded. Its standard input says with which Pod, then line by line which call
is to fail; its standard output, how many calls there were and how many failed.
"""

import asyncio
import ctypes
import json
import sys
from pathlib import Path

from poddispatchd.app import features
from poddispatchd.domain.secret import SecretStr
from poddispatchd.sandbox.pod.schema import SchemaVariant
from tests.integration.imports.bench import StillClock, daemon_parts, idle, settings_of

_NEVER = -1


async def main() -> None:
    library = ctypes.CDLL(None)
    pod = json.loads(await asyncio.to_thread(sys.stdin.readline))
    settings = settings_of(SecretStr(pod["dsn"]), Path(pod["media_root"]), SchemaVariant(pod["variant"]), {})
    async with daemon_parts(settings, StillClock()) as parts:
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = json.loads(line)
            library.refuse_from(
                ctypes.c_long(wanted.get("call", _NEVER)),
                wanted.get("errno", 0),
                wanted.get("is_lasting", False),
                wanted.get("kinds", 0),
            )
            importer = features.importer(parts)
            await importer.step()
            await idle(importer)
            calls, failed = library.refuse_calls(), library.refuse_hits()
            library.refuse_from(ctypes.c_long(_NEVER), 0, 0, 0)
            if wanted.get("tidy"):
                await features.maintenance(parts).purge()
            answer = {"calls": calls, "failed": failed, "problem": parts.media_health.problems}
            sys.__stdout__.write("#" + json.dumps(answer) + "\n")  # type: ignore[union-attr] # it is there
            sys.__stdout__.flush()  # type: ignore[union-attr] # it is there


if __name__ == "__main__":
    asyncio.run(main())
