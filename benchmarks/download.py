"""A large result: memory and throughput of the download, against a bare aiohttp download in the same run.

Limits: memory grows by less than 30 MB; throughput at least 0.9 of the bare download's.
Run: ``python -m benchmarks.download [GiB]``; without a size, one that takes some seconds.
"""

import asyncio
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from poddispatchd.config.model import RunnersSettings
from poddispatchd.domain.manager import RunnerManager
from poddispatchd.domain.manifest import ResultFile
from poddispatchd.domain.task import ManagerId, RunnerTaskId, SiteId
from poddispatchd.pod.media.results import StagingStorage
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.runner.client import RunnerClient, open_session
from poddispatchd.runner.download import DownloadLimits, download_result

_NAME = "720p_large.mp4"
_TASK = RunnerTaskId("large")
_CHUNK = 2**20
_GROWTH_LIMIT = 30e6
_RATIO_LIMIT = 0.9


async def _serve(file: Path) -> None:
    """A manager in shared-storage mode, as far as one file of one result goes."""

    async def get(_: web.Request) -> web.FileResponse:
        return web.FileResponse(file)

    application = web.Application()
    application.router.add_get(f"/task/result/{_TASK}/file/{_NAME}", get)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def _ours(port: int, into: Path) -> None:
    manager = RunnerManager(
        ManagerId(1), "large", 1, f"http://127.0.0.1:{port}", SecretStr("benchmark"), SiteId(1)
    )
    async with open_session(RunnersSettings()) as session:
        client = RunnerClient(session, request_timeout=30)
        await download_result(
            client,
            manager,
            _TASK,
            (ResultFile(_NAME),),
            StagingStorage(MediaTree(into).path("result")),
            limits=DownloadLimits(max_size=2**40, keep_free=0),
            mode=0o644,
            random=lambda: 0.0,
        )


async def _bare(port: int, into: Path) -> None:
    """The naive way: everything on the event loop."""
    digest, target = hashlib.sha256(), into / _NAME
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/task/result/{_TASK}/file/{_NAME}", timeout=None) as answer,
    ):
        with target.open("wb") as file:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                digest.update(chunk)
                file.write(chunk)


def _peak() -> float:
    """The most memory this process has used, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _measure(kind: str, port: int, into: Path) -> None:
    into.mkdir(exist_ok=True)
    before, began = _peak(), perf_counter()
    asyncio.run((_ours if kind == "ours" else _bare)(port, into))
    print(json.dumps({"seconds": perf_counter() - began, "growth": _peak() - before}))


def _run(kind: str, port: int, into: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.download", kind, str(port), str(into)]
    result: dict[str, float] = json.loads(subprocess.check_output(command))
    (into / _NAME).unlink()
    into.rmdir()
    return result


def main(gibibytes: float = 1.0) -> bool:
    """Measure and print; whether both limits hold."""
    with tempfile.TemporaryDirectory(prefix="poddispatchd-bench-") as folder:
        directory = Path(folder)
        source = directory / "source"
        size = int(gibibytes * 2**30)
        with source.open("wb") as file:
            file.truncate(size)
        server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.download", "serve", str(source)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            # Each twice, alternating, and the better one: the first to run also pays for cold caches.
            runs = [(kind, _run(kind, port, directory / kind)) for kind in ("bare", "ours") * 2]
        finally:
            server.kill()
            server.wait()
    bare, ours = (
        min((run for name, run in runs if name == kind), key=lambda run: run["seconds"])
        for kind in ("bare", "ours")
    )
    growth = max(run["growth"] for name, run in runs if name == "ours")
    ratio = bare["seconds"] / ours["seconds"]
    speed = size / ours["seconds"] / 2**20
    print(f"download of {gibibytes:g} GiB: {speed:.0f} MiB/s")
    print(f"throughput is {ratio:.2f} of a bare download's (limit {_RATIO_LIMIT})")
    print(f"memory grows by {growth / 1e6:.1f} MB (limit {_GROWTH_LIMIT / 1e6:.0f})")
    return ratio >= _RATIO_LIMIT and growth < _GROWTH_LIMIT


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", path]:
            asyncio.run(_serve(Path(path)))
        case ["ours" | "bare" as which, number, target]:
            _measure(which, int(number), Path(target))
        case [amount]:
            sys.exit(0 if main(float(amount)) else 1)
        case _:
            sys.exit(0 if main() else 1)
