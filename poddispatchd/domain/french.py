"""French for the sentences that Pod's people read: the reasons in mails to ADMINS.

Everything is worded in English, for the log and the journal, and put into French where a mail is written,
sentence by sentence (``french_sentences``). What a runner or a library says stays as it is. A ``{place}``
stands for what varies; of some places the content is a phrase of ours as well.
"""

import re
from collections.abc import Sequence
from functools import cache

from poddispatchd.domain.french_sentences import PHRASES, SENTENCES

ENGLISH = "en"
"""What words are in until somebody reads them."""

_ANYTHING = ".+?"
_PLACE = re.compile(r"\{(\w+)\}")
_SPACE = re.compile(r"[\s;]*")
_LONGEST_SENTENCE = 1500
"""Characters; a longer one stays in English."""

_LOOKED_THROUGH = 8000
"""Characters at either end of a text."""

_END = re.compile(r"(?<=[.!?:])\s|\n|; ")


def in_language(words: str, language: str) -> str:
    """Words of ours in a language of Pod's (``pod.language``); what is not known stays in English."""
    return _french(words) if language.partition("-")[0] == "fr" else words


def _french(words: str) -> str:
    """The beginning and the end of a long text: what is ours stands there; amid it is what a script says."""
    if len(words) <= 2 * _LOOKED_THROUGH:
        return _by_sentence(words)
    first, last = (_next_sentence(words, at) for at in (_LOOKED_THROUGH, len(words) - _LOOKED_THROUGH))
    first = min(first, _LOOKED_THROUGH + _LONGEST_SENTENCE)
    return _by_sentence(words[:first]) + words[first:last] + _by_sentence(words[last:])


def _by_sentence(words: str) -> str:
    """Sentence by sentence: the known one that ends first, of those the one that says most by itself."""
    parts, at = [], 0
    # Of a log hardly any is left: each begins with anything at all, and would be looked for from each line.
    known = [each for each in _patterns() if all(part in words for part in each[3])]
    while at < len(words):
        # Nothing of a sentence is looked for behind that.
        limit = min(at + _LONGEST_SENTENCE, len(words))
        found = [
            (match.end(), -weight, french, match)
            for pattern, weight, french, _ in known
            if (match := pattern.match(words, at, limit)) is not None
            and (match.end() < limit or limit == len(words))
        ]
        if found:
            end, _, french, match = min(found, key=lambda each: each[:2])
            parts.append(_filled(french, match))
        else:
            end = _next_sentence(words, at)
            parts.append(words[at:end])
        space = _SPACE.match(words, end)
        assert space is not None  # noqa: S101 - it may be empty
        parts.append(space[0])
        at = space.end()
    return "".join(parts)


def _next_sentence(words: str, at: int) -> int:
    end = _END.search(words, at)
    return len(words) if end is None else end.start()


def _filled(french: str, match: "re.Match[str]") -> str:
    values = {
        name: PHRASES.get(value, value) if name == "phrase" else value
        for name, value in match.groupdict().items()
    }
    return _PLACE.sub(lambda place: values[place[1]], french)


@cache
def _patterns() -> Sequence[tuple["re.Pattern[str]", int, str, Sequence[str]]]:
    """For each sentence: what recognises it, how many letters are its own, its French, and these letters."""
    known = []
    for english, french in SENTENCES.items():
        parts = _PLACE.split(english)
        end = "" if english.endswith(": ") else r"(?=$|[\s;])"
        text, is_in_one = re.escape(parts[0]), False
        for number in range(1, len(parts), 2):
            content = _content_of(parts[number])
            if content == _ANYTHING:
                # It ends where what is behind it first stands, a phrase included, for good: to try all ends
                # took minutes.
                text += ")(?>" if is_in_one else "(?>"
                is_in_one = True
            text += f"(?P<{parts[number]}>{content}){re.escape(parts[number + 1])}"
        text += f"{end})" if is_in_one else end
        own = parts[::2]
        known.append((re.compile(text, re.DOTALL), sum(map(len, own)), french, own))
    return tuple(known)


def _content_of(place: str) -> str:
    if place == "phrase":
        return "|".join(map(re.escape, PHRASES))
    return r"(?:: lines? [^()]*)?" if place == "lines" else _ANYTHING
