"""Whether a JSON document is all there: what is cut off leaves a list, an object or a text open."""

import json
import re

from poddispatchd.domain.completeness import Completeness

_SHORT = 2**16
"""Bytes that are read at once: of more, Python's parser would hold up everything else."""

_STEP = 2**16
"""Bytes that one pattern looks at: while it does, nothing else runs, and it remembers each escape it met."""

_MOST_PARTS = 1_000_000
"""Brackets and texts looked at: more than any real file has."""

_MARK = re.compile(rb'[\[\]{}"]')
_INSIDE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


def json_completeness(content: bytes) -> Completeness:
    """Judge a document by its content."""
    if len(content) > _SHORT:
        return _long(content)
    try:
        json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return Completeness.UNLIKELY
    return Completeness.COMPLETE


def _long(content: bytes) -> Completeness:
    """Whole when all its lists, objects and texts end, the outermost one last: none that is cut does."""
    depth = end = 0
    for _ in range(_MOST_PARTS):
        at = _next_mark(content, end)
        if at is None:
            is_closed = end > 0 and not depth and not content[end:].strip()
            return Completeness.COMPLETE if is_closed else Completeness.UNLIKELY
        mark = content[at : at + 1]
        closing = _end_of_text(content, at + 1) if mark == b'"' else at
        if closing is None or (mark in b"[{" and not depth and end):
            return Completeness.UNLIKELY
        depth += (mark in b"[{") - (mark in b"]}")
        if depth < 0:
            return Completeness.UNLIKELY
        end = closing + 1
    return Completeness.OPEN


def _next_mark(content: bytes, at: int) -> int | None:
    """Where a bracket or a text begins next; None: nowhere."""
    for start in range(at, len(content), _STEP):
        if (found := _MARK.search(content, start, start + _STEP)) is not None:
            return found.start()
    return None


def _end_of_text(content: bytes, at: int) -> int | None:
    """Where the quotation mark is that ends a text; None: it has no end."""
    while at < len(content):
        inside = _INSIDE.match(content, at, at + _STEP)
        end = at if inside is None else inside.end()
        if content[end : end + 1] == b'"':
            return end
        if end == at:
            return None  # a lone backslash at the end of all
        at = end
    return None
