"""Files that imports have replaced, or brought and never committed: deleted when nobody needs them.

What is obsolete is claimed, deleted outside of any transaction, and forgotten: a crash leaves it to be
deleted once more.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog
from msgspec import Struct

from poddispatchd.clock import Clock
from poddispatchd.database.pool import Connection, Database
from poddispatchd.database.queries import load_queries
from poddispatchd.domain.task import TaskPk, TaskStatus, TaskType
from poddispatchd.errors import (
    MAY_PASS,
    DatabaseError,
    LeaseLostError,
    MediaSlowError,
    ResultError,
)
from poddispatchd.imports.queue import ImportJob
from poddispatchd.journal.imports import ImportId
from poddispatchd.observability.events import Event
from poddispatchd.pod import tasks
from poddispatchd.pod.catalogue import Catalogue
from poddispatchd.pod.media.evidence import MediaEvidence
from poddispatchd.pod.media.files import (
    Undeleted,
    delete_empty_directories,
    delete_files,
    delete_temporaries,
)
from poddispatchd.pod.media.threads import FileCalls
from poddispatchd.pod.media.tree import MediaTree
from poddispatchd.pod.referenced_files import referenced_files
from poddispatchd.runtime.item_errors import is_to_blame, words_of
from poddispatchd.runtime.lease_holder import LeaseHolder
from poddispatchd.runtime.lease_queue import Lease
from poddispatchd.runtime.queue_tables import FILES
from poddispatchd.runtime.supervisor import LONG_ENOUGH

log = structlog.get_logger(__name__)

_QUERIES = load_queries(__package__, "deletion.sql")

_BATCH = 100
"""Files claimed at once: few, since an import that brings one of them back waits for all of them."""

_PUT_OFF = 60.0
"""Seconds until files are looked at again that the database could say nothing about, or the file system would
not have deleted."""


class BroughtFile(Struct, frozen=True):
    """A file that an import put in place.

    Attributes:
        path: relative to MEDIA_ROOT.
        is_new: nothing that anybody needs was there before.
        is_chosen: its name was chosen because it was free: no other result has it.
    """

    path: str
    is_new: bool
    is_chosen: bool


class Deletion:
    """Deletes what nobody needs, a few files at a time.

    Args:
        database: Pod's.
        catalogue: which rows may name a file.
        media: the media tree.
        evidence: whether it is the right one.
        owner: the instance that holds the leases of files.
        clock: of the daemon.
    """

    def __init__(
        self,
        *,
        database: Database,
        catalogue: Catalogue,
        media: MediaTree,
        evidence: MediaEvidence,
        owner: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._media = media
        self._evidence = evidence
        self._owner = owner
        self._clock = clock
        self._leases = LeaseHolder(FILES, database, owner, clock)
        self._hanging: FileCalls | None = None

    async def delete_obsolete(self, task: TaskPk | None = None) -> None:
        """Delete files that nobody needs any more, of one task or of all, outside of transactions (I1).

        A file that a row of Pod names after all is kept (invariant I5); one that cannot be deleted is tried
        again at another time. Nothing is deleted from a media tree that may not be the right one. While it is
        read-only, in trouble, or hangs, all files wait uncounted (invariant I16).
        """
        if (self._hanging is not None and self._hanging.hangs) or await self._evidence.check() is not None:
            return
        only = None if task is None else [str(task)]
        leases, enough = self._leases, self._clock.monotonic() + LONG_ENOUGH
        while self._clock.monotonic() < enough and (items := await leases.claim(_BATCH, only=only)):
            of_path = {str(item.lease.key): item.lease for item in items}
            # A tree of its own: that a thread of this deletion hangs is to be told from all others that do.
            tree = MediaTree.sharing(self._media)
            try:
                problems = await self._delete_unless_needed(tree, sorted(of_path))
                # When all wait for their file system, the next hundred would, too.
                if await self._tell(problems, of_path) == len(items):
                    return
            except MAY_PASS:
                if not tree.calls.hangs:
                    # Else imports of the same files would wait until the leases end.
                    for lease in of_path.values():
                        leases.abandon(lease)
                raise
            except MediaSlowError as error:
                log.warning(Event.MEDIA_SLOW, reason=str(error))
                return
            except DatabaseError as error:
                await self._put_off(of_path.values(), words_of(error))
                return
            finally:
                let_go = partial(_let_go, leases, tuple(of_path.values()))
                if tree.calls.hangs:
                    # The thread may delete them yet: until it ends, nobody brings one of them again.
                    self._hanging = tree.calls
                    tree.calls.when_idle(let_go)
                else:
                    let_go()
            if len(items) < _BATCH:
                return

    async def delete_all(self) -> float | None:
        """Delete what is due of all tasks; seconds until more is due, None when nothing is left."""
        await self.delete_obsolete()
        async with self._database.connection() as connection:
            return await FILES.next_due(connection)

    async def withdraw(self, job: ImportJob, tree: MediaTree) -> None:
        """Have the files deleted that an import has put in place so far; it is going to be tried again.

        The caller holds the task's lock.
        """
        async with self._database.transaction() as connection:
            brought = await _take_files(connection, job.id, job.owner)
            await _discard(connection, job.task_pk, brought)
        await _tidy(tree, job.task_pk, brought)

    async def discard_brought(self, tree: MediaTree, import_id: ImportId, task_pk: TaskPk) -> None:
        """Have the files deleted that a closed import put in place and did not commit.

        When somebody else completed the encoding, files stay whose names come from the video: that result has
        the same ones. The caller holds the task's lock, so that nobody is putting files in place meanwhile.
        """
        async with self._database.transaction() as connection:
            brought = await _take_files(connection, import_id, self._owner)
            task = await tasks.get_task(connection, task_pk) if brought else None
            # A recording's video has the id that this import reserved: nobody else brings files of it.
            is_shared = (
                task is not None
                and task.status == TaskStatus.COMPLETED
                and task.result_type is TaskType.ENCODING
            )
            await _discard(connection, task_pk, brought, keep_shared=is_shared)
        await _tidy(tree, task_pk, brought)

    async def _delete_unless_needed(self, tree: MediaTree, paths: list[str]) -> dict[str, Undeleted]:
        """Delete files and forget them; which could not be deleted, and why.

        Should something else go wrong with many, they are tried one by one: one of them must not keep the
        others (invariant I12).

        Raises:
            DatabaseError: what it would refuse for every file, as after a migration of Pod's.
            MediaSlowError: the file system does not answer; the thread that deletes goes on.
        """
        try:
            async with self._database.connection() as connection:
                named = await referenced_files(connection, self._catalogue.capabilities, paths)
            needless = [path for path in paths if path not in named]
            problems = await tree.run(_delete, tree, needless, self._leases.surely_holds)
            async with self._database.connection() as connection:
                await _forget_obsolete_files(connection, self._owner, {*paths} - problems.keys())
        except MediaSlowError:
            raise
        except Exception as error:
            if not is_to_blame(error):
                raise
            if len(paths) == 1:
                return {paths[0]: Undeleted(words_of(error))}
            problems = {}
            for path in paths:
                problems |= await self._delete_unless_needed(tree, [path])
        return problems

    async def _tell(self, problems: Mapping[str, Undeleted], of_path: Mapping[str, Lease]) -> int:
        """Have what was not deleted tried again; how many files wait for their file system."""
        for path, problem in problems.items():
            if not problem.passes:
                await self._not_deleted(of_path[path], path, problem.words)
        waiting = [path for path, problem in problems.items() if problem.passes]
        if waiting:
            await self._put_off([of_path[path] for path in waiting], problems[waiting[0]].words)
        return len(waiting)

    async def _put_off(self, leases: Collection[Lease], words: str) -> None:
        """Later, uncounted: it is no fault of these files (invariant I16)."""
        async with self._database.connection() as connection:
            for lease in leases:
                await FILES.postpone(connection, lease, _PUT_OFF, words=words)
        log.warning(
            Event.QUEUE_ITEM_POSTPONED,
            queue=FILES.table.name,
            items=len(leases),
            reason=words,
            in_seconds=_PUT_OFF,
        )

    async def _not_deleted(self, lease: Lease, path: str, problem: str) -> None:
        """Another time, after all others; after many attempts a person has to look."""
        try:
            async with self._database.connection() as connection:
                seconds = await FILES.fail(connection, lease, problem, random=self._clock.random)
        except LeaseLostError:
            return  # whoever has it now tells
        if seconds is None:
            log.error(Event.QUEUE_ITEM_SET_ASIDE, queue=FILES.table.name, item=path, reason=problem)
        else:
            log.warning(Event.MEDIA_NOT_WRITABLE, reason=problem)


def _let_go(leases: LeaseHolder, held: Collection[Lease]) -> None:
    for lease in held:
        leases.let_go(lease)


def _delete(tree: MediaTree, paths: list[str], is_ours: Callable[[str], bool]) -> dict[str, Undeleted]:
    problems = delete_files(tree, paths, is_ours)
    delete_empty_directories(tree, paths)
    return problems


async def _tidy(tree: MediaTree, task_pk: TaskPk, brought: list[BroughtFile]) -> None:
    """Delete what an import left half-way beside the files that it brought or was about to bring."""
    if brought:
        with suppress(ResultError):
            await tree.run(delete_temporaries, tree, [file.path for file in brought], task_pk)


async def _discard(
    connection: Connection, task_pk: TaskPk, brought: list[BroughtFile], *, keep_shared: bool = False
) -> None:
    """What was there before, under the same names, stays: rows name it, and a viewer may watch it."""
    # A name that was chosen because it was free is no other result's: that file goes in any case.
    paths = {file.path for file in brought if file.is_new and (file.is_chosen or not keep_shared)}
    await _add_obsolete_files(connection, task_pk, sorted(paths))


async def closed_with_files(connection: Connection, limit: int) -> list[tuple[ImportId, TaskPk]]:
    """Imports that ended without a commit after they had put files in place, with their tasks."""
    rows = await connection.fetch(*_QUERIES["closed_with_files"](limit=limit))
    return [(ImportId(row["id"]), TaskPk(row["task_pk"])) for row in rows]


async def _take_files(connection: Connection, import_id: ImportId, owner: str) -> list[BroughtFile]:
    """Forget what an import put in place, and tell it; nothing of one that another instance holds."""
    rows = await connection.fetch(*_QUERIES["take_files"](import_id=import_id, owner=owner))
    return [BroughtFile(row["path"], row["is_new"], row["is_chosen"]) for row in rows]


async def _add_obsolete_files(connection: Connection, task_pk: TaskPk, paths: Sequence[str]) -> None:
    """These files, relative to MEDIA_ROOT, are to be deleted."""
    if not paths:
        return
    await connection.execute(*_QUERIES["add_obsolete_files"](paths=list(paths), task=task_pk))


async def _forget_obsolete_files(connection: Connection, owner: str, paths: Iterable[str]) -> None:
    """These claimed files are gone, or needed after all."""
    await connection.execute(*_QUERIES["forget_obsolete_files"](owner=owner, paths=list(paths)))
