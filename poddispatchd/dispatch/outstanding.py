"""What this daemon remembers of its submissions until they are known to be settled."""

from collections.abc import Collection
from math import inf
from typing import NamedTuple

from poddispatchd.journal.submissions import Submission, SubmissionId
from poddispatchd.tasks.accepted_runs import AcceptedRun


class _Post(NamedTuple):
    number: int
    at: float
    """Monotonic seconds."""
    before: float
    """When the post before was made; -inf: by nobody who may still be answered."""


class Outstanding:
    """Intents that this daemon posted, or did not post, and what managers answered."""

    def __init__(self) -> None:
        self._posts: dict[SubmissionId, _Post] = {}
        """The last post of each."""
        self._unposted: set[SubmissionId] = set()
        """A database that is away must not let us ask a manager that has no room for them, or is paused."""
        self._answers: dict[SubmissionId, AcceptedRun] = {}
        """A database that is away must not let us post again, nor one that took it without an answer let us
        forget what is to follow from it."""

    @property
    def remembered(self) -> frozenset[SubmissionId]:
        """Intents of which it is remembered that they were posted, or that they were not."""
        return frozenset(self._posts) | self._unposted

    @property
    def answers(self) -> tuple[AcceptedRun, ...]:
        """What managers took, as far as it is not known to be stored."""
        return tuple(self._answers.values())

    def answer(self, intent: SubmissionId) -> AcceptedRun:
        """What a manager took, and is not known to be stored."""
        return self._answers[intent]

    def posts(self, intent: Submission, at: float) -> None:
        """An intent is posted at this moment on the monotonic clock."""
        last = self._posts.get(intent.id)
        # Whatever others posted in between was waited for.
        before = last.at if last is not None and last.number == intent.posts - 1 else -inf
        self._posts[intent.id] = _Post(intent.posts, at, before)

    def refused(self, intent: Submission) -> None:
        """Its manager has surely not taken the last post. With the one before it may still be at work."""
        # A callback, or a restart of its task, may have settled it before its manager answered.
        if (post := self._posts.get(intent.id)) is not None:
            self._posts[intent.id] = post._replace(at=post.before)

    def posted_at(self, intent: Submission) -> float | None:
        """When an open intent was posted last; None: by another daemon; -inf: that was surely not taken."""
        post = self._posts.get(intent.id)
        return post.at if post is not None and post.number == intent.posts else None

    def leaves_unposted(self, intent: Submission) -> None:
        """An intent is not posted: it is to be withdrawn."""
        self._unposted.add(intent.id)

    def is_unposted(self, intent: Submission) -> bool:
        """Whether this daemon did not post an intent that is open, and could not withdraw it."""
        return intent.id in self._unposted

    def accepted(self, run: AcceptedRun) -> None:
        """A manager took what was posted."""
        self._answers[run.intent.id] = run

    def stored(self, intent: SubmissionId) -> None:
        """What its manager answered is stored."""
        self._answers.pop(intent, None)
        self.forget([intent])

    def forget(self, settled: Collection[SubmissionId]) -> None:
        """These are not open any more, whoever has settled them: this daemon, another one, or a callback."""
        self._unposted.difference_update(settled)
        for intent in settled:
            self._posts.pop(intent, None)
