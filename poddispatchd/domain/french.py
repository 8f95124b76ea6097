"""French for the sentences that Pod's people read: the reasons in mails to ADMINS.

Everything is worded in English, for the log and the journal, and put into French where a mail is written,
sentence by sentence (``french_sentences``). What a runner or a library says stays as it is. A ``{place}``
stands for what varies; of some places the content is a phrase of ours as well.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from poddispatchd.domain.french_sentences import PHRASES, SENTENCES, SUBJECTS

ENGLISH = "en"
"""What words are in until somebody reads them."""

_ANYTHING = ".+?"
_PLACE = re.compile(r"\{(\w+)\}")
_SPACE = re.compile(r"[\s;]*")
_LONGEST_SENTENCE = 1500
"""Characters; a longer one stays in English."""

_LOOKED_THROUGH = 8000
"""Characters at either end of a text."""

_OURS = {"phrase", "what"}
"""Places whose content is worded here, too."""

_END = re.compile(r"(?<=[.!?:])\s|\n|; ")


_UNNAMED = {
    "path": "PATH",
    "file": "FILE",
    "name": "NAME",
    "names": "NAMES",
    "person": "PERSON",
    "user": "USER",
    "address": "URL",
}
"""What stands for places that may name a person, a title or a file."""


def in_language(words: str, language: str) -> str:
    """Words of ours in a language of Pod's (``pod.language``); what is not known stays in English."""
    return _put(words, is_french=True, instead={}) if _is_french(language) else words


def without_names(words: str, language: str) -> str:
    """The same without the names of files and people in sentences of ours: they hold anything, spaces too."""
    return _put(words, is_french=_is_french(language), instead=_UNNAMED)


def _is_french(language: str) -> bool:
    return language.partition("-")[0] == "fr"


def _put(words: str, *, is_french: bool, instead: Mapping[str, str]) -> str:
    """The beginning and the end of a long text: what is ours stands there; amid it is what a script says."""
    if len(words) <= 2 * _LOOKED_THROUGH:
        return _by_sentence(words, is_french=is_french, instead=instead)
    first, last = (_next_sentence(words, at) for at in (_LOOKED_THROUGH, len(words) - _LOOKED_THROUGH))
    first = min(first, _LOOKED_THROUGH + _LONGEST_SENTENCE)
    begins, ends = (
        _by_sentence(part, is_french=is_french, instead=instead) for part in (words[:first], words[last:])
    )
    return begins + words[first:last] + ends


def _by_sentence(words: str, *, is_french: bool, instead: Mapping[str, str]) -> str:
    """Sentence by sentence: the known one that ends first, of those the one that says most by itself."""
    parts, at = [], 0
    # Of a log hardly any is left: each begins with anything at all, and would be looked for from each line.
    known = [_Sought(each, words) for each in _patterns() if all(part in words for part in each.own)]
    while at < len(words):
        # Nothing of a sentence is looked for behind that.
        limit = min(at + _LONGEST_SENTENCE, len(words))
        found = [
            (end, -sought.known.weight, sought)
            for sought in known
            if (end := sought.end(at)) is not None and (end < limit or limit == len(words))
        ]
        if found:
            end, _, sought = min(found, key=lambda each: each[:2])
            match = sought.match(at)
            assert match is not None  # noqa: S101 - it ends there
            parts.append(_filled(sought.known.english, match, is_french=is_french, instead=instead))
        else:
            end = _next_sentence(words, at)
            parts.append(words[at:end])
        space = _SPACE.match(words, end)
        assert space is not None  # noqa: S101 - it may be empty
        parts.append(space[0])
        at = space.end()
    return "".join(parts)


class _Known(NamedTuple):
    """A sentence: what recognises it, how many letters are its own, itself, and these letters.

    ``behind`` recognises what stands behind its beginning, where that is anything at all.
    """

    pattern: "re.Pattern[str]"
    weight: int
    english: str
    own: Sequence[str]
    behind: "re.Pattern[str] | None"


class _Sought:
    """A sentence that is looked for at one place of a text after the other.

    Where it may begin with anything, what is behind that stands at the same place for all beginnings before
    it, and so does its end: it is looked at once, and not from each line.
    """

    def __init__(self, known: _Known, words: str) -> None:
        self.known = known
        self._words = words
        self._behind = -1
        self._end: int | None = None

    def end(self, at: int) -> int | None:
        """Where it ends if it begins here; None: it does not."""
        if self.known.behind is None:
            found = self.match(at)
            return None if found is None else found.end()
        if self._behind <= at:
            behind = self.known.behind.search(self._words, at + 1)
            self._behind = len(self._words) if behind is None else behind.start()
            found = None if behind is None else self.match(at)
            self._end = None if found is None else found.end()
        return self._end

    def match(self, at: int) -> "re.Match[str] | None":
        """What it says if it begins here."""
        return self.known.pattern.match(self._words, at, max(at, self._behind) + _LONGEST_SENTENCE)


def _next_sentence(words: str, at: int) -> int:
    end = _END.search(words, at)
    return len(words) if end is None else end.start()


def _filled(english: str, match: "re.Match[str]", *, is_french: bool, instead: Mapping[str, str]) -> str:
    values = {
        name: _in_french(name, value) if is_french and name in _OURS else instead.get(name, value)
        for name, value in match.groupdict().items()
    }
    return _PLACE.sub(lambda place: values[place[1]], SENTENCES[english] if is_french else english)


def _in_french(name: str, value: str) -> str:
    """A phrase of ours, or what a sentence is about."""
    if name == "phrase":
        return PHRASES.get(value, value)
    known = next((english for english in SUBJECTS if value.startswith(english)), "")
    return SUBJECTS.get(known, "") + value.removeprefix(known)


@cache
def _patterns() -> Sequence[_Known]:
    known = []
    for english in SENTENCES:
        parts = _PLACE.split(english)
        end = "" if english.endswith(": ") else r"(?=$|[\s;])"
        # Groups of one place that holds anything, and what is behind it.
        text, groups = re.escape(parts[0]), [""]
        for number in range(1, len(parts), 2):
            content = _content_of(parts[number])
            if content == _ANYTHING:
                groups.append("")
            groups[-1] += f"(?P<{parts[number]}>{content}){re.escape(parts[number + 1])}"
        groups[-1] += end
        # Each ends where what is behind its place first stands, a phrase included, for good: to try all ends
        # took minutes.
        text += groups[0] + "".join(f"(?>{group})" for group in groups[1:])
        behind = None
        if not parts[0] and len(groups) > 1:
            behind = re.compile(groups[1].partition(f"{_ANYTHING})")[2], re.DOTALL)
        own = parts[::2]
        known.append(_Known(re.compile(text, re.DOTALL), sum(map(len, own)), english, own, behind))
    return tuple(known)


def _content_of(place: str) -> str:
    if place == "phrase":
        return "|".join(map(re.escape, PHRASES))
    return r"(?:: lines? [^()]*)?" if place == "lines" else _ANYTHING
