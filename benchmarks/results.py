"""How quickly results come into Pod: many small ones, and one that is large."""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from benchmarks.manager import SAMPLE, Managers, Spec, callback, managers, token
from benchmarks.sizes import Size
from benchmarks.system import System, system
from benchmarks.table import Figure, beside

_WITHIN = 600.0
_FILM = "720p_source.mp4"
_CHUNK = 2**20


async def small_results(size: Size) -> list[Figure]:
    """From the first callback until all rows are written, beside the same files on disk with their sha256.

    And beside what HTTP alone leaves of that: lists and files fetched by aiohttp, two results at once,
    each over a connection that is kept, with their sha256 and on the disk, but without any check or row.
    """
    results = size.of(30, 200, 200)
    async with managers([Spec()]) as fakes, system(fakes.ports) as pod:
        daemon = await pod.start()
        await _imported(pod, 20)
        rates, fetched, processor, statements = [], [], [], []
        for number in range(size.rounds):
            used, made = daemon.cpu, await pod.statements()
            ours = results / await _imported(pod, results)
            processor.append(1000 * (daemon.cpu - used) / results)
            statements.append((await pod.statements() - made) / results)
            bare = await asyncio.to_thread(_written, results, pod.folder / f"bare-{number}")
            rates.append((ours, results / bare))
            fetched.append((ours, results / await _fetched(results, fakes, pod.folder / f"fetched-{number}")))
    return [
        beside(f"{results} results of 15 files, 104 KiB", "per s", rates, limit=0.05, reach=0.4),
        beside("… beside those that aiohttp fetches", "per s", fetched),
        Figure("… processor time of the daemon for each", "ms", sorted(processor)[len(processor) // 2]),
        Figure("… statements for each", "", sorted(statements)[len(statements) // 2]),
    ]


async def large_result(size: Size) -> list[Figure]:
    """One result with a large film, from the callback to the rows, beside a bare download of the film."""
    length = size.of(2**26, 2**30, 2**33)
    with large_film(length) as result:
        async with managers([Spec()], result=result) as fakes, system(fakes.ports) as pod:
            daemon = await pod.start()
            await _imported(pod, 1)
            rates = []
            before = daemon.memory
            daemon.forget_peak()
            for _ in range(1 if size is Size.FULL else size.rounds):
                ours = length / 2**20 / await _imported(pod, 1)
                rates.append((ours, length / 2**20 / await _downloaded(pod, fakes)))
            growth = daemon.peak_memory - before
    return [
        beside(
            f"one result of {length / 2**30:g} GiB", "MiB/s", rates, limit=size.of(0.5, 0.7, 0.7), reach=0.9
        ),
        Figure("… memory grows by", "MiB", growth, limit=30, reach=30, at_least=False),
    ]


@contextmanager
def large_film(length: int) -> Iterator[Path]:
    """A folder with a result whose largest film has a last box that makes it as long as this."""
    with TemporaryDirectory(prefix="poddispatchd-bench-") as name:
        folder = Path(name)
        for path in SAMPLE.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        with (folder / _FILM).open("ab") as film:
            begun = film.tell()
            # Size 1: the real one, of 64 bits, follows the type.
            film.write((1).to_bytes(4) + b"free" + (length - begun).to_bytes(8))
            film.truncate(length)
        yield folder


async def _imported(pod: System, results: int) -> float:
    """Seconds from the first callback until so many tasks are completed."""
    ids = await pod.add_running(await pod.add_videos(results))
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", pod.webhook)
    for task_id in ids:
        writer.write(callback(token(0), task_id))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        _, _, length = head.lower().partition(b"content-length:")
        await reader.readexactly(int(length.partition(b"\r\n")[0]))
    writer.close()
    return await pod.until_none("running", seconds=_WITHIN) - begun


def _written(results: int, into: Path) -> float:
    """Seconds for bringing the files of so many results to the disk, two at once."""
    files = {path.name: path.read_bytes() for path in SAMPLE.iterdir()}

    def write(place: Path, content: bytes) -> str:
        with place.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return hashlib.sha256(content).hexdigest()

    begun = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        for number in range(results):
            directory = into / str(number)
            directory.mkdir(parents=True)
            list(threads.map(write, [directory / name for name in files], files.values()))
    return time.monotonic() - begun


async def _fetched(results: int, fakes: Managers, into: Path) -> float:
    """Seconds for fetching so many results in the naive way and bringing them to the disk, two at once."""
    base = f"http://127.0.0.1:{fakes.ports[0]}/task/result"

    def write(directory: Path, files: dict[str, bytes]) -> None:
        directory.mkdir(parents=True)
        for name, content in files.items():
            with (directory / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    async def fetch(numbers: Iterator[int], session: aiohttp.ClientSession) -> None:
        for number in numbers:
            async with session.get(f"{base}/{number}") as answer:
                names = (await answer.json())["files"]
            files = {}
            for name in names:
                async with session.get(f"{base}/{number}/file/{name}") as answer:
                    files[name] = await answer.read()
                hashlib.sha256(files[name]).hexdigest()
            await asyncio.to_thread(write, into / str(number), files)

    numbers, begun = iter(range(results)), time.monotonic()
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(fetch(numbers, session), fetch(numbers, session))
    return time.monotonic() - begun


async def _downloaded(pod: System, fakes: Managers) -> float:
    """Seconds for the film alone, in the naive way: all on one event loop."""
    url, target = f"http://127.0.0.1:{fakes.ports[0]}/task/result/x/file/{_FILM}", pod.folder / "bare.mp4"
    digest, begun = hashlib.sha256(), time.monotonic()
    async with aiohttp.ClientSession() as session, session.get(url, timeout=None) as answer:
        with target.open("wb") as file:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    taken = time.monotonic() - begun
    target.unlink()
    return taken
