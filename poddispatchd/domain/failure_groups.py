"""Failures that have the same reason: their words without what is different each time."""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from msgspec import Struct

from poddispatchd.domain.task import TaskPk

NO_WORDS = "without words"

_LONGEST = 200
_LOOKED_AT = 1000
"""Characters of the words: some patterns take time by the square of what they look at."""

_EXAMPLES = 5

_MEDIA = r"\.(?:mp[34]|mkv|avi|mov|m4[av]|ts|m3u8|webm|vtt|xml|json|log|wav)\b"

_FOLDED = (
    (re.compile(r"\b[a-z][a-z0-9+.-]*+://[^\s'\"<>]+", re.IGNORECASE), "URL"),
    (re.compile(r"[^\s<>'\"(),:;@]{1,64}@[^\s<>'\"(),:;@]+\.\w+"), "ADDRESS"),
    # Names with spaces: from a slash or a quotation mark on, up to what ends a name of such a file.
    (re.compile(rf"(?<![\w/])\.{{0,2}}/[^'\"<>:;,()\[\]]{{1,200}}?{_MEDIA}", re.IGNORECASE), "PATH"),
    # Of a path that begins in MEDIA_ROOT, "videos/1/the talk.mp4": two slashes, for "and/or" is none.
    (
        re.compile(
            rf"(?<![\w/])[\w.-]{{1,100}}/[^'\"<>:;,()\[\]/]{{1,100}}/[^'\"<>:;,()\[\]]{{1,200}}?{_MEDIA}",
            re.IGNORECASE,
        ),
        "PATH",
    ),
    (re.compile(rf"(?<=['\"«“])[^'\"»”]{{1,200}}?{_MEDIA}(?=\s?['\"»”])", re.IGNORECASE), "FILE"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "ID"),
    (
        re.compile(
            r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?\b"
            r"|\b\d\d?[/.]\d\d?[/.]\d{4}\b"
            r"|\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b"
        ),
        "TIME",
    ),
    # A path has two parts at least: "and/or" is none, "/" by itself neither.
    (re.compile(r"(?<![\w/])(?:\.{0,2}/)(?:[^\s/'\"<>:;,()\[\]]+/?)+|\b[\w.-]++(?:/[\w.-]++){2,}"), "PATH"),
    (re.compile(rf"\b[\w-]++{_MEDIA}", re.IGNORECASE), "FILE"),
    (re.compile(r"\b0x[0-9a-f]+\b|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE), "ID"),
    (re.compile(r"(?<!\w)[+-]?\d+(?:[.,:]\d+)*"), "N"),
)
"""What is different in each failure, in the order in which it is looked for, and what stands for it."""


class FailedTask(Struct, frozen=True):
    """A task that failed, when, and its words; those of ``title`` and ``owner`` for people."""

    pk: TaskPk
    type: str
    at: datetime
    words: str | None
    date_added: datetime
    title: str | None = None
    owner: str | None = None


class FailureGroup(Struct, frozen=True):
    """Failures of one reason, the latest first; ``key`` is short enough to be typed."""

    key: str
    reason: str
    failures: tuple[FailedTask, ...]

    @property
    def first(self) -> datetime:
        """When the first of them failed."""
        return self.failures[-1].at

    @property
    def last(self) -> datetime:
        """When the latest of them failed."""
        return self.failures[0].at

    @property
    def examples(self) -> tuple[str, ...]:
        """Words of some of them as they were said, each once."""
        return tuple(dict.fromkeys(task.words for task in self.failures if task.words))[:_EXAMPLES]


def reason_of(words: str | None) -> str:
    """The words of a failure without numbers, ids, paths, times and addresses."""
    return _folded(" ".join((words or "")[: 4 * _LOOKED_AT].split())[:_LOOKED_AT])


@lru_cache(maxsize=1000)
def _folded(text: str) -> str:
    # A page shows the same failures again and again.
    for pattern, name in _FOLDED:
        text = pattern.sub(name, text)
    return text[:_LONGEST] or NO_WORDS


def group_key(reason: str) -> str:
    """What people call a group: eight digits that depend on its reason only."""
    return hashlib.sha256(reason.casefold().encode(errors="replace")).hexdigest()[:8]


def grouped(failures: Iterable[FailedTask]) -> list[FailureGroup]:
    """The failures by their reasons, the most frequent first; of equally frequent ones the latest."""
    found: dict[str, list[FailedTask]] = {}
    reasons: dict[str, str] = {}
    for task in failures:
        reason = reason_of(task.words)
        key = group_key(reason)
        reasons.setdefault(key, reason)
        found.setdefault(key, []).append(task)
    groups = [
        FailureGroup(key, reasons[key], tuple(sorted(some, key=lambda task: task.at, reverse=True)))
        for key, some in found.items()
    ]
    return sorted(groups, key=lambda group: (-len(group.failures), -group.last.timestamp(), group.key))
