"""A few daemon threads that do one job after the other, also when the system gives no further one."""

from collections import deque
from collections.abc import Callable
from threading import Lock, Thread

from poddispatchd.errors import MediaSlowError

_NO_THREAD = (
    "The system gives the daemon no thread to work on MEDIA_ROOT with: too many run by now (see TasksMax= of "
    "its unit, and how many processes its user may have)."
)

_REST = 30.0
"""Seconds after which a thread that has nothing to do ends."""

Job = Callable[[], Callable[[], object]]
"""What a thread does; it gives what is to be called when the thread is free for the next one."""


class Pool:
    """At most so many daemon threads; what they have no room for waits, and is done in its order."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._jobs: deque[Job] = deque()
        self._threads = 0
        self._lock = Lock()
        self._waiting: deque[Lock] = deque()

    def submit(self, job: Job, *, is_waited_for: bool = True) -> None:
        """Have something done.

        Raises:
            MediaSlowError: there is no thread, and the system gives none; it is not done later either, if it
                ``is_waited_for``.
        """
        with self._lock:
            self._jobs.append(job)
            if self._waiting:
                self._waiting.pop().release()  # the one that has just been at work
                return
            if self._threads >= self._most:
                return
            try:
                Thread(target=self._serve, name=self._name, daemon=True).start()
            except RuntimeError:
                # Those there are do it when they are free. Without any it must not be done behind the back of
                # whoever was told that it was not: it may take a lock.
                if self._threads or not is_waited_for:
                    return
                self._jobs.pop()
                raise MediaSlowError(_NO_THREAD) from None
            self._threads += 1

    def _serve(self) -> None:
        tell: Callable[[], object] = nothing
        while True:
            with self._lock:
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    rest = Lock()
                    rest.acquire()
                    self._waiting.append(rest)
            # Only now: whoever is told may have the next job, and is not to need another thread for it.
            tell()
            tell = nothing
            if job is not None:
                tell = job()
            elif not rest.acquire(timeout=_REST) and self._is_dispensable(rest):
                return

    def _is_dispensable(self, rest: Lock) -> bool:
        """Whether a thread that has rested may end: nobody has called it meanwhile."""
        with self._lock:
            if rest not in self._waiting:
                return False
            self._waiting.remove(rest)
            self._threads -= 1
            return True


def nothing() -> None:
    """Nobody is to be told."""
