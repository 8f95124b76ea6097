"""When this daemon posted the submissions whose answer is not known to be stored."""

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from poddispatchd.journal.submissions import Submission, SubmissionId


class _Post(NamedTuple):
    number: int
    at: float
    """Monotonic seconds."""
    before: float
    """When the post before was made; -inf: by nobody who may still be answered."""


class Posts:
    """The last post by this daemon of each intent, until the intent is known to be settled."""

    def __init__(self) -> None:
        self._last: dict[SubmissionId, _Post] = {}

    @property
    def intents(self) -> frozenset[SubmissionId]:
        """Those of which a post is remembered."""
        return frozenset(self._last)

    def add(self, intent: Submission, at: float) -> None:
        """An intent is posted at this moment on the monotonic clock."""
        last = self._last.get(intent.id)
        # Whatever others posted in between was waited for.
        before = last.at if last is not None and last.number == intent.posts - 1 else -inf
        self._last[intent.id] = _Post(intent.posts, at, before)

    def refused(self, intent: Submission) -> None:
        """Its manager has surely not taken the last post. With the one before it may still be at work."""
        # A callback, or a restart of its task, may have settled it before its manager answered.
        if (post := self._last.get(intent.id)) is not None:
            self._last[intent.id] = post._replace(at=post.before)

    def last_at(self, intent: Submission) -> float | None:
        """When an open intent was posted last; None: by another daemon; -inf: that was surely not taken."""
        post = self._last.get(intent.id)
        return post.at if post is not None and post.number == intent.posts else None

    def forget(self, settled: Collection[SubmissionId]) -> None:
        """These intents are settled."""
        for intent in settled:
            self._last.pop(intent, None)
